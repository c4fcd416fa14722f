"""The auth modes that exist. Another one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.domain.model import AuthMode
from server.providers.api_key import API_KEY
from server.providers.basic import BASIC
from server.providers.install_plugin import INSTALL_PLUGIN
from server.providers.mode import Mode
from server.providers.none import NO_AUTH
from server.providers.oauth1 import OAUTH1
from server.providers.oauth2 import OAuth2
from server.providers.oauth2_cc import OAuth2ClientCredentialsMode
from server.providers.tba import TBA

_ALL: Final[tuple[Mode, ...]] = (
    OAuth2(),
    OAuth2ClientCredentialsMode(),
    API_KEY,
    BASIC,
    NO_AUTH,
    OAUTH1,
    TBA,
    INSTALL_PLUGIN,
)

MODES: Final[Mapping[AuthMode, Mode]] = {mode.auth_mode: mode for mode in _ALL}
