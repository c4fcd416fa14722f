"""ListConnections: filters, order, pages, tokens."""

from __future__ import annotations

import base64

import pytest
from connections.v1 import connection_pb2, connection_service_pb2

from tests.support.client import TIMEOUT, Client, get_request, timestamp
from tests.support.oauth import OAuthServer

_START = 1_600_000_000.0


@pytest.fixture
def five(client: Client) -> Client:
    """Five connections, `c0` the oldest, under `mail` (even) and `files` (odd)."""
    client.integration("mail", "api-key-generic")
    client.integration("files", "api-key-generic")
    for number in range(5):
        client.api_key_connection(
            ("mail", "files")[number % 2],
            f"c{number}",
            create_time=timestamp(_START + number),
            tags={"team": ("blue", "red")[number % 2], "tier": "gold" if number > 2 else "base"},
        )
    return client


def test_newest_come_first(five: Client) -> None:
    assert five.ids() == ["c4", "c3", "c2", "c1", "c0"]


def test_connections_of_one_instant_have_a_stable_order(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    for number in range(7):
        client.api_key_connection("mail", f"c{number}", create_time=timestamp(_START))
    whole = client.ids()
    assert sorted(whole) == [f"c{number}" for number in range(7)]
    assert client.ids(page_size=1) == whole


def test_an_empty_list_is_one_message(client: Client) -> None:
    (page,) = client.pages()
    assert not page.connections
    assert page.next_page_token == ""


def test_a_list_shows_no_credentials_and_refreshes_nothing(client: Client, oauth_server: OAuthServer) -> None:
    client.oauth_integration(oauth_server)
    client.oauth_connection("crm", "a", oauth_server.issue(), expires_in=-5)
    (page,) = client.pages()
    assert not page.connections[0].HasField("credentials")
    assert page.connections[0] == client.basic("crm", "a")
    assert oauth_server.stats().total == 0


def test_each_filter_and_all_of_them(five: Client) -> None:
    five.api_key_connection("files", "c0", tags={"team": "red"})
    assert five.ids(connection_id="c0") == ["c0", "c0"]
    assert five.ids(provider_config_keys=["mail"]) == ["c4", "c2", "c0"]
    assert five.ids(provider_config_keys=["mail", "files", "nothing"], limit=2) == ["c0", "c4"]
    assert five.ids(tags={"team": "blue"}) == ["c4", "c2", "c0"]
    assert five.ids(tags={"TEAM": "blue", "tier": "gold"}) == ["c4"]
    assert five.ids(tags={"team": "Blue"}) == []
    assert five.ids(search="C3") == ["c3"]
    assert five.ids(statuses=["CONNECTION_STATUS_REFRESH_FAILING"]) == []
    both = ["CONNECTION_STATUS_REFRESH_FAILING", "CONNECTION_STATUS_ACTIVE"]
    assert len(five.ids(statuses=both)) == 6
    assert five.ids(
        connection_id="c2", provider_config_keys=["mail"], tags={"team": "blue"}, search="2", statuses=both
    ) == ["c2"]
    assert five.ids(connection_id="c2", provider_config_keys=["files"]) == []


def test_statuses_are_found_when_something_is_wrong(client: Client, oauth_server: OAuthServer) -> None:
    client.oauth_integration(oauth_server)
    for name in ("well", "failing", "dead"):
        client.oauth_connection("crm", name, oauth_server.issue(), expires_in=-5)
    client.get("crm", "well")
    oauth_server.fault("html")
    client.fails(client.connections.GetConnection, get_request("crm", "failing"))
    oauth_server.fault("error200")
    client.fails(client.connections.GetConnection, get_request("crm", "dead"))
    assert client.ids(statuses=["CONNECTION_STATUS_ACTIVE"]) == ["well"]
    assert client.ids(statuses=["CONNECTION_STATUS_REFRESH_FAILING"]) == ["failing"]
    assert client.ids(statuses=["CONNECTION_STATUS_REAUTHORIZATION_REQUIRED"]) == ["dead"]


def test_a_search_looks_where_the_contract_says_and_takes_every_character_as_it_is(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    client.api_key_connection("mail", "a", display_name="50% off_er")
    client.api_key_connection("mail", "b", tags={"end_user_display_name": "Zoë 50x"})
    client.api_key_connection("mail", "c", tags={"end_user_email": "Ann@Example.com"})
    client.api_key_connection("mail", "d", tags={"team": "50% off_er"}, metadata={"x": "50%"})
    client.api_key_connection("mail", r"back\slash/e")
    assert client.ids(search="50%") == ["a"]
    assert client.ids(search="f_e") == ["a"]
    assert client.ids(search="zoë") == ["b"]
    assert client.ids(search="ann@EXAMPLE") == ["c"]
    assert client.ids(search="\\") == [r"back\slash/e"]
    assert client.ids(search="/") == [r"back\slash/e"]
    assert client.ids(search="%_%") == []


def test_pages_resume_and_limits_end(five: Client) -> None:
    pages = five.pages(page_size=2)
    assert [[found.connection_id for found in page.connections] for page in pages] == [
        ["c4", "c3"],
        ["c2", "c1"],
        ["c0"],
    ]
    assert pages[-1].next_page_token == ""
    assert five.ids(page_size=2, page_token=pages[0].next_page_token) == ["c2", "c1", "c0"]
    assert five.ids(page_size=1, page_token=pages[1].next_page_token) == ["c0"]
    (limited,) = five.pages(limit=2)
    assert [found.connection_id for found in limited.connections] == ["c4", "c3"]
    assert five.ids(page_token=limited.next_page_token, limit=1) == ["c2"]
    (exact,) = five.pages(limit=5)
    assert exact.next_page_token == ""
    assert len(five.pages(page_size=5)) == 1
    assert len(five.ids(page_size=1_000_000)) == 5


def test_a_caller_who_wants_one_page_reads_one_message(five: Client) -> None:
    request = connection_service_pb2.ListConnectionsRequest(page_size=2)
    stream = five.connections.ListConnections(request, timeout=TIMEOUT, metadata=five.metadata)
    page = next(stream)
    stream.cancel()
    assert five.ids(page_size=2, page_token=page.next_page_token) == ["c2", "c1", "c0"]


def test_a_token_belongs_to_its_filter_and_environment(five: Client, stranger: Client) -> None:
    def refusal(client: Client, **fields: object) -> str:
        request = connection_service_pb2.ListConnectionsRequest(**fields)  # type: ignore[arg-type]
        failure = client.fails(client.connections.ListConnections, request)
        assert failure.code.name == "INVALID_ARGUMENT"
        return failure.reason

    token = five.pages(tags={"team": "blue"}, page_size=1)[0].next_page_token
    assert five.ids(tags={"Team": "blue"}, page_token=token) == ["c2", "c0"]
    for other in ({"tags": {"team": "red"}}, {}, {"tags": {"team": "blue"}, "search": "c"}):
        assert refusal(five, page_token=token, **other) == "PAGE_TOKEN_MISMATCH"
    assert refusal(stranger, tags={"team": "blue"}, page_token=token) == "PAGE_TOKEN_INVALID"
    damaged = bytearray(base64.urlsafe_b64decode(token))
    damaged[-1] ^= 1
    for garbage in ("x", "????", "AAAA", "é" * 8, base64.urlsafe_b64encode(damaged).decode(), token[:-4]):
        assert refusal(five, tags={"team": "blue"}, page_token=garbage) == "PAGE_TOKEN_INVALID"


def test_environments_cannot_see_each_other(five: Client, stranger: Client) -> None:
    assert stranger.ids() == []
    stranger.integration("mail", "api-key-generic")
    stranger.api_key_connection("mail", "c0", metadata={"whose": "theirs"})
    assert stranger.ids() == ["c0"]
    assert (
        stranger.fails(stranger.connections.GetConnection, get_request("mail", "c2")).reason == "CONNECTION_NOT_FOUND"
    )
    assert "whose" not in five.get("mail", "c0").metadata.fields
    delete = connection_service_pb2.DeleteConnectionRequest(provider_config_key="mail", connection_id="c0")
    stranger.call(stranger.connections.DeleteConnection, delete)
    assert five.get("mail", "c0").status == connection_pb2.CONNECTION_STATUS_ACTIVE
