"""`IntegrationService`: validates, converts, calls one use case, converts back."""

from __future__ import annotations

from typing import Final

from connections.v1 import integration_pb2, integration_service_pb2

from server.domain import rules
from server.domain.errors import PageTokenInvalid
from server.domain.integrations import Integrations, NewIntegration
from server.domain.ports import IntegrationChange
from server.domain.secret import Secret
from server.rpc import convert, validate
from server.rpc.call import Call
from server.rpc.page_token import PageTokens

_PURPOSE: Final = "integrations"
_MUTABLE: Final = ("display_name", "client_id", "client_secret", "scopes", "connection_config")


class IntegrationService:
    """The servicer."""

    def __init__(self, integrations: Integrations, tokens: PageTokens) -> None:
        self._integrations = integrations
        self._tokens = tokens

    async def CreateIntegration(
        self, request: integration_service_pb2.CreateIntegrationRequest, call: Call
    ) -> integration_service_pb2.CreateIntegrationResponse:
        """Create an integration."""
        found = rules.Violations()
        message = request.integration
        found.check(rules.name, "integration.provider_config_key", message.provider_config_key)
        found.check(rules.name, "integration.provider", message.provider)
        config = _check(found, message)
        found.raise_if_any()
        call.fields["provider_config_key"] = message.provider_config_key
        created = await self._integrations.create(
            call.caller.environment_id,
            NewIntegration(
                provider_config_key=message.provider_config_key,
                provider=message.provider,
                display_name=message.display_name,
                client_id=message.client_id,
                client_secret=Secret(message.client_secret) if message.client_secret else None,
                scopes=tuple(message.scopes),
                connection_config=config,
            ),
        )
        return integration_service_pb2.CreateIntegrationResponse(integration=convert.integration(created))

    async def GetIntegration(
        self, request: integration_service_pb2.GetIntegrationRequest, call: Call
    ) -> integration_service_pb2.GetIntegrationResponse:
        """Return an integration."""
        key = _key(request.provider_config_key, call)
        found = await self._integrations.get(call.caller.environment_id, key)
        return integration_service_pb2.GetIntegrationResponse(integration=convert.integration(found))

    async def ListIntegrations(
        self, request: integration_service_pb2.ListIntegrationsRequest, call: Call
    ) -> integration_service_pb2.ListIntegrationsResponse:
        """Return a page of integrations."""
        found = rules.Violations()
        found.check(rules.page_size, "page_size", request.page_size)
        validate.page_token(found, request.page_token)
        found.raise_if_any()
        environment_id = call.caller.environment_id
        after = ""
        if request.page_token:
            try:
                after = (await self._tokens.read(environment_id, _PURPOSE, "", request.page_token)).decode()
            except UnicodeDecodeError:
                raise PageTokenInvalid("page_token is damaged; start again without it") from None
        page, more = await self._integrations.page(
            environment_id, after=after, size=rules.coerce_page_size(request.page_size)
        )
        response = integration_service_pb2.ListIntegrationsResponse(
            integrations=[convert.integration(integration) for integration in page]
        )
        if more:
            last = page[-1].provider_config_key.encode()
            response.next_page_token = await self._tokens.make(environment_id, _PURPOSE, "", last)
        return response

    async def UpdateIntegration(
        self, request: integration_service_pb2.UpdateIntegrationRequest, call: Call
    ) -> integration_service_pb2.UpdateIntegrationResponse:
        """Change an integration."""
        found = rules.Violations()
        message = request.integration
        found.check(rules.name, "integration.provider_config_key", message.provider_config_key)
        etag = validate.etag(found, request.etag)
        if request.update_mask.paths:
            paths = validate.mask(found, request.update_mask.paths, _MUTABLE)
        else:
            paths = {field.name for field, _ in message.ListFields()} & set(_MUTABLE)
            if not paths:
                found.add("integration", f"sets none of the fields that can be changed: {', '.join(_MUTABLE)}")
        config = _check(found, message)
        found.raise_if_any()
        call.fields["provider_config_key"] = message.provider_config_key
        changed = await self._integrations.update(
            call.caller.environment_id,
            message.provider_config_key,
            IntegrationChange(
                display_name=message.display_name if "display_name" in paths else None,
                client_id=message.client_id if "client_id" in paths else None,
                client_secret=Secret(message.client_secret) if "client_secret" in paths else None,
                scopes=tuple(message.scopes) if "scopes" in paths else None,
                connection_config=config if "connection_config" in paths else None,
            ),
            etag=etag,
        )
        return integration_service_pb2.UpdateIntegrationResponse(integration=convert.integration(changed))

    async def DeleteIntegration(
        self, request: integration_service_pb2.DeleteIntegrationRequest, call: Call
    ) -> integration_service_pb2.DeleteIntegrationResponse:
        """Delete an integration."""
        found = rules.Violations()
        etag = validate.etag(found, request.etag)
        found.raise_if_any()
        key = _key(request.provider_config_key, call)
        deleted = await self._integrations.delete(call.caller.environment_id, key, etag=etag, force=request.force)
        return integration_service_pb2.DeleteIntegrationResponse(deleted_connections=deleted)


def _key(provider_config_key: str, call: Call) -> str:
    found = rules.Violations()
    found.check(rules.name, "provider_config_key", provider_config_key)
    found.raise_if_any()
    call.fields["provider_config_key"] = provider_config_key
    return provider_config_key


def _check(found: rules.Violations, message: integration_pb2.Integration) -> dict[str, object]:
    found.check(rules.text, "integration.display_name", message.display_name)
    found.check(rules.text, "integration.client_id", message.client_id, limit=4096)
    found.check(rules.secret, "integration.client_secret", message.client_secret)
    found.check(rules.scopes, "integration.scopes", message.scopes)
    return validate.json_object(found, "integration.connection_config", message.connection_config)
