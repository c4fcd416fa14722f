"""Auth mode API_KEY: a key that the provider issued. Nothing is ever exchanged."""

from __future__ import annotations

from typing import Final

from server.domain.model import ApiKeyCredentials, AuthMode
from server.providers.mode import FixedMode

API_KEY: Final = FixedMode(AuthMode.API_KEY, ApiKeyCredentials)
