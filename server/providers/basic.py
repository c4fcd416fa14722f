"""Auth mode BASIC: a user name and a password (RFC 7617). Nothing is ever exchanged."""

from __future__ import annotations

from typing import Final

from server.domain.model import AuthMode, BasicCredentials
from server.providers.mode import FixedMode

BASIC: Final = FixedMode(AuthMode.BASIC, BasicCredentials)
