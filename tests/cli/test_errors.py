"""What people are told when a call fails, and the exit code that scripts get."""

from __future__ import annotations

import threading

import grpc
import pytest
from connections.v1.error_reason_pb2 import ErrorReason

from server.cli.errors import NEXT_STEPS, Failure, next_step
from tests.cli.conftest import Runner
from tests.cli.fake_server import Fake, RefusedError

CODE = grpc.StatusCode


def test_every_reason_of_the_contract_has_a_next_step() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert set(NEXT_STEPS) == reasons


@pytest.mark.parametrize("reason", sorted(NEXT_STEPS))
def test_a_next_step_reads_well_without_metadata(reason: str) -> None:
    step = next_step(Failure(CODE.INTERNAL, "", reason))
    assert step
    assert "{" not in step


def test_a_missing_integration_says_how_to_create_it(run: Runner) -> None:
    missing = run("import", "githab", "x", "--access-token", "CANARYtoken")
    assert missing.code == 3
    assert missing.out == ""
    assert "there is no integration 'githab' in this environment (INTEGRATION_NOT_FOUND)" in missing.err
    assert "connections integrations create githab --provider" in missing.err
    assert "CANARY" not in missing.err


def test_a_missing_connection_is_exit_code_3(run: Runner) -> None:
    assert run("get", "github", "nobody").code == 3


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (CODE.INVALID_ARGUMENT, 1),
        (CODE.ABORTED, 1),
        (CODE.FAILED_PRECONDITION, 1),
        (CODE.RESOURCE_EXHAUSTED, 1),
        (CODE.INTERNAL, 1),
        (CODE.NOT_FOUND, 3),
        (CODE.UNAUTHENTICATED, 4),
        (CODE.PERMISSION_DENIED, 4),
        (CODE.UNAVAILABLE, 5),
        (CODE.DEADLINE_EXCEEDED, 5),
    ],
)
def test_exit_codes_follow_the_status(run: Runner, fake: Fake, code: grpc.StatusCode, exit_code: int) -> None:
    fake.fail("GetConnection", RefusedError(code, "SOME_NEW_REASON", "it went wrong"))
    failed = run("get", "github", "x")
    assert failed.code == exit_code
    assert "it went wrong (SOME_NEW_REASON)" in failed.err


def test_every_violation_is_named(run: Runner, fake: Fake) -> None:
    fake.fail(
        "CreateConnection",
        RefusedError(
            CODE.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            "two things are wrong",
            violations=[('tags["Team"]', "is given twice"), ("metadata", "is too deep")],
        ),
    )
    failed = run("import", "github", "x")
    assert '  tags["Team"]: is given twice' in failed.err
    assert "  metadata: is too deep" in failed.err
    assert "nothing was changed" in failed.err


def test_the_time_to_retry_is_told(run: Runner, fake: Fake) -> None:
    error = RefusedError(CODE.UNAVAILABLE, "REFRESH_BACKING_OFF", "the next attempt is not due", retry_after=89.7)
    fake.fail("GetConnection", error)
    assert "retry in 90s" in run("get", "github", "x").err


def test_an_error_cannot_drive_the_terminal(run: Runner, fake: Fake) -> None:
    fake.fail("GetConnection", RefusedError(CODE.INTERNAL, "INTERNAL", "a b", metadata={"requestId": "\x1b[2J"}))
    failed = run("get", "github", "x")
    assert "\x1b" not in failed.err
    assert "[2J" in failed.err


def test_no_server(run_alone: Runner) -> None:
    failed = run_alone("list", env={"CONNECTIONS_ADDRESS": "127.0.0.1:1", "CONNECTIONS_API_KEY": "CANARYkey"})
    assert failed.code == 5
    assert "no server at 127.0.0.1:1" in failed.err
    assert "make serve" in failed.err
    assert "CANARY" not in failed.err


def test_a_server_that_does_not_answer_in_time(run: Runner, fake: Fake) -> None:
    fake.gate = threading.Event()
    failed = run("import", "github", "x", "--timeout", "200ms")
    assert failed.code == 5
    assert "did not answer within 200ms" in failed.err


def test_no_key(run: Runner) -> None:
    failed = run("list", env={"CONNECTIONS_API_KEY": ""})
    assert failed.code == 4
    assert "CONNECTIONS_API_KEY" in failed.err


@pytest.mark.parametrize("key", ["CANARY wrong", "CANARYü", "CANARY\nx", "CANARYwrong"])
def test_a_wrong_key_is_never_printed(run: Runner, key: str) -> None:
    failed = run("list", env={"CONNECTIONS_API_KEY": key})
    assert failed.code == 4
    assert "CANARY" not in failed.out + failed.err


@pytest.mark.parametrize(
    "args", [("get",), ("get", "a", "b", "--timeout", "soon"), ("nonsense",), ("list", "--tag", "x")]
)
def test_wrong_usage_is_exit_code_2(run: Runner, args: tuple[str, ...]) -> None:
    wrong = run(*args)
    assert wrong.code == 2
    assert wrong.out == ""
