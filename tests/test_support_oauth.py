"""The authorization server that other tests rely on does what they rely on."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.parse
from typing import Any

import pytest

from tests.support.oauth import OAuthServer
from tests.support.oauth_server import HUGE_BYTES


def post(server: OAuthServer, path: str = "/token", *, basic: bool = False, **form: Any) -> tuple[int, Any, bytes]:
    """Return status, headers and body."""
    connection = http.client.HTTPConnection(server.host, timeout=30)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if basic:
        pair = f"{server.client_id}:{server.client_secret}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form = {"client_id": server.client_id, "client_secret": server.client_secret, **form}
    try:
        connection.request("POST", path, urllib.parse.urlencode(form), headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def refresh(server: OAuthServer, token: str, **options: Any) -> tuple[int, Any]:
    status, _, body = post(server, grant_type="refresh_token", refresh_token=token, **options)
    return status, json.loads(body)


def test_a_refresh_token_rotates(oauth_server: OAuthServer) -> None:
    pair = oauth_server.issue(expires_in=30)
    status, answer = refresh(oauth_server, pair.refresh_token)
    assert status == 200
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3600
    assert answer["refresh_token"] != pair.refresh_token
    assert oauth_server.is_active(answer["access_token"])
    assert oauth_server.is_active(answer["refresh_token"])
    assert not oauth_server.is_active(pair.refresh_token)
    stats = oauth_server.stats()
    assert stats.total == 1
    assert stats.per_refresh_token == {pair.refresh_token: 1}
    assert stats.requests[0]["grant_type"] == "refresh_token"


def test_reuse_revokes_the_whole_family(oauth_server: OAuthServer) -> None:
    pair, bystander = oauth_server.issue(), oauth_server.issue()
    _, second = refresh(oauth_server, pair.refresh_token)
    status, answer = refresh(oauth_server, pair.refresh_token)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert not oauth_server.is_active(second["access_token"])
    assert refresh(oauth_server, second["refresh_token"])[0] == 400
    assert oauth_server.is_active(bystander.refresh_token)
    assert oauth_server.stats().reuses == 1


def test_within_the_reuse_window_the_answer_is_replayed(oauth_server: OAuthServer) -> None:
    oauth_server.configure(reuse_window=600)
    pair = oauth_server.issue()
    first, second = refresh(oauth_server, pair.refresh_token), refresh(oauth_server, pair.refresh_token)
    assert first == second
    assert first[0] == 200
    assert oauth_server.stats().reuses == 0


def test_without_rotation_the_refresh_token_stays(oauth_server: OAuthServer) -> None:
    oauth_server.configure(rotate=False, access_token_lifetime=77)
    pair = oauth_server.issue()
    status, answer = refresh(oauth_server, pair.refresh_token)
    assert (status, answer["expires_in"]) == (200, 77)
    assert "refresh_token" not in answer
    assert refresh(oauth_server, pair.refresh_token)[0] == 200


def test_client_authentication(oauth_server: OAuthServer) -> None:
    pair = oauth_server.issue()
    oauth_server.add_client("other", "another-secret")
    assert refresh(oauth_server, pair.refresh_token, client_secret="wrong-secret")[1]["error"] == "invalid_client"
    wrong_client = refresh(oauth_server, pair.refresh_token, client_id="other", client_secret="another-secret")
    assert wrong_client[1]["error"] == "invalid_grant"
    assert refresh(oauth_server, pair.refresh_token, basic=True)[0] == 200
    assert [seen["authorization_scheme"] for seen in oauth_server.stats().requests] == ["", "", "Basic"]


def test_client_credentials_bring_no_refresh_token(oauth_server: OAuthServer) -> None:
    status, _, body = post(oauth_server, grant_type="client_credentials", scope="read")
    assert status == 200
    assert "refresh_token" not in json.loads(body)
    assert oauth_server.is_active(json.loads(body)["access_token"])


def test_authorization_code(oauth_server: OAuthServer) -> None:
    callback = "http://127.0.0.1/callback"
    oauth_server.add_client("web", "secret-of-web", redirect_uris=(callback,))
    query = {"response_type": "code", "client_id": "web", "redirect_uri": callback, "state": "s", "scope": "read"}
    connection = http.client.HTTPConnection(oauth_server.host, timeout=30)
    connection.request("GET", "/authorize?" + urllib.parse.urlencode(query))
    location = connection.getresponse().headers["Location"]
    connection.close()
    found = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
    assert found["state"] == "s"
    form: dict[str, Any] = {
        "grant_type": "authorization_code",
        "code": found["code"],
        "redirect_uri": callback,
        "client_id": "web",
        "client_secret": "secret-of-web",
    }
    status, _, body = post(oauth_server, **form)
    assert status == 200
    assert json.loads(body)["refresh_token"]
    assert post(oauth_server, **form)[0] == 400


def test_revocation(oauth_server: OAuthServer) -> None:
    pair = oauth_server.issue()
    assert post(oauth_server, "/revoke", token=pair.refresh_token)[0] == 200
    assert not oauth_server.is_active(pair.access_token)
    assert refresh(oauth_server, pair.refresh_token)[1]["error"] == "invalid_grant"


def test_an_issued_token_may_be_expired_at_once(oauth_server: OAuthServer) -> None:
    pair = oauth_server.issue(expires_in=-1)
    assert not oauth_server.is_active(pair.access_token)
    assert oauth_server.is_active(pair.refresh_token)


def test_faults(oauth_server: OAuthServer) -> None:
    pair = oauth_server.issue()

    def answer() -> tuple[int, Any, bytes]:
        return post(oauth_server, grant_type="refresh_token", refresh_token=pair.refresh_token)

    oauth_server.fault("html")
    status, headers, body = answer()
    assert (status, headers.get_content_type()) == (200, "text/html")
    oauth_server.fault("http500", count=2)
    assert [answer()[0], answer()[0]] == [500, 500]
    oauth_server.fault("http429", retry_after=7)
    status, headers, _ = answer()
    assert (status, headers["Retry-After"]) == (429, "7")
    oauth_server.fault("error200")
    status, _, body = answer()
    assert status == 200
    assert "error" in json.loads(body)
    oauth_server.fault("no_access_token")
    assert "access_token" not in json.loads(answer()[2])
    oauth_server.fault("huge")
    assert len(answer()[2]) > HUGE_BYTES - 100_000
    oauth_server.fault("close")
    with pytest.raises(ConnectionError):
        answer()
    assert oauth_server.is_active(pair.refresh_token), "no fault so far may have spent the token"
    assert oauth_server.stats().per_refresh_token[pair.refresh_token] == 8

    for kind in ("slow", "delay"):
        another = oauth_server.issue()
        oauth_server.fault(kind, seconds=0.2)
        began = time.monotonic()
        assert refresh(oauth_server, another.refresh_token)[0] == 200
        assert time.monotonic() - began >= 0.2

    oauth_server.fault("lost")
    with pytest.raises(ConnectionError):
        answer()
    assert not oauth_server.is_active(pair.refresh_token)
    assert oauth_server.stats().faults_left == 0


def test_a_reset_forgets(oauth_server: OAuthServer) -> None:
    pair = oauth_server.issue()
    oauth_server.fault("html", count=100)
    oauth_server.reset()
    assert not oauth_server.is_active(pair.refresh_token)
    assert oauth_server.stats().total == 0
    assert refresh(oauth_server, oauth_server.issue().refresh_token)[0] == 200
