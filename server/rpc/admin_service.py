"""`AdminService`: environments and API keys. The chain has checked that the caller's key is an admin key."""

from __future__ import annotations

from connections.v1 import admin_service_pb2

from server.domain import rules
from server.domain.api_keys import ApiKeys
from server.domain.clock import Clock
from server.domain.ports import EnvironmentStore
from server.rpc import convert, validate
from server.rpc.call import Call


class AdminService:
    """The servicer."""

    def __init__(self, environments: EnvironmentStore, api_keys: ApiKeys, clock: Clock) -> None:
        self._environments = environments
        self._api_keys = api_keys
        self._clock = clock

    async def CreateEnvironment(
        self, request: admin_service_pb2.CreateEnvironmentRequest, call: Call
    ) -> admin_service_pb2.CreateEnvironmentResponse:
        """Create an environment and its encryption key."""
        del call
        found = rules.Violations()
        found.check(rules.environment_name, "name", request.name)
        found.raise_if_any()
        environment = await self._environments.create(request.name, now=self._clock.now())
        return admin_service_pb2.CreateEnvironmentResponse(environment=convert.environment(environment))

    async def ListEnvironments(
        self, request: admin_service_pb2.ListEnvironmentsRequest, call: Call
    ) -> admin_service_pb2.ListEnvironmentsResponse:
        """Return the environments."""
        del request, call
        environments = await self._environments.all()
        return admin_service_pb2.ListEnvironmentsResponse(
            environments=[convert.environment(environment) for environment in environments]
        )

    async def CreateApiKey(
        self, request: admin_service_pb2.CreateApiKeyRequest, call: Call
    ) -> admin_service_pb2.CreateApiKeyResponse:
        """Create an API key and show it, this once."""
        del call
        found = rules.Violations()
        found.check(rules.environment_name, "environment", request.environment)
        found.check(rules.text, "display_name", request.display_name)
        expire_time = None
        if request.HasField("expire_time"):
            expire_time = validate.instant(found, "expire_time", request.expire_time)
            if expire_time <= self._clock.now():
                found.add("expire_time", "must be in the future")
        found.raise_if_any()
        environment = await self._environments.by_name(request.environment)
        key, secret = await self._api_keys.create(
            environment, display_name=request.display_name, admin=request.admin, expire_time=expire_time
        )
        return admin_service_pb2.CreateApiKeyResponse(api_key=convert.api_key(key), secret=secret.reveal())

    async def ListApiKeys(
        self, request: admin_service_pb2.ListApiKeysRequest, call: Call
    ) -> admin_service_pb2.ListApiKeysResponse:
        """Return what is known about an environment's API keys."""
        del call
        found = rules.Violations()
        found.check(rules.environment_name, "environment", request.environment)
        found.raise_if_any()
        environment = await self._environments.by_name(request.environment)
        keys = await self._environments.api_keys(environment)
        return admin_service_pb2.ListApiKeysResponse(api_keys=[convert.api_key(key) for key in keys])

    async def DeleteApiKey(
        self, request: admin_service_pb2.DeleteApiKeyRequest, call: Call
    ) -> admin_service_pb2.DeleteApiKeyResponse:
        """Revoke an API key."""
        del call
        found = rules.Violations()
        found.check(rules.environment_name, "environment", request.environment)
        found.raise_if_any()
        api_key_id = validate.uuid_of("api_key_id", request.api_key_id)
        environment = await self._environments.by_name(request.environment)
        await self._api_keys.delete(environment, api_key_id)
        return admin_service_pb2.DeleteApiKeyResponse()
