"""What is as large, as strange or as many as the contract allows still gets its answer."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import grpc
import pytest
from connections.v1 import connection_pb2, connection_service_pb2, integration_pb2, integration_service_pb2

from tests.refresh.conftest import World
from tests.service.conftest import Service
from tests.support.client import Client, create_request, failure_of, get_request, timestamp

WIDE = "\N{GRINNING FACE}"


def test_a_page_of_large_connections_stays_within_what_clients_take(client: Client) -> None:
    client.integration("mail", "sendgrid")
    for number in range(80):
        client.api_key_connection("mail", f"large-{number}", metadata={"notes": "n" * 60_000})

    # The default page of 100 would be 5 MB, and clients take 4 unless told otherwise.
    pages = client.pages()
    ids = [found.connection_id for page in pages for found in page.connections]
    assert ids == [f"large-{number}" for number in reversed(range(80))]
    assert all(page.ByteSize() < 4 << 20 for page in pages)
    assert [bool(page.next_page_token) for page in pages] == [True] * (len(pages) - 1) + [False]
    # And so with a limit, and from a token on.
    assert client.ids(limit=50, page_size=1000) == ids[:50]
    assert client.ids(page_token=pages[0].next_page_token) == ids[len(pages[0].connections) :]


def trailer_bytes(client: Client, method: Any, request: Any) -> int:
    """Return the bytes of a failed call's trailers as HTTP/2 counts them (RFC 9113 section 6.5.2)."""
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=10, metadata=client.metadata)
    assert failure_of(caught.value).reason
    call: Any = caught.value
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in call.details().encode())
    return (
        32
        + len("grpc-message")
        + message
        + sum(
            32 + len(key) + (len(value) * 4 // 3 + 4 if isinstance(value, bytes) else len(value))
            for key, value in call.trailing_metadata()
        )
    )


def test_the_longest_names_fit_into_a_status(client: Client) -> None:
    request = get_request(WIDE * 255, WIDE * 255)
    assert trailer_bytes(client, client.connections.GetConnection, request) < 8192


def test_the_longest_violations_fit_into_a_status(client: Client) -> None:
    metadata = {WIDE * 190: {f"{number}": "\x00" for number in range(16)}}
    request = create_request(provider_config_key="mail", metadata=metadata)
    assert trailer_bytes(client, client.connections.CreateConnection, request) < 8192
    failure = client.fails(client.connections.CreateConnection, request)
    assert failure.metadata["violations"] == "16"


def test_a_list_of_digits_may_be_as_large_as_any_metadata(client: Client) -> None:
    client.integration("mail", "sendgrid")
    found = client.api_key_connection("mail", "a", metadata={"digits": [1] * 30_000})
    assert len(found.metadata.fields["digits"].list_value.values) == 30_000


def test_the_last_instant_of_a_timestamp_is_refused_not_stumbled_over(client: Client) -> None:
    client.integration("crm", "github", client_id="id", client_secret="secret-of-the-client")
    oauth2 = connection_pb2.OAuth2Credentials(access_token="token-of-the-test", expire_time=timestamp(1))
    oauth2.expire_time.seconds, oauth2.expire_time.nanos = 253_402_300_799, 999_999_999
    request = create_request(
        provider_config_key="crm", connection_id="a", credentials=connection_pb2.Credentials(oauth2=oauth2)
    )
    assert set(client.fails(client.connections.CreateConnection, request).violations) == {
        "credentials.oauth2.expire_time"
    }


def test_a_method_that_does_not_exist_gets_no_label(service: Service, client: Client) -> None:
    name = f"/connections.v1.Made{uuid4().hex}/Up"
    for caller in (client, client.with_key("")):
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary(name, bytes, bytes)(b"", timeout=10, metadata=caller.metadata)
        failure = failure_of(caught.value)
        assert (failure.reason, failure.metadata["method"]) == ("METHOD_NOT_FOUND", name)

    with urllib.request.urlopen(f"http://{service.server.addresses.http}/metrics") as response:
        assert name not in response.read().decode()


def test_the_first_import_of_a_process_needs_no_second_database_connection(world: World) -> None:
    _, first = world.start()
    # Without a client secret, whose reading would bring the keys into memory before.
    integration = integration_pb2.Integration(provider_config_key="mail", provider="sendgrid")
    first.integrations.CreateIntegration(
        integration_service_pb2.CreateIntegrationRequest(integration=integration), timeout=10
    )
    # A process that has seen nothing of the environment yet. One connection stands for as many as are all taken by imports.
    _, service = world.start(database_pool_size="1")

    def create(number: int) -> bool:
        credentials = connection_pb2.Credentials(api_key=connection_pb2.ApiKeyCredentials(api_key=f"key-{number}"))
        response: connection_service_pb2.CreateConnectionResponse = service.connections.CreateConnection(
            connection_service_pb2.CreateConnectionRequest(
                provider_config_key="mail", connection_id=f"c-{number}", credentials=credentials
            ),
            timeout=30,
        )
        return response.created

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(create, range(2)))
