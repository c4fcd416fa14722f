"""Fixtures: a server, and the command run against it in an environment of its own."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.cli.main import main
from tests.cli.fake_server import KEY, Fake, start


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Runner:
    """Runs the command in this process, with settings, standard input and working directory of its own."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], env: dict[str, str]
    ) -> None:
        self.monkeypatch, self.capsys, self.env = monkeypatch, capsys, env

    def __call__(self, *args: str, stdin: str = "", env: dict[str, str] | None = None) -> Result:
        with self.monkeypatch.context() as patch:
            for name in list(os.environ):
                if name.startswith("CONNECTIONS_"):
                    patch.delenv(name)
            for name, value in (self.env | (env or {})).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            self.capsys.readouterr()
            with pytest.raises(SystemExit) as exit_:
                main(args)
        captured = self.capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Result(exit_.value.code, captured.out, captured.err)


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def server(fake: Fake) -> Iterator[tuple[str, str]]:
    """(address, key) of a server that serves."""
    running, address = start(fake)
    yield address, KEY
    if fake.gate is not None:
        fake.gate.set()
    running.stop(None).wait()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, server: tuple[str, str]
) -> Runner:
    monkeypatch.chdir(tmp_path)
    address, key = server
    return Runner(monkeypatch, capsys, {"CONNECTIONS_ADDRESS": address, "CONNECTIONS_API_KEY": key})


@pytest.fixture
def run_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    """The command without a server."""
    monkeypatch.chdir(tmp_path)
    return Runner(monkeypatch, capsys, {})


@pytest.fixture
def github(run: Runner) -> None:
    """An integration and one connection under it, whose secrets all have CANARY in them."""
    assert run("integrations", "create", "github", "--provider", "github", "--client-secret", "CANARYsecret").code == 0
    done = run(
        "import", "github", "customer-42",
        "--access-token", "CANARYaccess", "--refresh-token", "CANARYrefresh", "--expires-in", "1h",
        "--tag", "organization=acme", "--metadata", '{"plan": "pro", "seats": 3}',
    )  # fmt: skip
    assert done.code == 0
    assert "CANARY" not in done.out + done.err
