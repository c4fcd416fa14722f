"""What the tests stand on is tested too: databases of one's own, canaries, strictness."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tests.support.canaries import Canaries
from tests.support.grpcurl import Grpcurl
from tests.support.postgres import Postgres
from tests.support.strict import NO_GO, STRICT_VARIABLE

pytest_plugins = ["pytester"]


def test_each_database_is_its_own(postgres: Postgres) -> None:
    with postgres.database(migrated=False) as one, postgres.database(migrated=False) as other:
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE mine (id int)")
        with psycopg.connect(other) as connection:
            assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)


def test_a_database_is_dropped_although_somebody_is_connected(postgres: Postgres) -> None:
    with postgres.database(migrated=False) as url:
        lingering = psycopg.connect(url)
    with lingering, pytest.raises(psycopg.OperationalError):
        lingering.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_the_template_is_migrated_once_and_copied(postgres: Postgres, tmp_path: Path) -> None:
    migrated = []

    def migrate(url: str) -> None:
        migrated.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE made_by_migration (id int)")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNECTIONS_TEST_DATABASE_URL", postgres.server_url())
        run = Postgres(tmp_path / "run", migrate)
        (tmp_path / "run").mkdir()
        worker = Postgres(tmp_path / "run", migrate)
        with run.database() as one, worker.database() as other:
            for url in (one, other):
                with psycopg.connect(url) as connection:
                    connection.execute("INSERT INTO made_by_migration VALUES (1)")
                    assert connection.execute("SELECT count(*) FROM made_by_migration").fetchone() == (1,)
        run.stop()
    assert len(migrated) == 1
    assert not (tmp_path / "run").exists()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(migrated[0])


@pytest.mark.parametrize(
    "log",
    [
        "token=s3cr3t/+value",
        "token=s3cr3t%2F%2Bvalue",
        "authorization: " + base64.b64encode(b"s3cr3t/+value").decode(),
    ],
)
def test_a_canary_is_found_and_not_repeated(log: str) -> None:
    canaries = Canaries()
    assert canaries.add("s3cr3t/+value", "the token") == "s3cr3t/+value"
    (finding,) = canaries.found_in("a line\n" + log)
    assert "the token" in finding
    assert "line 2" in finding
    assert "s3cr3t" not in finding
    assert canaries.found_in("nothing here") == []


def test_canaries_of_a_source_are_remembered() -> None:
    canaries = Canaries()

    def source() -> list[str]:
        return ["made-by-provider"]

    canaries.add_source(source)
    canaries.remove_source(source)
    assert canaries.found_in("made-by-provider") != []


def test_a_short_canary_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Canaries().add("abc")


@pytest.mark.parametrize("strict", [True, False])
def test_a_skip_fails_a_strict_run_unless_its_reason_is_allowed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setenv(STRICT_VARIABLE, "1" if strict else "")
    root = Path(__file__).resolve().parents[1]
    pytester.makepyprojecttoml(f'[tool.pytest.ini_options]\npythonpath = ["{root}", "{root}/generated"]\n')
    pytester.makeconftest("from tests.conftest import *  # noqa: F403")
    pytester.makepyfile(
        test_function=f"""
        import pytest

        def test_lazy():
            pytest.skip("no time")

        def test_allowed():
            pytest.skip({NO_GO!r})

        @pytest.mark.xfail
        def test_known():
            raise AssertionError
        """,
        test_module='import pytest\npytest.skip("not today", allow_module_level=True)\n',
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--continue-on-collection-errors")
    if strict:
        result.assert_outcomes(failed=1, errors=1, skipped=1, xfailed=1)
        result.stdout.fnmatch_lines(["*skipped in a strict run*no time*"])
    else:
        result.assert_outcomes(skipped=3, xfailed=1)


@pytest.fixture
def listening() -> Iterator[tuple[str, list[Any]]]:
    """A small server with reflection: its address, and the metadata that it hears."""
    heard: list[Any] = []
    servicer: Any = health.HealthServicer()
    answer = servicer.Check

    def check(request: Any, context: Any) -> Any:
        heard.extend(context.invocation_metadata())
        return answer(request, context)

    servicer.Check = check
    servicer.set("known", health_pb2.HealthCheckResponse.SERVING)
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(("grpc.health.v1.Health", reflection.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", heard
    server.stop(None).wait()


def test_grpcurl_calls(grpcurl: Grpcurl, listening: tuple[str, list[Any]]) -> None:
    address, heard = listening
    assert "grpc.health.v1.Health" in grpcurl(address, "list").stdout
    method = "grpc.health.v1.Health/Check"
    assert grpcurl(address, method, {"service": "known"}, api_key="k-12345678").message() == {"status": "SERVING"}
    assert ("authorization", "Bearer k-12345678") in heard
    failed = grpcurl(address, method, {"service": "other"})
    assert failed.exit_code != 0
    assert failed.status()["code"] == grpc.StatusCode.NOT_FOUND.value[0]
