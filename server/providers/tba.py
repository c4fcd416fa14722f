"""Auth mode TBA: tokens that an administrator made (NetSuite). Callers sign with them; nothing is exchanged."""

from __future__ import annotations

from typing import Final

from server.domain.model import AuthMode, TbaCredentials
from server.providers.mode import FixedMode

TBA: Final = FixedMode(AuthMode.TBA, TbaCredentials, needs_client=True)
