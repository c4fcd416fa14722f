"""Auth mode OAUTH1: token credentials of RFC 5849, which do not expire. Callers sign with them; nothing is exchanged."""

from __future__ import annotations

from typing import Final

from server.domain.model import AuthMode, OAuth1Credentials
from server.providers.mode import FixedMode

OAUTH1: Final = FixedMode(AuthMode.OAUTH1, OAuth1Credentials, needs_client=True)
