"""Auth mode INSTALL_PLUGIN: a login that a plugin, installed at the provider, hands out. Nothing is ever exchanged."""

from __future__ import annotations

from typing import Final

from server.domain.model import AuthMode, BasicCredentials
from server.providers.mode import FixedMode

INSTALL_PLUGIN: Final = FixedMode(AuthMode.INSTALL_PLUGIN, BasicCredentials)
