"""The README's tour, run word for word: its blocks, in order, by bash, with a service and a provider started by it too.

Two things are substituted, and nothing else: the ports (machines that run the tests have other servers), and the
virtual environment that `make` would install, which is the one that runs the tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.grpcurl import find
from tests.support.oauth import OAuthServer
from tests.support.server_process import ROOT, environment, free_port

BLOCK = re.compile(r"<!-- tour(?:: (\w+))? -->\n```sh\n(.*?)```\n", re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)")
START_TIMEOUT = 60.0


def blocks(role: str) -> list[str]:
    """Return the text of the blocks with this role; those without one are `tour`."""
    return [text for found, text in BLOCK.findall((ROOT / "README.md").read_text()) if (found or "tour") == role]


@pytest.fixture
def folder(shared_path: Path) -> Path:
    """A clone as `make serve` leaves it: the sources, and a virtual environment that is up to date."""
    clone = shared_path / "clone"
    (clone / ".venv").mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in {".venv", ".connections", ".git"}:
            (clone / entry.name).symlink_to(entry)
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".installed"):
            (clone / ".venv" / entry.name).symlink_to(entry)
    for stamp in ("runtime", "dev"):
        (clone / ".venv" / f".installed-{stamp}").touch()
    return clone


class Terminal:
    """Runs blocks in a folder, with the README's ports moved to free ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = {name: str(free_port()) for name in ("50051", "8080", "9000")}
        self._ports = ports
        self._environment = environment(
            {
                "CONNECTIONS_GRPC_ADDRESS": f"127.0.0.1:{ports['50051']}",
                "CONNECTIONS_HTTP_ADDRESS": f"127.0.0.1:{ports['8080']}",
                "ARGS": "",
            }
        )

    def _text(self, text: str) -> str:
        return re.sub(r"127\.0\.0\.1:(50051|8080|9000)\b", lambda found: f"127.0.0.1:{self._ports[found[1]]}", text)

    def run(self, text: str) -> str:
        """Run commands to their end in a shell of their own; return what they said. A failure fails the test."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._text(text)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def tokens(self) -> list[str]:
        """Return every token that the provider has issued."""
        return OAuthServer(int(self._ports["9000"])).tokens()[:-1]

    @contextmanager
    def running(self, text: str, *, ready: str, **settings: str) -> Iterator[Callable[[], str]]:
        """Run a command that goes on, in a process group as a terminal's; wait for a line with the text `ready`."""
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", self._text(text)],
            cwd=self._folder,
            env=self._environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        said: list[str] = []
        try:
            for line in process.stdout:
                said.append(line)
                if ready in line:
                    break
            else:
                pytest.fail("it ended at once:\n" + "".join(said))
            yield lambda: "".join(said)
        finally:
            # Ctrl-C reaches the whole group.
            os.killpg(process.pid, signal.SIGINT)
            try:
                said += process.communicate(timeout=START_TIMEOUT)[0].splitlines(keepends=True)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise


@pytest.fixture
def tour(folder: Path) -> Iterator[Terminal]:
    """A third terminal, after the first and the second have been started as the README says."""
    terminal = Terminal(folder)
    (service,), (provider,) = blocks("service"), blocks("provider")
    # The provider's port replaces the one in the Makefile, as a person would do it whose port 9000 is taken.
    port = f"--port {terminal._ports['9000']}"
    with (
        terminal.running(service, ready="Ctrl-C stops it"),
        terminal.running(provider, ready="Ctrl-C stops it", ARGS=port),
    ):
        yield terminal


def test_the_tour_works_word_for_word(tour: Terminal) -> None:
    look, create, imported, get, find_, merge, end = blocks("tour")
    # One shell for all would need its output taken apart; the only thing that blocks leave to the next is the PATH.
    path = look.splitlines()[0]
    assert path.startswith("export PATH=")

    said = tour.run(look)
    assert "SERVING" in said
    assert "oauth2-generic" in said

    assert "oauth2-generic" in tour.run(f"{path}\n{create}")

    said = tour.run(f"{path}\n{imported}")
    issued = tour.tokens()
    assert issued
    assert not any(token in said for token in issued), "the command shows no token"
    assert "created" in said

    said = tour.run(f"{path}\n{get}")
    token = said.splitlines()[-1]
    assert token in tour.tokens()
    assert token not in issued
    assert said.count(token) == 1, "masked unless it is asked for"

    said = tour.run(f"{path}\n{find_}")
    assert said.splitlines()[1].split()[:2] == ["demo", "customer-42"]
    listed = json.loads(said[said.index('{"provider_config_key') :].splitlines()[0])
    assert listed["tags"] == {"organization": "acme", "plan": "pro"}
    assert "credentials" not in listed

    assert json.loads(tour.run(f"{path}\n{merge}")) == {"crm": {"id": 7}, "synced": True}

    said = tour.run(f"{path}\n{end}")
    assert "generation 2 -> 3" in said
    assert "deleted demo/customer-42" in said
    assert said.endswith("0 connections\n")


def test_grpcurl_gets_the_same(tour: Terminal) -> None:
    program = find()
    if program is None:
        pytest.skip("grpcurl is not installed: run .ci/run once")
    look, create, imported, get, *_ = blocks("tour")
    path = look.splitlines()[0]
    for text in (create, imported):
        tour.run(f"{path}\n{text}")
    token = tour.run(f"{path}\n{get}").splitlines()[-1]
    (grpcurl,) = blocks("grpcurl")
    answer = json.loads(tour.run(f'export PATH="{program.parent}:$PATH"\n{grpcurl}'))["connection"]
    assert answer["credentials"]["oauth2"]["access_token"] == token
    assert answer["connection_id"] == "customer-42"


def test_every_page_that_is_linked_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    missing = [
        f"{page.name}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not missing
