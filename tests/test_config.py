"""Settings: read once, checked whole, never leaked, and documented as they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import parsing
from server.config import SETTINGS, Config, ConfigError, render_reference, variable
from server.domain.secret import MASK, Secret

ROOT = Path(__file__).parents[1]


def problems(**settings: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Config.from_environment({f"CONNECTIONS_{name}": value for name, value in settings.items()})
    return caught.value.problems


def config(**settings: str) -> Config:
    return Config.from_environment({f"CONNECTIONS_{name}": value for name, value in settings.items()})


def test_an_empty_environment_gives_the_defaults() -> None:
    defaults = Config.from_environment({"PATH": "/bin"})
    assert defaults.grpc_address == defaults.address == "127.0.0.1:50051"
    assert defaults.http_address == "127.0.0.1:8080"
    assert defaults.data_dir == Path(".connections")
    assert defaults.spool_dir == Path(".connections/spool")
    assert defaults.refresh_margin == 900
    assert defaults.max_message_bytes == 4 * 1024 * 1024
    assert defaults.database_url is None
    assert defaults.scheduler_enabled is True


def test_every_default_shows_as_it_is_written() -> None:
    for row in Config.from_environment({}).describe():
        if row.default:
            assert row.value == row.default, row.name


def test_the_values_shown_read_back_as_themselves(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("x")
    given_ = {
        "CONNECTIONS_DRAIN_DELAY": "1500ms",
        "CONNECTIONS_MAX_MESSAGE_BYTES": "131073",
        "CONNECTIONS_OUTBOUND_ALLOWED_HOSTS": "IdP.internal, 127.0.0.1:9000",
        "CONNECTIONS_REFLECTION": "off",
        "CONNECTIONS_TLS_CERT": str(tmp_path / "cert"),
        "CONNECTIONS_TLS_KEY": str(tmp_path / "cert"),
    }
    first = Config.from_environment(given_)
    assert first.outbound_allowed_hosts == ("idp.internal", "127.0.0.1:9000")
    again = Config.from_environment({row.name: row.value for row in first.describe()})
    assert again == first


def test_all_problems_are_told_at_once() -> None:
    found = problems(GRPC_ADRESS="x", WORKERS="many", LEASE_TTL="soon", LOG_LEVEL="loud", HTTP_ADDRESS="8080")
    assert len(found) == 5
    assert "CONNECTIONS_GRPC_ADRESS is not a setting; did you mean CONNECTIONS_GRPC_ADDRESS?" in found
    assert "CONNECTIONS_WORKERS='many': expected a whole number from 1 to 256" in found


def test_an_unknown_setting_like_no_other_gets_no_suggestion() -> None:
    assert problems(QQQQ="1") == ("CONNECTIONS_QQQQ is not a setting",)


def test_what_kubernetes_adds_for_a_service_is_let_through() -> None:
    Config.from_environment(
        {
            "CONNECTIONS_SERVICE_HOST": "10.0.0.1",
            "CONNECTIONS_SERVICE_PORT": "50051",
            "CONNECTIONS_SERVICE_PORT_GRPC": "50051",
            "CONNECTIONS_PORT": "tcp://10.0.0.1:50051",
            "CONNECTIONS_PORT_50051_TCP": "tcp://10.0.0.1:50051",
            "CONNECTIONS_PORT_50051_TCP_ADDR": "10.0.0.1",
            "CONNECTIONS_POSTGRES_SERVICE_HOST": "10.0.0.2",
        }
    )
    assert problems(PORT="50051") == ("CONNECTIONS_PORT is not a setting",)


@pytest.mark.parametrize("name", ["DATABASE_URL", "OUTBOUND_PROXY"])
def test_a_bad_secret_is_not_repeated(name: str) -> None:
    (problem,) = problems(**{name: "mysql://CANARY"})
    assert problem.startswith(f"CONNECTIONS_{name}: expected a URL such as")
    assert "CANARY" not in problem


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://u:CANARY@h/d\n")
    read = config(DATABASE_URL_FILE=str(path))
    assert read.database_url == Secret("postgresql://u:CANARY@h/d")
    assert "CANARY" not in repr(read) + str(read.describe())
    assert {row.name: row.value for row in read.describe()}["CONNECTIONS_DATABASE_URL"] == MASK


def test_a_secret_file_that_is_missing_empty_or_doubled_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    assert "may read" in problems(KEYRING_FILE=str(tmp_path / "none"))[0]
    assert "empty" in problems(KEYRING_FILE=str(tmp_path / "empty"))[0]
    assert "both set" in problems(KEYRING="a", KEYRING_FILE="b")[0]


def test_only_secrets_come_from_files() -> None:
    assert problems(WORKERS_FILE="x")[0].startswith("CONNECTIONS_WORKERS_FILE is not a setting")


@pytest.mark.parametrize("names", [("TLS_CERT",), ("TLS_KEY",), ("TLS_CLIENT_CA",), ("TLS_CLIENT_CA", "TLS_CERT")])
def test_half_configured_tls_is_a_problem(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "pem"
    path.write_text("x")
    assert problems(**dict.fromkeys(names, str(path)))[0].startswith("TLS is half configured")


def test_the_commands_address_follows_the_servers() -> None:
    assert config(GRPC_ADDRESS="0.0.0.0:6000").address == "127.0.0.1:6000"
    assert config(GRPC_ADDRESS="[::]:6000").address == "[::1]:6000"
    assert config(GRPC_ADDRESS="0.0.0.0:6000", ADDRESS="https://c.internal:443").address == "https://c.internal:443"


def test_a_database_of_ones_own_needs_a_keyring_to_serve() -> None:
    assert config().serving_problems() == []
    assert config(DATABASE_URL="postgresql://h/d", KEYRING="{}").serving_problems() == []
    assert "CONNECTIONS_KEYRING" in config(DATABASE_URL="postgresql://h/d").serving_problems()[0]


@pytest.mark.parametrize("text", ["1", "host", "host:", ":1", "host:65536", "host:-1", "ho st:1", "::1:80", "host:٣"])
def test_a_bad_address_is_refused(text: str) -> None:
    assert "host:port" in problems(GRPC_ADDRESS=text)[0]


def test_every_setting_has_a_name_and_a_meaning() -> None:
    for field in dataclasses.fields(Config):
        assert SETTINGS[field.name].help.endswith("."), field.name
        assert variable(field.name).startswith("CONNECTIONS_")


def test_the_reference_is_current() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == render_reference(), (
        "run `python -m server.config > docs/configuration.md`"
    )


@given(st.integers(0, 10**9), st.sampled_from(["ms", "", "s", "m", "h", "d"]))
def test_a_duration_is_its_count_times_its_unit(count: int, unit: str) -> None:
    seconds = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert parsing.duration(f"{count}{unit}") == pytest.approx(count * seconds)


@given(st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_shown_reads_back(seconds: float) -> None:
    assert parsing.duration(parsing.format_duration(seconds)) == seconds


@given(st.text(max_size=12).filter(lambda text: not text.isascii() or not any(char.isdigit() for char in text)))
def test_text_that_is_no_duration_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="a duration") as caught:
        parsing.duration(text)
    assert str(caught.value) == parsing.DURATION_EXPECTED


@pytest.mark.parametrize("text", ["-1", "1 week", "1e3", "inf", "nan", "", "s", "1.s", "٣s", "1m30s"])
def test_some_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="a duration"):
        parsing.duration(text)


@given(st.integers(0, 10**12 - 1))
def test_a_size_shown_reads_back(value: Any) -> None:
    assert parsing.size(parsing.format_size(value)) == value
