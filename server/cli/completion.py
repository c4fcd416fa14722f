"""What the shell offers after Tab: asked from the server with a short deadline, silent about every failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from server.cli.errors import CliError

_DEADLINE: Final = 1.0


def integrations(incomplete: str) -> list[str]:
    """Return keys of integrations that begin with the text."""
    from connections.v1.integration_service_pb2 import ListIntegrationsRequest  # noqa: PLC0415 - only when completing

    return _names(
        lambda client: client.call(client.integrations.ListIntegrations, ListIntegrationsRequest()).integrations,
        "provider_config_key",
        incomplete,
    )


def providers(incomplete: str) -> list[str]:
    """Return names of providers that begin with the text."""
    from connections.v1.provider_service_pb2 import ListProvidersRequest  # noqa: PLC0415 - only when completing

    return _names(
        lambda client: client.call(client.providers.ListProviders, ListProvidersRequest(page_size=1000)).providers,
        "provider",
        incomplete,
    )


def _names(fetch: Callable[[Any], Any], field: str, incomplete: str) -> list[str]:
    from server.cli.client import connect  # noqa: PLC0415 - only when completing

    try:
        with connect(_DEADLINE) as client:
            names = [str(getattr(item, field)) for item in fetch(client)]
    except CliError:
        return []
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]
