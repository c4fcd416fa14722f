"""Templates: what loads, what does not and where the mistake is, and whether our own catalogue holds together."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.domain.model import AuthMode, ConnectionConfigField
from server.providers.catalogue import Catalogue
from server.providers.exchange import info_of
from server.providers.interpolation import Values, render_url
from server.providers.template import BodyFormat, ClientAuth, Template
from server.providers.template_file import TemplateError, read_template

MINIMAL = "display_name: Acme\nauth_mode: OAUTH2\ntoken_url: https://acme.example/token\n"


def load(folder: Path, text: str) -> Template:
    path = folder / "acme.yaml"
    path.write_text(text)
    return read_template(path, from_operator=True)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(TemplateError) as caught:
        load(folder, text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_every_key(tmp_path: Path) -> None:
    template = load(
        tmp_path,
        """
display_name: Acme
auth_mode: OAUTH2
categories: [crm]
docs: https://acme.example/docs
authorization_url: https://${connectionConfig.sub}.acme.example/authorize
token_url: https://${connectionConfig.sub}.acme.example/token
refresh_url: https://${connectionConfig.sub}.acme.example/refresh
revocation_url: https://${connectionConfig.sub}.acme.example/revoke
default_scopes: [a, b]
scope_separator: ","
token_params: {x: 1}
refresh_params: {y: two}
token_headers: {X-A: a}
refresh_token_headers: {X-B: b}
body_format: json
token_request_auth_method: basic
token_response_metadata: [team.id]
connection_config:
  sub: {title: Sub, description: What, example: eu, pattern: "[a-z]+"}
  more: {optional: true}
