"""What the commands do, as people and programs see it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from connections.v1 import connection_pb2, connection_service_pb2

from server import wire
from server.cli.main import version
from server.domain.secret import MASK
from tests.cli.conftest import Runner
from tests.cli.fake_server import Fake

SECRETS = "CANARY"
ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("github")
def test_get_shows_a_connection_and_no_secret(run: Runner) -> None:
    shown = run("get", "github", "customer-42")
    assert shown.code == 0
    assert "customer-42" in shown.out
    assert "organization=acme" in shown.out
    assert MASK in shown.out
    assert SECRETS not in shown.out + shown.err
    assert "\x1b" not in shown.out


@pytest.mark.usefixtures("github")
def test_get_json_has_the_contracts_names_and_masks_secrets(run: Runner, fake: Fake) -> None:
    stored = fake.connections["github", "customer-42"]
    stored.credentials.raw.update({"access_token": "CANARYraw"})
    shown = run("get", "github", "customer-42", "--json", "--refresh-token")
    connection = json.loads(shown.out)
    assert connection["provider_config_key"] == "github"
    assert connection["metadata"] == {"plan": "pro", "seats": 3}
    assert connection["credentials"]["oauth2"]["access_token"] == MASK
    assert connection["credentials"]["oauth2"]["refresh_token"] == MASK
    assert connection["credentials"]["raw"] == {"redacted": MASK}
    assert connection["refresh_attempts"] == 0
    assert SECRETS not in shown.out


@pytest.mark.usefixtures("github")
def test_reveal_shows_secrets(run: Runner) -> None:
    assert "CANARYaccess" in run("get", "github", "customer-42", "--reveal").out
    revealed = json.loads(run("get", "github", "customer-42", "--reveal", "--json", "--refresh-token").out)
    assert revealed["credentials"]["oauth2"]["refresh_token"] == "CANARYrefresh"


@pytest.mark.usefixtures("github")
def test_token_prints_the_token_alone(run: Runner) -> None:
    assert run("get", "github", "customer-42", "--token").out == "CANARYaccess\n"
    assert run("refresh", "github", "customer-42", "--token").out == "CANARYaccess\n"


@pytest.mark.usefixtures("github")
def test_token_of_a_login_is_refused_with_a_next_step(run: Runner) -> None:
    run("import", "github", "login", "--username", "jo", "--password", "CANARYpassword")
    refused = run("get", "github", "login", "--token")
    assert refused.code == 1
    assert refused.out == ""
    assert "--json --reveal" in refused.err
    assert SECRETS not in refused.err


@pytest.mark.usefixtures("github")
def test_get_passes_its_options_on(run: Runner, fake: Fake) -> None:
    run("get", "github", "customer-42", "--min-ttl", "5m", "--view", "full", "--refresh-token")
    (request,) = fake.requests["GetConnection"]
    assert request.min_ttl.seconds == 300
    assert request.view == connection_service_pb2.CONNECTION_VIEW_FULL
    assert request.include_refresh_token


@pytest.mark.usefixtures("github")
def test_import_takes_each_kind_of_credentials(run: Runner, fake: Fake) -> None:
    Path("key").write_text("CANARYkey\n")
    assert run("import", "github", "key", "--api-key", "@key").code == 0
    assert run("import", "github", "cc", "--client-id", "id", "--client-secret", "-", stdin="CANARYcc\n").code == 0
    assert run("import", "github", "login", "--username", "jo", "--password", "CANARYpw").code == 0
    stored = {name: connection.credentials for (_, name), connection in fake.connections.items()}
    assert stored["key"].api_key.api_key == "CANARYkey"
    assert stored["cc"].oauth2_cc.client_secret == "CANARYcc"
    assert stored["login"].basic.password == "CANARYpw"
    assert stored["customer-42"].oauth2.HasField("expire_time")


def test_import_of_two_kinds_at_once_is_wrong_usage(run: Runner, fake: Fake) -> None:
    refused = run("import", "github", "x", "--access-token", "CANARYa", "--api-key", "CANARYb")
    assert refused.code == 2
    assert SECRETS not in refused.err
    assert not fake.requests["CreateConnection"]


@pytest.mark.usefixtures("github")
def test_import_reads_one_connection_as_json(run: Runner, fake: Fake) -> None:
    document = {
        "provider_config_key": "github",
        "connection_id": "from-json",
        "credentials": {"oauth2": {"access_token": "CANARYjson"}},
        "tags": {"tags": {"team": "a"}},
    }
    created = run("import", "--file", "-", "--json", stdin=json.dumps(document))
    assert created.code == 0
    assert json.loads(created.out)["created"] is True
    assert SECRETS not in created.out + created.err
    assert fake.connections["github", "from-json"].tags == {"team": "a"}


@pytest.mark.usefixtures("github")
def test_import_without_arguments_reads_what_is_piped_in(run: Runner, fake: Fake) -> None:
    document = {"provider_config_key": "github", "connection_id": "piped"}
    assert run("import", stdin=json.dumps(document)).code == 0
    assert ("github", "piped") in fake.connections
    assert run("import", stdin="").code == 2


@pytest.mark.usefixtures("github")
def test_import_takes_a_token_response_as_it_came(run: Runner, fake: Fake) -> None:
    response = {
        "access_token": "CANARYaccess2",
        "refresh_token": "CANARYrefresh2",
        "token_type": "Bearer",
        "expires_in": "3600",
        "scope": "read write",
        "instance": {"shard": 7},
    }
    Path("response.json").write_text(json.dumps(response))
    before = time.time()
    shown = run("import", "github", "fresh", "--token-response", "response.json")
    assert shown.code == 0, shown.err
    assert SECRETS not in shown.out + shown.err
    credentials = fake.connections["github", "fresh"].credentials
    assert credentials.oauth2.access_token == "CANARYaccess2"
    assert credentials.oauth2.refresh_token == "CANARYrefresh2"
    assert list(credentials.oauth2.scopes) == ["read", "write"]
    assert before + 3600 <= credentials.oauth2.expire_time.ToNanoseconds() / 1e9 <= time.time() + 3600
    assert wire.from_struct(credentials.raw)["instance"] == {"shard": 7}


@pytest.mark.parametrize(
    "text",
    [
        '{"access_token": 5}',
        '{"token": "CANARYx"}',
        '{"access_token": "CANARYx", "expires_in": "soon"}',
        '"CANARYx"',
        "<html>CANARYx</html>",
    ],
)
def test_what_is_no_token_response_is_wrong_usage_and_is_not_repeated(run: Runner, fake: Fake, text: str) -> None:
    refused = run("import", "github", "x", "--token-response", "-", stdin=text)
    assert refused.code == 2
    assert SECRETS not in refused.err
    assert "--token-response" in refused.err
    assert not fake.requests["CreateConnection"]


@pytest.mark.usefixtures("github")
def test_what_is_left_out_of_an_import_is_not_sent(run: Runner, fake: Fake) -> None:
    run("import", "github", "customer-42", "--tag", "a=b")
    request = fake.requests["CreateConnection"][-1]
    assert not request.HasField("credentials")
    assert not request.HasField("metadata")
    assert not request.HasField("display_name")


@pytest.mark.usefixtures("github")
def test_list_for_people_ends_with_the_count(run: Runner) -> None:
    for index in range(3):
        run("import", "github", f"c{index}", "--access-token", "CANARYx", "--tag", f"n={index}")
    shown = run("list")
    lines = shown.out.splitlines()
    assert lines[0].split()[:2] == ["INTEGRATION", "CONNECTION"]
    assert [line.split()[1] for line in lines[1:]] == ["c2", "c1", "c0", "customer-42"]
    assert shown.err == "4 connections\n"
    assert "\x1b" not in shown.out


@pytest.mark.usefixtures("github")
def test_list_json_is_a_line_for_each(run: Runner) -> None:
    run("import", "github", "other", "--access-token", "CANARYx")
    shown = run("list", "--json", "--page-size", "1")
    assert [json.loads(line)["connection_id"] for line in shown.out.splitlines()] == ["other", "customer-42"]
    assert shown.err == ""


@pytest.mark.usefixtures("github")
def test_list_filters(run: Runner, fake: Fake) -> None:
    found = run(
        "list", "--integration", "github", "--integration", "gitlab", "--tag", "organization=acme", "--search", "cust",
        "--status", "active", "--status", "refresh_failing", "--limit", "7", "--connection-id", "x", "--json",
    )  # fmt: skip
    assert len(found.out.splitlines()) == 1
    (request,) = fake.requests["ListConnections"]
    assert list(request.provider_config_keys) == ["github", "gitlab"]
    assert request.tags == {"organization": "acme"}
    assert request.search == "cust"
    assert request.limit == 7
    assert request.connection_id == "x"
    assert list(request.statuses) == [
        connection_pb2.CONNECTION_STATUS_ACTIVE,
        connection_pb2.CONNECTION_STATUS_REFRESH_FAILING,
    ]


@pytest.mark.usefixtures("github")
def test_a_list_that_is_cut_off_goes_on_where_it_was(run: Runner, fake: Fake) -> None:
    for index in range(9):
        run("import", "github", f"c{index}", "--access-token", "CANARYx")
    fake.cut_after = 2
    shown = run("list", "--json", "--page-size", "2", "--limit", "7")
    assert shown.code == 0
    names = [json.loads(line)["connection_id"] for line in shown.out.splitlines()]
    assert names == ["c8", "c7", "c6", "c5", "c4", "c3", "c2"]
    assert len(fake.requests["ListConnections"]) == 2


@pytest.mark.usefixtures("github")
def test_what_others_wrote_cannot_drive_the_terminal(run: Runner) -> None:
    run("import", "github", "evil", "--access-token", "CANARYx", "--display-name", "a\x1b[31m\u202eb\nc")
    shown = run("list").out + run("get", "github", "evil").out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "a\ufffd[31m\ufffdb\ufffdc" in shown


@pytest.mark.usefixtures("github")
def test_metadata_is_read_replaced_and_merged(run: Runner, fake: Fake) -> None:
    assert json.loads(run("metadata", "get", "github", "customer-42").out) == {"plan": "pro", "seats": 3}
    merged = run("metadata", "merge", "github", "customer-42", "-", stdin='{"plan": null, "deep": {"a": [1]}}')
    assert json.loads(merged.out) == {"seats": 3, "deep": {"a": [1]}}
    assert fake.requests["UpdateMetadata"][0].metadata.fields["plan"].HasField("null_value")
    Path("m.json").write_text('{"only": true}')
    assert json.loads(run("metadata", "set", "github", "customer-42", "@m.json").out) == {"only": True}
    assert json.loads(run("metadata", "set", "github", "customer-42", "{}", "--json").out)["metadata"] == {}


@pytest.mark.parametrize(
    "text", ["{", "[1]", '"CANARY"', "NaN", '{"a": NaN}', '{"a": 9007199254740993}', '{"a": 1e999}', "@none", ""]
)
@pytest.mark.usefixtures("github")
def test_metadata_that_would_be_harmed_is_wrong_usage(run: Runner, fake: Fake, text: str) -> None:
    refused = run("metadata", "set", "github", "customer-42", text)
    assert refused.code == 2
    assert SECRETS not in refused.err
    assert not fake.requests["SetMetadata"]


@pytest.mark.usefixtures("github")
def test_tags_are_read_and_replaced(run: Runner, fake: Fake) -> None:
    assert run("tags", "get", "github", "customer-42").out.split() == ["TAG", "VALUE", "organization", "acme"]
    assert run("tags", "set", "github", "customer-42", "a=1", "b=x=y").code == 0
    assert fake.connections["github", "customer-42"].tags == {"a": "1", "b": "x=y"}
    assert run("tags", "set", "github", "customer-42").code == 2
    assert run("tags", "set", "github", "customer-42", "a=1", "a=2").code == 2
    assert fake.connections["github", "customer-42"].tags == {"a": "1", "b": "x=y"}
    assert run("tags", "set", "github", "customer-42", "--clear").code == 0
    assert not fake.connections["github", "customer-42"].tags


@pytest.mark.usefixtures("github")
def test_delete_says_what_became_of_the_tokens(run: Runner, fake: Fake) -> None:
    deleted = run("delete", "github", "customer-42", "--revoke", "--yes")
    assert deleted.code == 0
    assert "revoked" in deleted.err
    assert not fake.connections


def test_integrations_from_create_to_delete(run: Runner, fake: Fake) -> None:
    created = run(
        "integrations", "create", "gh", "--provider", "github", "--client-id", "id", "--client-secret-stdin",
        "--scope", "repo", "--scope", "user", "--connection-config", "subdomain=acme", "--json", stdin="CANARYsecret\n",
    )  # fmt: skip
    assert fake.requests["CreateIntegration"][0].integration.client_secret == "CANARYsecret"
    assert json.loads(created.out)["scopes"] == ["repo", "user"]
    assert SECRETS not in created.out + created.err
    assert "set" in run("integrations", "list").out
    updated = run("integrations", "update", "gh", "--client-secret-env", "SECRET", env={"SECRET": "CANARYnew"})
    assert updated.code == 0
    request = fake.requests["UpdateIntegration"][0]
    assert list(request.update_mask.paths) == ["client_secret"]
    assert request.integration.client_secret == "CANARYnew"
    assert "subdomain" in run("integrations", "get", "gh").out
    assert run("integrations", "update", "gh").code == 2
    assert run("integrations", "delete", "gh", "--yes").code == 0
    assert not fake.integrations


def test_providers(run: Runner) -> None:
    assert "Zendesk" in run("providers", "list").out
    assert "GitHub" not in run("providers", "list", "--search", "zen").out
    assert "subdomain" in run("providers", "get", "zendesk").out
    assert json.loads(run("providers", "get", "github", "--json").out)["auth_mode"] == "AUTH_MODE_OAUTH2"


def test_environments_and_keys(run: Runner, fake: Fake) -> None:
    assert run("environments", "create", "prod").code == 0
    assert "prod" in run("environments", "list").out
    created = run("keys", "create", "--environment", "prod", "--display-name", "billing", "--expires-in", "90d")
    assert created.out == "new-key-wxyz\n"
    (key_id,) = fake.keys
    assert fake.keys[key_id].HasField("expire_time")
    listed = run("keys", "list", "-e", "prod")
    assert "…wxyz" in listed.out
    assert "new-key" not in listed.out
    assert run("keys", "delete", key_id, "-e", "prod", "--yes").code == 0
    assert not fake.keys


def test_the_keyring_is_new_each_time_and_alone_on_stdout(run_alone: Runner) -> None:
    first, second = run_alone("keyring", "new"), run_alone("keyring", "new")
    keyring = json.loads(first.out)
    assert keyring["primary"] == "k1"
    assert keyring != json.loads(second.out)
    assert keyring["keys"]["k1"] not in first.err
    assert "CONNECTIONS_KEYRING_FILE" in first.err


def test_check_config_shows_values_and_no_secret(run_alone: Runner) -> None:
    shown = run_alone("check-config", env={"CONNECTIONS_KEYRING": "CANARY", "CONNECTIONS_WORKERS": "3"})
    assert shown.code == 0
    assert SECRETS not in shown.out + shown.err
    assert MASK in shown.out


def test_check_config_names_every_problem(run_alone: Runner) -> None:
    shown = run_alone("check-config", env={"CONNECTIONS_WORKER": "3", "CONNECTIONS_LOG_LEVEL": "loud"})
    assert shown.code == 2
    assert "did you mean CONNECTIONS_WORKERS?" in shown.err
    assert "CONNECTIONS_LOG_LEVEL='loud'" in shown.err


def test_check_config_and_serve_refuse_what_could_not_start(run_alone: Runner) -> None:
    env = {"CONNECTIONS_DATABASE_URL": "postgresql://u:CANARY@h/d"}
    for command in ("check-config", "serve"):
        refused = run_alone(command, env=env)
        assert refused.code == 2
        assert "CONNECTIONS_KEYRING is missing" in refused.err
        assert SECRETS not in refused.out + refused.err


def test_healthcheck_needs_no_key(run: Runner, server: tuple[str, str]) -> None:
    env = {"CONNECTIONS_API_KEY": ""}
    assert run("healthcheck", env=env).code == 0
    assert run("healthcheck", "--service", "resting", env=env).code == 1
    unknown = run("healthcheck", "--service", "unheard.of", env=env)
    assert unknown.code == 3
    assert "'unheard.of'" in unknown.err
    assert run("healthcheck", "--address", server[0], env={"CONNECTIONS_ADDRESS": "127.0.0.1:1"}).code == 0


def test_the_key_is_found_in_the_data_directory(run: Runner, tmp_path: Path, server: tuple[str, str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dev.key").write_text(server[1] + "\n")
    env = {"CONNECTIONS_API_KEY": "", "CONNECTIONS_DATA_DIR": str(folder)}
    assert run("environments", "list", env=env).code == 0


def test_settings_of_the_server_do_not_stop_a_client(run: Runner) -> None:
    assert run("environments", "list", env={"CONNECTIONS_KEYRING_FILE": "/none", "CONNECTIONS_WORKERS": "x"}).code == 0
    assert run("environments", "list", env={"CONNECTIONS_ADRESS": "x"}).code == 2


def test_completion_offers_names_and_stays_silent_without_a_server(run: Runner, run_alone: Runner) -> None:
    words = {"_CONNECTIONS_COMPLETE": "complete_bash", "COMP_WORDS": "connections providers get z", "COMP_CWORD": "3"}
    assert run(env=words).out.split() == ["zendesk"]
    away = run_alone(env=words | {"CONNECTIONS_ADDRESS": "127.0.0.1:1", "CONNECTIONS_API_KEY": "k"})
    assert away.out.strip() == ""
    assert away.err == ""


COMMANDS = [
    ("get",), ("list",), ("import",), ("delete",), ("refresh",), ("metadata", "get"), ("metadata", "set"),
    ("metadata", "merge"), ("tags", "get"), ("tags", "set"), ("integrations", "create"), ("integrations", "get"),
    ("integrations", "list"), ("integrations", "update"), ("integrations", "delete"), ("providers", "list"),
    ("providers", "get"), ("keys", "create"), ("keys", "list"), ("keys", "delete"), ("environments", "create"),
    ("environments", "list"), ("serve",), ("migrate",), ("check-config",), ("healthcheck",), ("keyring", "new"),
    ("bootstrap",),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids="-".join)
def test_every_command_has_help_with_an_example(run_alone: Runner, command: tuple[str, ...]) -> None:
    shown = run_alone(*command, "--help")
    assert shown.code == 0
    assert "Example" in shown.out
    assert f"connections {' '.join(command)}" in shown.out


def test_the_help_names_exit_codes_and_the_version_is_told(run_alone: Runner) -> None:
    assert "Exit codes: 0 done" in run_alone("--help").out
    assert run_alone("--version").out == f"connections {version()}\n"


@pytest.mark.usefixtures("github")
def test_a_reader_that_leaves_early_is_no_error_on_stderr(run: Runner, server: tuple[str, str]) -> None:
    for index in range(50):
        run("import", "github", f"c{index}", "--access-token", "CANARYx")
    shell = f"{sys.executable} -m server.cli.main list --json | head -n 1"
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}",
        "CONNECTIONS_ADDRESS": server[0],
        "CONNECTIONS_API_KEY": server[1],
    }
    done = subprocess.run(shell, shell=True, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["connection_id"] == "c49"
    assert done.stderr == ""
