"""The auth modes that exist. Another one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.domain.model import AuthMode
from server.providers.api_key import API_KEY
from server.providers.app import App
from server.providers.aws_sigv4 import AwsSigV4
from server.providers.basic import BASIC
from server.providers.bill import Bill
from server.providers.custom import Custom
from server.providers.install_plugin import INSTALL_PLUGIN
from server.providers.mcp_oauth2 import McpOAuth2
from server.providers.mode import Mode
from server.providers.none import NO_AUTH
from server.providers.oauth1 import OAUTH1
from server.providers.oauth2 import OAuth2
from server.providers.oauth2_cc import OAuth2ClientCredentialsMode
from server.providers.signature import Wsse
from server.providers.signed_jwt import SignedJwt
from server.providers.tba import TBA
from server.providers.two_step import TwoStep

_ALL: Final[tuple[Mode, ...]] = (
    OAuth2(),
    OAuth2ClientCredentialsMode(),
    API_KEY,
    BASIC,
    NO_AUTH,
    OAUTH1,
    App(),
    Custom(),
    SignedJwt(),
    TBA,
    TwoStep(),
    Wsse(),
    Bill(),
    AwsSigV4(),
    INSTALL_PLUGIN,
    McpOAuth2(),
    McpOAuth2(AuthMode.MCP_OAUTH2_GENERIC),
)

MODES: Final[Mapping[AuthMode, Mode]] = {mode.auth_mode: mode for mode in _ALL}

SIGNED_HERE: Final = frozenset({AuthMode.JWT, AuthMode.SIGNATURE})
"""The modes that make their tokens themselves and send nothing."""
