"""Auth mode NONE: APIs that need no credentials. Nothing is ever exchanged."""

from __future__ import annotations

from typing import Final

from server.domain.model import AuthMode, NoCredentials
from server.providers.mode import FixedMode

NO_AUTH: Final = FixedMode(AuthMode.NONE, NoCredentials)
