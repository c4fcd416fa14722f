"""Promise 6 with Postgres away: the answer survives, and every caller gets its status within its deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.refresh.conftest import World
from tests.refresh.test_crashes import wait_until
from tests.support.own_postgres import OwnPostgres, own_postgres
from tests.support.service import Service, failure_of


@pytest.fixture
def postgres_of_ours() -> Iterator[OwnPostgres]:
    with own_postgres() as postgres:
        yield postgres


def test_promise_6_an_answer_outlives_a_postgres_that_stops_before_it_is_stored(
    world: World, postgres_of_ours: OwnPostgres, tmp_path: Path
) -> None:
    gate = tmp_path / "answer-arrived"
    with postgres_of_ours.database() as url:
        server, service = world.start(fault_point=f"after_answer:file={gate}", lease_ttl="1s", database=url)
        pair = world.oauth.issue(expires_in=1)
        service.import_pair(pair, expires_in=-1)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(service.get_failure, timeout=20)
            wait_until(gate.exists)
            postgres_of_ours.halt()
            gate.unlink()
            failure = reading.result()
        assert failure.reason in {"STORAGE_UNAVAILABLE", "REFRESH_CONTINUES"}
        spool = Path(server.settings["CONNECTIONS_DATA_DIR"]) / "spool"
        wait_until(lambda: any(spool.glob("*.answer")), seconds=20)
        spooled = next(spool.glob("*.answer"))
        assert spooled.stat().st_mode & 0o777 == 0o600
        assert not any(token.encode() in spooled.read_bytes() for token in world.oauth.tokens())

        postgres_of_ours.start()
        # The running process adopts it by itself, without anybody asking for the connection.
        wait_until(lambda: not any(spool.glob("*.answer")), seconds=20)
        wait_until(lambda: service.basic().generation == 2, seconds=20)

        assert world.oauth.is_active(service.get().credentials.oauth2.access_token)
        assert world.oauth.stats().per_refresh_token == {pair.refresh_token: 1}
        server.kill()


def test_promise_6_a_spooled_answer_is_adopted_at_the_next_start(
    world: World, postgres_of_ours: OwnPostgres, tmp_path: Path
) -> None:
    gate = tmp_path / "answer-arrived"
    spool = tmp_path / "spool"
    with postgres_of_ours.database() as url:
        first, service = world.start(
            fault_point=f"after_answer:file={gate}", lease_ttl="1s", database=url, spool_dir=str(spool)
        )
        pair = world.oauth.issue(expires_in=1)
        service.import_pair(pair, expires_in=-1)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(service.get_failure, timeout=20)
            wait_until(gate.exists)
            postgres_of_ours.halt()
            gate.unlink()
            wait_until(lambda: any(spool.glob("*.answer")), seconds=20)
            first.kill()
            reading.result()
        postgres_of_ours.start()
        second, heir = world.start(lease_ttl="1s", database=url, spool_dir=str(spool))

        wait_until(lambda: heir.basic().generation == 2, seconds=20)
        assert world.oauth.is_active(heir.get().credentials.oauth2.access_token)
        assert world.oauth.stats().per_refresh_token == {pair.refresh_token: 1}
        second.kill()


def test_promise_6_a_frozen_postgres_holds_no_caller_beyond_its_deadline(
    world: World, postgres_of_ours: OwnPostgres
) -> None:
    with postgres_of_ours.database() as url:
        server, service = world.start(lease_ttl="1s", database=url, database_statement_timeout="2s")
        pair = world.oauth.issue(expires_in=1)
        service.import_pair(pair, expires_in=-1)
        world.oauth.fault("delay", seconds=2)

        def read(number: int) -> tuple[str, float]:
            started = time.monotonic()
            try:
                service.get(timeout=1.0 + number % 5)
            except grpc.RpcError as error:
                return failure_of(error).reason or error.code().name, time.monotonic() - started
            return "", time.monotonic() - started

        with ThreadPoolExecutor(20) as pool:
            reads = [pool.submit(read, number) for number in range(20)]
            wait_until(lambda: world.oauth.stats().total == 1)
            postgres_of_ours.freeze()
            answers = [one.result() for one in reads]
        for number, (reason, seconds) in enumerate(answers):
            assert reason in {"REFRESH_CONTINUES", "STORAGE_UNAVAILABLE", "DEADLINE_EXCEEDED"}, reason
            assert seconds < 1.0 + number % 5 + 1.5
        postgres_of_ours.thaw()

        wait_until(lambda: _generation(service) == 2, seconds=30)
        assert world.oauth.is_active(service.get().credentials.oauth2.access_token)
        assert world.oauth.stats().per_refresh_token == {pair.refresh_token: 1}
        server.kill()


def test_promise_6_an_answer_outlives_a_postgres_that_hangs_and_a_process_that_dies(
    world: World, postgres_of_ours: OwnPostgres, tmp_path: Path
) -> None:
    gate = tmp_path / "answer-arrived"
    spool = tmp_path / "spool"
    with postgres_of_ours.database() as url:
        settings = {"lease_ttl": "1s", "database": url, "database_statement_timeout": "1s", "spool_dir": str(spool)}
        first, service = world.start(fault_point=f"after_answer:file={gate}", **settings)
        pair = world.oauth.issue(expires_in=1)
        service.import_pair(pair, expires_in=-1)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(service.get_failure, timeout=3)
            wait_until(gate.exists)
            postgres_of_ours.freeze()
            gate.unlink()
            assert reading.result().reason in {"REFRESH_CONTINUES", "STORAGE_UNAVAILABLE"}
        wait_until(lambda: any(spool.glob("*.answer")), seconds=40)
        first.kill()
        postgres_of_ours.thaw()
        second, heir = world.start(**settings)

        wait_until(lambda: heir.basic().generation == 2, seconds=20)
        assert world.oauth.is_active(heir.get().credentials.oauth2.access_token)
        assert world.oauth.stats().per_refresh_token == {pair.refresh_token: 1}
        second.kill()


def test_promise_6_an_answer_that_neither_postgres_nor_the_disk_takes_is_kept_loudly(
    world: World, postgres_of_ours: OwnPostgres, tmp_path: Path
) -> None:
    gate = tmp_path / "answer-arrived"
    no_folder = tmp_path / "a-file"
    no_folder.touch()
    with postgres_of_ours.database() as url:
        server, service = world.start(
            fault_point=f"after_answer:file={gate}", lease_ttl="1s", database=url, spool_dir=str(no_folder / "spool")
        )
        pair = world.oauth.issue(expires_in=1)
        service.import_pair(pair, expires_in=-1)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(service.get_failure, timeout=4)
            wait_until(gate.exists)
            postgres_of_ours.halt()
            gate.unlink()
            # Not a success over a token that nothing has stored.
            assert reading.result().reason in {"STORAGE_UNAVAILABLE", "REFRESH_CONTINUES"}
        wait_until(lambda: '"answer_at_risk"' in server.logs(), seconds=20)
        assert '"level":"critical"' in server.logs()

        postgres_of_ours.start()
        wait_until(lambda: _generation(service) == 2, seconds=30)
        assert world.oauth.is_active(service.get().credentials.oauth2.access_token)
        assert world.oauth.stats().per_refresh_token == {pair.refresh_token: 1}
        server.kill()


def _generation(service: Service) -> int:
    try:
        return int(service.basic().generation)
    except grpc.RpcError:
        return 0