expires_in_unit: seconds
reauthorization_errors: {odd: gone}
refresh_margin: 60
default_lifetime: 1800.5
reuse_window: unlimited
max_concurrency: 4
idle_refresh_after: 86400
""",
    )
    assert template.body_format is BodyFormat.JSON
    assert template.token_request_auth_method is ClientAuth.BASIC
    assert template.reuse_window == math.inf
    assert (template.refresh_margin, template.default_lifetime, template.max_concurrency) == (60.0, 1800.5, 4)
    assert template.token_params == {"x": 1}
    assert template.connection_config == (
        ConnectionConfigField("sub", "Sub", "What", "eu", "[a-z]+"),
        ConnectionConfigField("more", optional=True),
    )
    info = info_of(template)
    assert (info.name, info.from_operator, info.docs_url) == ("acme", True, "https://acme.example/docs")
    assert info.token_url == "https://${connectionConfig.sub}.acme.example/token"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "tokn_url: x\n", "acme.yaml:4: tokn_url: is not a key of provider templates"),
        (MINIMAL + "auth_mode: BASIC\n", "acme.yaml:4: auth_mode: is given twice, first on line 2"),
        (MINIMAL + "body_format: yaml\n", "acme.yaml:4: body_format: must be one of form, json, query, xml"),
        (MINIMAL + "default_scopes: a\n", "acme.yaml:4: default_scopes: must be a list"),
        (MINIMAL + "default_scopes:\n  - a\n  - [b]\n", "acme.yaml:6: default_scopes: must be a text"),
        (MINIMAL + "refresh_margin: soon\n", "acme.yaml:4: refresh_margin: must be a number of seconds"),
        (MINIMAL + "refresh_margin: -1\n", "acme.yaml:4: refresh_margin: must be a number of seconds"),
        (MINIMAL + "default_lifetime: .nan\n", "acme.yaml:4: default_lifetime: must be a number of seconds"),
        (MINIMAL + "max_concurrency: 0\n", "acme.yaml:4: max_concurrency: must be a whole number of at least 1"),
        (MINIMAL + "max_concurrency: true\n", "acme.yaml:4: max_concurrency: must be a whole number of at least 1"),
        (MINIMAL + "scope_separator: ab\n", "acme.yaml:4: scope_separator: must be one of ' ', ',', '+' and ';'"),
        (MINIMAL + "token_params: {client_secret: x}\n",
         "acme.yaml:4: token_params: cannot set the parameter 'client_secret'"),
        (MINIMAL + "token_headers: {Host: x}\n", "acme.yaml:4: token_headers: cannot set the header 'Host'"),
        (MINIMAL + "token_headers: {'a b': x}\n", "acme.yaml:4: token_headers: cannot set the header 'a b'"),
        (MINIMAL + 'token_headers: {a: "x\\r\\ny"}\n',
         "acme.yaml:4: token_headers: must be one line without control characters"),
        (MINIMAL + "token_params:\n  a: ${secrets.x}\n",
         "acme.yaml:5: token_params: has a placeholder for 'secrets', which does not exist"),
        (MINIMAL + "refresh_url: acme.example\n",
         "acme.yaml:4: refresh_url: must be an http or https URL, or begin with ${connectionConfig.NAME}"),
        (MINIMAL + "refresh_url: https://u@acme.example/\n",
         "acme.yaml:4: refresh_url: must be an http or https URL, or begin with ${connectionConfig.NAME}"),
        (MINIMAL + "revocation_url: https://${connectionConfig.sub}.x/\n",
         "acme.yaml:4: revocation_url: needs connection_config.sub, which is not declared under connection_config"),
        (MINIMAL + "token_params: {a: '${connectionConfig.b}'}\nconnection_config: {b: {optional: true}}\n",
         "acme.yaml:4: token_params: needs connection_config.b, which must then not be optional"),
        (MINIMAL + "connection_config:\n  b:\n    pattern: '['\n",
         "acme.yaml:6: connection_config: is not a regular expression: unterminated character set"),
        (MINIMAL + "connection_config:\n  b:\n    secrets: true\n",
         "acme.yaml:6: connection_config: secrets is not a key of connection-config fields"),
        ("auth_mode: OAUTH2\ntoken_url: https://a.example/\n", "acme.yaml:1: display_name: is required"),
        ("display_name: A\nauth_mode: OAUTH2\n", "acme.yaml:1: token_url: is required for auth_mode OAUTH2"),
        ("display_name: A\nauth_mode: API_KEY\ntoken_url: https://a.example/\n",
         "acme.yaml:3: token_url: means nothing for auth_mode API_KEY"),
        ("display_name: A\nauth_mode: OAUTH3\n",
         "acme.yaml:2: auth_mode: must be one of " + ", ".join(mode.value for mode in AuthMode)),
        ("a: &x 1\nb: *x\n", "acme.yaml:1: anchors and aliases are not used in templates"),
        ("display_name: !!python/object:os.system x\n", "acme.yaml:1: tags are not used in templates"),
        ("a: 1\nb: [\n", "acme.yaml:3: expected the node content, but found '<stream end>'"),
        ("", "acme.yaml:1: the file must be a mapping of keys to values"),
        ("- a\n", "acme.yaml:1: the file must be a mapping of keys to values"),
        ("a: " + "[" * 1000, "acme.yaml:1: nested deeper than 16"),
        ("#" * 2_100_000, "acme.yaml:1: the file is larger than 2097152 bytes"),
        ("a: \x01\n", "acme.yaml:1: this is not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_with_file_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL + "body_format: yaml\nnope: 1\nrefresh_margin: x\n") == [
        "acme.yaml:4: body_format: must be one of form, json, query, xml",
        "acme.yaml:5: nope: is not a key of provider templates",
        "acme.yaml:6: refresh_margin: must be a number of seconds",
    ]


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(TemplateError, match=r"acme\.yaml:2: the file is not UTF-8"):
        read_template(path, from_operator=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(alphabet="abc:-[]{}&*!|>'\"%@`#, \n\t0.${}", max_size=60))
def test_any_text_is_a_template_or_a_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        load(tmp_path, text)
    assert all(re.match(r".*acme\.yaml:\d+: ", problem) for problem in caught.value.problems)


def test_operator_templates_override_and_add(tmp_path: Path) -> None:
    (tmp_path / "github.yaml").write_text(MINIMAL)
    (tmp_path / "acme.yml").write_text("display_name: Acme\nauth_mode: NONE\n")
    (tmp_path / "README.md").write_text("not a template")
    (tmp_path / ".hidden.yaml").write_text("[")
    ours, merged = Catalogue.load(), Catalogue.load(tmp_path)
    github, added, slack = merged.get("github"), merged.get("acme"), merged.get("slack")
    assert github is not None
    assert (github.display_name, github.from_operator) == ("Acme", True)
    assert added is not None
    assert added.auth_mode is AuthMode.NONE
    assert slack is not None
    assert not slack.from_operator
    assert len(merged.all()) == len(ours.all()) + 1


def test_the_problems_of_all_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: 1\n")
    (tmp_path / "b.yaml").write_text("[")
    (tmp_path / "B b.yaml").write_text("display_name: B\nauth_mode: NONE\n")
    (tmp_path / "a.yml").write_text("display_name: A\nauth_mode: NONE\n")
    with pytest.raises(TemplateError) as caught:
        Catalogue.load(tmp_path)
    text = str(caught.value)
    for expected in (
        "a.yaml:1: x:",
        "b.yaml:1:",
        "B b.yaml: the file's name",
        "a.yml: a.yaml is a template of the same",
    ):
        assert expected in text


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot be read"):
        Catalogue.load(tmp_path / "gone")


def test_search() -> None:
    catalogue = Catalogue.load()
    assert [template.name for template in catalogue.search("GitH")] == ["github"]
    assert {"jira", "linear"} <= {template.name for template in catalogue.search("ticketing")}
    assert catalogue.search("no such provider") == ()
    assert len(catalogue.search("")) == len(catalogue.all())


OURS = Catalogue.load().all()


def test_the_catalogue_has_the_providers_that_are_promised() -> None:
    assert {
        "github", "google", "microsoft", "slack", "hubspot", "salesforce", "notion", "linear", "jira", "zoom",
        "dropbox", "gitlab", "xero", "quickbooks", "stripe", "sendgrid", "twilio", "zendesk", "shopify", "auth0-cc",
        "unauthenticated", "oauth2-generic", "oauth2-cc-generic",
    } <= {template.name for template in OURS}  # fmt: skip
    assert {template.auth_mode.value for template in OURS} >= {"OAUTH2", "OAUTH2_CC", "API_KEY", "BASIC", "NONE"}


@pytest.mark.parametrize("template", OURS, ids=lambda template: template.name)
def test_catalogue_entries_hold_together(template: Template) -> None:
    assert template.docs.startswith("https://")
    assert template.categories
    assert not template.from_operator
    config = {}
    for entry in template.connection_config:
        assert entry.title
        assert entry.description
        assert entry.example
        assert re.fullmatch(entry.pattern or ".*", entry.example)
        config[entry.name] = entry.example
    for text in (template.authorization_url, template.token_url, template.refresh_url, template.revocation_url):
        if text:
            assert render_url(text, Values(config=config)).startswith("https://")
    if template.auth_mode is AuthMode.OAUTH2 and "generic" not in template.categories:
        assert template.authorization_url
