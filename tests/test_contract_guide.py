"""docs/contract.md against what it describes: its examples are run, its table of errors is compared."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from connections.v1 import (
    admin_service_pb2,
    connection_service_pb2,
    error_reason_pb2,
    integration_service_pb2,
    provider_service_pb2,
)

from server.domain.errors import Reason, ServiceError
from server.rpc.status import code_of
from tests.conftest import StartServer
from tests.support.grpcurl import Grpcurl
from tests.support.oauth import OAuthServer
from tests.support.server_process import ROOT

GUIDE = (ROOT / "docs" / "contract.md").read_text()
EXAMPLES = "\n".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE))
SERVICES = (
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
    connection_service_pb2.DESCRIPTOR.services_by_name["ConnectionService"],
    integration_service_pb2.DESCRIPTOR.services_by_name["IntegrationService"],
    provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"],
)


def test_every_call_has_an_example() -> None:
    shown = set(re.findall(r"^\s*call (\w+/\w+) ", EXAMPLES, re.MULTILINE))
    assert shown == {f"{service.name}/{method.name}" for service in SERVICES for method in service.methods}


def test_the_examples_work(
    connections_server: StartServer, oauth_server: OAuthServer, grpcurl: Grpcurl, tmp_path: Path
) -> None:
    oauth_server.add_client("demo", "demo-secret")
    issued = oauth_server.issue(client_id="demo", expires_in=5)
    server = connections_server()
    (tmp_path / ".connections").mkdir()
    (tmp_path / ".connections" / "dev.key").write_text(server.bootstrap())
    (tmp_path / "generated").symlink_to(ROOT / "generated")
    script = EXAMPLES
    for shown, true in {
        "127.0.0.1:50051": server.address,
        "127.0.0.1:9000": oauth_server.host,
        "REFRESH-TOKEN": issued.refresh_token,
    }.items():
        assert shown in script
        script = script.replace(shown, true)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{grpcurl.program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "// Returns a connection with credentials that are valid now" in done.stdout
    assert "CONNECTION_NOT_FOUND" in done.stdout, "of the batch's second key"
    assert "REFRESH_OUTCOME_REFRESHED" in done.stdout
    assert '"CONNECTION_STATUS_ACTIVE"' in done.stdout
    assert oauth_server.stats().reuses == 0


@pytest.mark.parametrize("reason", Reason)
def test_the_table_has_each_reason_with_its_code(reason: Reason) -> None:
    (row,) = re.findall(rf"^\| `{reason.name}` \| `(\w+)` \| (.+) \|$", GUIDE, re.MULTILINE)

    class Raised(ServiceError):
        pass

    Raised.reason = reason
    assert row[0] == code_of(Raised("")).name


def test_the_table_has_no_other_reasons() -> None:
    named = set(re.findall(r"^\| `([A-Z_]+)` \| `\w+` \|", GUIDE, re.MULTILINE))
    values = error_reason_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values
    declared = {value.name.removeprefix("ERROR_REASON_") for value in values if value.number}
    assert named == declared
