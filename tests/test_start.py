"""Starting on the embedded default, as people do: twice, after a crash, after a file was lost, on a port in use."""

from __future__ import annotations

import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server_process import ROOT, ServerProcess, default_settings, environment, run_command

START_TIMEOUT = 60.0

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(shared_path: Path) -> Iterator[Start]:
    """Start a server on a data directory of its own, or on the one given; it is stopped at the end of the test."""
    started: list[ServerProcess] = []

    def start(data_dir: Path = shared_path / "data", *, ready: bool = True, **settings: str) -> ServerProcess:
        chosen = default_settings("", data_dir)
        del chosen["CONNECTIONS_DATABASE_URL"], chosen["CONNECTIONS_KEYRING"]
        chosen |= {f"CONNECTIONS_{name.upper()}": value for name, value in settings.items()}
        server = ServerProcess(chosen, shared_path / f"server-{len(started)}.log")
        started.append(server)
        if ready:
            server.wait_until_ready()
        return server

    yield start
    for server in started:
        if server.is_running():
            server.terminate()


def names(server: ServerProcess, data_dir: Path) -> list[str]:
    """Return the environments that the key in the data directory can list."""
    done = server.command("environments", "list", CONNECTIONS_DATA_DIR=str(data_dir))
    assert done.returncode == 0, done.stderr
    return [line.split()[0] for line in done.stdout.splitlines()[1:]]


def test_the_first_start_makes_what_is_needed_and_says_what_to_paste(start: Start, shared_path: Path) -> None:
    server = start()
    data = shared_path / "data"
    key = (data / "dev.key").read_text().strip()
    said = server.logs()
    assert said.count(key) == 1
    assert f'"authorization: Bearer $(cat {data / "dev.key"})" {server.address}' in said
    for name in ("dev.key", "keyring.json", "lock"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600, name
    assert names(server, data) == ["dev"]


def test_a_data_directory_serves_one_process_at_a_time(start: Start, shared_path: Path) -> None:
    data = shared_path / "data"
    first = start()
    second = start(ready=False)
    assert second.wait(START_TIMEOUT) == 1
    assert f"is in use by process {first.pid}" in second.logs()
    assert "CONNECTIONS_DATA_DIR" in second.logs()
    bootstrap = run_command("bootstrap", "--environment", "prod", settings=second.settings)
    assert bootstrap.returncode == 1
    assert f"is in use by process {first.pid}" in bootstrap.stderr
    # Neither of them took the first one's Postgres away.
    assert names(first, data) == ["dev"]


def test_a_start_after_a_crash_finds_everything_also_in_another_place(start: Start, shared_path: Path) -> None:
    crashed = start()
    key = (shared_path / "data" / "dev.key").read_text()
    crashed.kill()
    again = start()
    assert names(again, shared_path / "data") == ["dev"]
    assert again.terminate() == 0
    (shared_path / "data").rename(shared_path / "moved")
    moved = start(shared_path / "moved")
    assert names(moved, shared_path / "moved") == ["dev"]
    assert (shared_path / "moved" / "dev.key").read_text() == key


def test_a_lost_key_is_replaced_and_a_lost_keyring_is_not(start: Start, shared_path: Path) -> None:
    data = shared_path / "data"
    server = start()
    assert server.terminate() == 0
    (data / "dev.key").rename(shared_path / "old.key")
    server = start()
    assert "was gone" in server.logs()
    assert names(server, data) == ["dev"]
    old = (shared_path / "old.key").read_text().strip()
    assert server.command("environments", "list", CONNECTIONS_API_KEY=old).returncode == 0, "the old one stays valid"
    assert server.terminate() == 0

    recovered = run_command("bootstrap", "--environment", "dev", "--recover", settings=server.settings)
    assert re.fullmatch(r"cnx_\S+\n", recovered.stdout.splitlines(keepends=True)[-1])

    keyring = (data / "keyring.json").read_bytes()
    (data / "keyring.json").unlink()
    refused = start(ready=False)
    assert refused.wait(START_TIMEOUT) == 1
    assert "keyring.json cannot be read" in refused.logs()
    assert not (data / "keyring.json").exists()
    (data / "keyring.json").write_bytes(keyring)
    assert names(start(), data) == ["dev"]


@pytest.mark.parametrize("setting", ["grpc_address", "http_address"])
def test_an_address_in_use_is_told_with_its_setting(start: Start, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start(ready=False, **{setting: address})
        assert server.wait(START_TIMEOUT) == 1
    logs = server.logs()
    assert f"cannot listen on {address}" in logs
    assert f"CONNECTIONS_{setting.upper()}" in logs
    assert "Traceback" not in logs
    assert "To try it" not in logs


def test_a_folder_that_cannot_be_used_is_told(start: Start, shared_path: Path) -> None:
    (shared_path / "file").write_text("in the way")
    server = start(shared_path / "file", ready=False)
    assert server.wait(START_TIMEOUT) == 1
    assert "CONNECTIONS_DATA_DIR" in server.logs()
    assert "Traceback" not in server.logs()


def test_another_user_s_start_on_the_same_machine_is_not_in_the_way(
    start: Start, shared_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the embedded Postgres' library would keep a lock for the whole machine, there is something it cannot open.
    (shared_path / "tmp" / ".lockfile").mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(shared_path / "tmp"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert names(start(), shared_path / "data") == ["dev"]


def test_an_interrupt_stops_the_server_and_its_postgres(start: Start, shared_path: Path) -> None:
    server = start()
    server.signal(signal.SIGINT)
    assert server.wait(START_TIMEOUT) == 0
    assert not (shared_path / "data" / "postgres" / "postmaster.pid").exists()


def test_a_worker_whose_parent_died_before_it_looked_stops(database_url: str, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run(
        [sys.executable, "-m", "server.worker", str(gone.pid)],
        cwd=ROOT,
        env=environment(default_settings(database_url, tmp_path)),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "parent_died" in done.stderr
