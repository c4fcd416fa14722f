"""What documents and examples say about settings and metrics, held to what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram
from ruamel.yaml import YAML

from server.config import PREFIX, SETTINGS, variable
from server.telemetry import metrics
from tests.support.server_process import ROOT

VARIABLES = {variable(field) for field in SETTINGS} | {
    f"{variable(field)}_FILE" for field, setting in SETTINGS.items() if setting.secret
}
# Read by the tests, not by the service.
OF_TESTS = {f"{PREFIX}TEST_DATABASE_URL", f"{PREFIX}TEST_STRICT"}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*"), ROOT / "Dockerfile"])


def declared() -> dict[str, Counter | Gauge | Histogram]:
    """Return the metrics by the name under which they are served."""
    found = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
    return {f"{metric._name}{'_total' if isinstance(metric, Counter) else ''}": metric for metric in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= VARIABLES | OF_TESTS


def test_the_metrics_are_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text.partition("server/telemetry/metrics.py together -->\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.+) \|$", table, re.MULTILINE)
    shown = {name: (re.findall(r"`(\w+)`", labels), meaning) for name, labels, meaning in rows}
    assert shown == {name: (list(metric._labelnames), metric._documentation) for name, metric in declared().items()}


def test_the_alerts_name_metrics_that_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("## What to alert on")[2]
    named = set(re.findall(r"`((?:grpc_server|connections)_\w+)(?:\{[^`]*\})?`", text))
    assert named
    assert named <= set(declared())


def test_the_compose_file_fits_the_image_and_the_settings() -> None:
    compose: Any = YAML(typ="safe").load(ROOT / "deploy" / "compose.yaml")
    services = compose["services"]
    ours = {name: service for name, service in services.items() if "build" in service}
    assert set(ours) == {"connections", "migrate"}
    for service in ours.values():
        assert set(service["environment"]) <= VARIABLES
        assert (ROOT / "deploy" / service["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
        for name, value in service["environment"].items():
            if name.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    for service in services.values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service.get("depends_on", ())) <= set(services)
    # Nothing is published beyond loopback: the image serves without TLS.
    assert all(port.startswith("127.0.0.1:") for port in services["connections"]["ports"])
    image = (ROOT / "Dockerfile").read_text()
    (data_dir,) = re.findall(rf"{PREFIX}DATA_DIR=(\S+)", image)
    assert f"spool:{data_dir}" in services["connections"]["volumes"], "the spool outlives the container"


def test_the_drain_fits_into_the_time_that_compose_gives() -> None:
    compose: Any = YAML(typ="safe").load(ROOT / "deploy" / "compose.yaml")
    given = SETTINGS["shutdown_grace"].parse(compose["services"]["connections"]["stop_grace_period"])
    needed = sum(
        SETTINGS[name].parse(SETTINGS[name].default) for name in ("drain_delay", "shutdown_grace", "exchange_timeout")
    )
    assert given > needed
