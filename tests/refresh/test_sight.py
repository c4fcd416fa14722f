"""What an operator sees of the engine: metrics, one log line per exchange, and the command that follows a connection."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

from tests.refresh.conftest import World
from tests.refresh.test_crashes import wait_until
from tests.support.server_process import ROOT, ServerProcess, environment
from tests.support.service import CONNECTION, INTEGRATION


def metric(server: ServerProcess, name: str) -> float:
    """Return a metric's value; `name` includes its labels."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{server.addresses.http}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))


def test_exchanges_are_counted_and_logged(world: World) -> None:
    server, service = world.start()
    service.import_pair(world.oauth.issue(), expires_in=300)
    world.oauth.fault("http500", count=1)
    service.get()
    service.get()
    service.force()

    assert metric(server, 'connections_refresh_total{outcome="provider_unavailable",provider="crm"}') == 1
    assert metric(server, 'connections_refresh_total{outcome="success",provider="crm"}') == 1
    assert metric(server, 'connections_reads_total{served="stale_while_failing"}') == 1
    assert metric(server, "connections_refresh_time_to_expiry_seconds_count") == 2
    lines = [json.loads(line) for line in server.logs().splitlines() if '"event":"refresh"' in line]
    assert [line["outcome"] for line in lines] == ["provider_unavailable", "success"]
    assert lines[0]["connection_id"] == CONNECTION
    assert {"request_id", "duration_ms", "generation", "detail"} <= lines[0].keys()


def test_a_connection_can_be_followed(world: World) -> None:
    server, service = world.start()
    service.import_pair(world.oauth.issue(), expires_in=3600)
    settings = {"CONNECTIONS_ADDRESS": server.address, "CONNECTIONS_API_KEY": world.key}
    command = [sys.executable, "-m", "server.cli.main", "refresh", INTEGRATION, CONNECTION, "--watch"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(settings), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert "generation 1  active" in following.stdout.readline()
        service.force()
        assert "generation 2  active" in following.stdout.readline()
        following.kill()
    wait_until(lambda: following.returncode is not None)
