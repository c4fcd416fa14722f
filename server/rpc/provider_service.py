"""`ProviderService`: the provider templates."""

from __future__ import annotations

from typing import Final

from connections.v1 import provider_service_pb2

from server.domain import rules
from server.domain.errors import NotFound, PageTokenInvalid
from server.domain.ports import Providers
from server.rpc import convert, validate
from server.rpc.call import Call
from server.rpc.page_token import PageTokens

_PURPOSE: Final = "providers"


class ProviderService:
    """The servicer."""

    def __init__(self, providers: Providers, tokens: PageTokens) -> None:
        self._providers = providers
        self._tokens = tokens

    async def ListProviders(
        self, request: provider_service_pb2.ListProvidersRequest, call: Call
    ) -> provider_service_pb2.ListProvidersResponse:
        """Return a page of templates."""
        found = rules.Violations()
        found.check(rules.text, "search", request.search)
        found.check(rules.page_size, "page_size", request.page_size)
        validate.page_token(found, request.page_token)
        found.raise_if_any()
        environment_id, search = call.caller.environment_id, request.search.casefold()
        after = ""
        if request.page_token:
            try:
                after = (await self._tokens.read(environment_id, _PURPOSE, search, request.page_token)).decode()
            except UnicodeDecodeError:
                raise PageTokenInvalid("page_token is damaged; start again without it") from None
        matching = [
            info
            for info in self._providers.all()
            if info.name > after
            and any(search in text.casefold() for text in (info.name, info.display_name, *info.categories))
        ]
        size = rules.coerce_page_size(request.page_size)
        response = provider_service_pb2.ListProvidersResponse(
            providers=[convert.provider(info) for info in matching[:size]]
        )
        if len(matching) > size:
            last = matching[size - 1].name.encode()
            response.next_page_token = await self._tokens.make(environment_id, _PURPOSE, search, last)
        return response

    async def GetProvider(
        self, request: provider_service_pb2.GetProviderRequest, call: Call
    ) -> provider_service_pb2.GetProviderResponse:
        """Return one template."""
        del call
        found = rules.Violations()
        found.check(rules.name, "provider", request.provider)
        found.raise_if_any()
        info = self._providers.info(request.provider)
        if info is None:
            raise NotFound.provider(request.provider)
        return provider_service_pb2.GetProviderResponse(provider=convert.provider(info))
