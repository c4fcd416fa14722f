"""Promises 3 and 4: what a caller gets for every combination of token, budget and provider.

This is the table of docs/refresh.md; `test_the_documentation_has_this_table` holds the two together.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.refresh.test_crashes import wait_until
from tests.support.canaries import Canaries
from tests.support.oauth import OAuthServer, running_oauth_server
from tests.support.postgres import Postgres
from tests.support.server_process import ServerProcess, default_settings
from tests.support.service import Service, failure_of, write_template

SLOW = 2.0
TOKENS = {"valid": 3600.0, "expiring": 300.0, "expired": -1.0}
BUDGETS = {"ample": 15.0, "too small": 0.4, "runs out midway": 1.2}
PROVIDERS = ("fast", "slow", "down")

# What the caller gets: `same` or `new` token, or a reason; and what the connection's generation is in the end.
EXPECTED: dict[tuple[str, str, str], tuple[str, int]] = {
    **{("valid", budget, provider): ("same", 1) for budget in BUDGETS for provider in PROVIDERS},
    ("expiring", "ample", "fast"): ("new", 2),
    ("expiring", "ample", "slow"): ("new", 2),
    ("expiring", "ample", "down"): ("same", 1),
    ("expiring", "too small", "fast"): ("same", 2),
    ("expiring", "too small", "slow"): ("same", 2),
    ("expiring", "too small", "down"): ("same", 1),
    ("expiring", "runs out midway", "fast"): ("new", 2),
    ("expiring", "runs out midway", "slow"): ("same", 2),
    ("expiring", "runs out midway", "down"): ("same", 1),
    ("expired", "ample", "fast"): ("new", 2),
    ("expired", "ample", "slow"): ("new", 2),
    ("expired", "ample", "down"): ("PROVIDER_UNAVAILABLE", 1),
    ("expired", "too small", "fast"): ("new", 2),
    ("expired", "too small", "slow"): ("REFRESH_CONTINUES", 2),
    ("expired", "too small", "down"): ("PROVIDER_UNAVAILABLE", 1),
    ("expired", "runs out midway", "fast"): ("new", 2),
    ("expired", "runs out midway", "slow"): ("REFRESH_CONTINUES", 2),
    ("expired", "runs out midway", "down"): ("PROVIDER_UNAVAILABLE", 1),
}


@pytest.fixture(scope="module")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthServer]:
    with running_oauth_server(tmp_path_factory.mktemp("oauth") / "log") as server:
        server.reset()
        yield server


@pytest.fixture(scope="module")
def service(
    oauth: OAuthServer, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, canaries: Canaries
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("deadlines")
    templates = write_template(folder / "templates", oauth, reuse_window=0)
    with postgres.database() as url:
        settings = default_settings(url, folder / "data") | {"CONNECTIONS_PROVIDERS_DIR": str(templates)}
        server = ServerProcess(settings, folder / "log")
        try:
            server.wait_until_ready()
            caller = Service(server.address, server.bootstrap())
            caller.create_integration(oauth)
            yield caller
            caller.close()
        finally:
            server.kill()
    canaries.add_source(oauth.tokens)
    assert not canaries.found_in(server.logs())
    canaries.remove_source(oauth.tokens)


@pytest.mark.parametrize(("token", "budget", "provider"), list(itertools.product(TOKENS, BUDGETS, PROVIDERS)))
def test_promise_4_what_a_caller_gets(
    service: Service, oauth: OAuthServer, token: str, budget: str, provider: str
) -> None:
    name = f"{token} {budget} {provider}"
    _close_breaker(service, oauth, name)
    pair = oauth.issue(expires_in=3600)
    service.import_pair(pair, expires_in=TOKENS[token], connection_id=name)
    if provider == "slow":
        oauth.fault("delay", seconds=SLOW)
    elif provider == "down":
        oauth.fault("http500", count=1)
    expected, generation = EXPECTED[token, budget, provider]

    started = time.monotonic()
    try:
        got = service.get(name, timeout=BUDGETS[budget], min_ttl=Duration(seconds=60)).credentials.oauth2.access_token
        outcome = "same" if got == pair.access_token else "new"
    except grpc.RpcError as error:
        outcome = failure_of(error).reason
    seconds = time.monotonic() - started

    assert outcome == expected
    if outcome == "same" and budget == "too small":
        # It did not wait for the provider; far below what the slow one takes.
        assert seconds < SLOW / 2
    if generation == 2:
        wait_until(lambda: service.basic(name).generation == 2)
    elif token == "valid":
        assert service.basic(name).status == 1
    else:
        service.wait_for_status("REFRESH_FAILING", connection_id=name)
        assert service.basic(name).generation == 1
    oauth.fault("http500", count=0)


def test_promise_4_a_token_that_lives_too_short_for_the_caller_is_refreshed(
    service: Service, oauth: OAuthServer
) -> None:
    pair = oauth.issue()
    service.import_pair(pair, expires_in=3000, connection_id="min_ttl")

    assert service.get("min_ttl").credentials.oauth2.access_token == pair.access_token
    longer = service.get("min_ttl", min_ttl=Duration(seconds=3300)).credentials.oauth2.access_token
    assert longer != pair.access_token


def test_the_documentation_has_this_table() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "refresh.md").read_text()
    rows = {}
    for cells in re.findall(
        r"^\| (valid|expiring|expired) \| ([a-z ]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE
    ):
        for provider, cell in zip(PROVIDERS, cells[2:], strict=True):
            rows[cells[0], cells[1], provider] = cell.strip()
    words = {
        ("same", 1): "the present token",
        ("same", 2): "the present token; refreshed behind",
        ("new", 2): "a new token",
        ("REFRESH_CONTINUES", 2): "`REFRESH_CONTINUES`; refreshed behind",
        ("PROVIDER_UNAVAILABLE", 1): "`PROVIDER_UNAVAILABLE`",
    }
    expected = {key: words[value] for key, value in EXPECTED.items()}
    for token, budget, provider in EXPECTED:
        if token == "expiring" and provider == "down":
            expected[token, budget, provider] = "the present token; failure in `status`"
    assert rows == expected


def _close_breaker(service: Service, oauth: OAuthServer, name: str) -> None:
    """Let the provider answer once: tests before this one may have brought it close to its breaker."""
    warm = f"warm {name}"
    service.import_pair(oauth.issue(), expires_in=3600, connection_id=warm)
    service.force(warm)
