"""Nango's format: many templates in a file, aliases, every key, and what is refused at load with file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.cli.main import main
from server.domain.model import AuthMode
from server.providers.bounded_pattern import BoundedPattern, PatternError
from server.providers.catalogue import Catalogue
from server.providers.lint import check_file
from server.providers.template import ClientAuth, Template
from server.providers.template_docs import PAGE, SCHEMA_FILE, json_schema, page_with_table, schema_text
from server.providers.template_file import TemplateError, read_template
from server.providers.template_keys import KEYS

MANY = """
acme:
    display_name: Acme
    categories:
        - crm
    auth_mode: OAUTH2
    authorization_url: https://${connectionConfig.subdomain}.acme.example/oauth/authorize
    token_url: https://${connectionConfig.subdomain}.acme.example/oauth/token
    authorization_params:
        response_type: code
    token_params:
        grant_type: authorization_code
    refresh_params:
        grant_type: refresh_token
    authorization_method: header
    token_expiration_buffer: 30
    disable_pkce: true
    token_response_metadata:
        - api_domain
    proxy:
        base_url: ${connectionConfig.api_domain}/api || https://api.acme.example
        headers:
            signed: ${awsSigV4(x)}
        retry:
            after:
                - 'retry-after'
    docs: https://docs.example/acme
    docs_connect: https://docs.example/acme/connect
    connection_config:
        subdomain:
            type: string
            title: ''
            description: The account's address
            example: globex
            pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'
            suffix: .acme.example
            prefix: https://
            order: 1
        api_domain:
            type: string
            title: ''
            description: ''
            automated: true
        region:
            type: string
            title: Region
            description: Region
            enum: [eu, us.1]
            optional: true
            default_value: eu
acme-sandbox:
    alias: acme
    display_name: Acme (Sandbox)
    token_url: https://sandbox.acme.example/oauth/token
    token_params:
        audience: sandbox
acme-sandbox-2:
    alias: acme-sandbox
    display_name: Acme (Sandbox 2)
keyed:
    display_name: Keyed
    auth_mode: API_KEY
    token_url: https://unused.example/
    docs: https://docs.example/keyed
"""


def load(folder: Path, text: str) -> Catalogue:
    (folder / "all.yaml").write_text(text)
    return Catalogue.load(folder)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(TemplateError) as caught:
        load(folder, text)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def get(catalogue: Catalogue, name: str) -> Template:
    template = catalogue.get(name)
    assert template is not None
    return template


def test_many_in_one_file_with_aliases(tmp_path: Path) -> None:
    catalogue = load(tmp_path, MANY)
    acme, sandbox, second = (get(catalogue, name) for name in ("acme", "acme-sandbox", "acme-sandbox-2"))
    assert acme.token_request_auth_method is ClientAuth.BASIC
    assert acme.refresh_margin == 30.0
    assert acme.carried["disable_pkce"] is True
    assert acme.carried["proxy"]["retry"] == {"after": ["retry-after"]}
    assert [entry.default for entry in acme.connection_config] == ["", "", "eu"]
    # Whole values are replaced, the rest is the other's.
    assert (sandbox.display_name, sandbox.token_url) == ("Acme (Sandbox)", "https://sandbox.acme.example/oauth/token")
    assert sandbox.token_params == {"audience": "sandbox"}
    assert sandbox.connection_config == acme.connection_config
    assert (second.display_name, second.token_url) == ("Acme (Sandbox 2)", sandbox.token_url)


def test_an_alias_may_name_a_template_of_ours(tmp_path: Path) -> None:
    (tmp_path / "our-github.yaml").write_text("alias: github\ndisplay_name: GitHub of Acme\n")
    template = get(Catalogue.load(tmp_path), "our-github")
    assert template.token_url == get(Catalogue.load(), "github").token_url
    assert template.from_operator


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n  alias: b\nb:\n  alias: c\nc:\n  alias: a\n", "all.yaml:6: c.alias: goes round in a circle: a -> b -> c -> a"),
        ("a:\n  alias: a\n", "all.yaml:2: a.alias: goes round in a circle: a -> a"),
        ("a:\n  alias: nope\n", "all.yaml:2: a.alias: 'nope' is not the name of a template"),
        ("a:\n  display_name: A\n  auth_mode: NONE\na:\n  display_name: A\n", "all.yaml:4: a: is given twice, first on line 1"),
        ("A b:\n  display_name: A\n", "all.yaml:1: A b: is not a provider's name"),
        ("a:\n  display_name: A\n  auth_mode: NONE\n  nope: 1\n", "all.yaml:4: a.nope: is not a key of provider templates"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_many(tmp_path: Path, text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(tmp_path, text))


TWO_STEP = "display_name: A\nauth_mode: TWO_STEP\ntoken_url: https://a.example/t\n"
OAUTH2 = "display_name: A\nauth_mode: OAUTH2\ntoken_url: https://a.example/t\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OAUTH2 + "authorization_url: https://a.example/?s=${clientSecret}\n",
         "4: authorization_url: is seen by callers, and must not name clientSecret"),
        (OAUTH2 + "authorization_params: {hint: '${credentials.password}'}\n",
         "4: authorization_params: is seen by callers, and must not name credentials.password"),
        (OAUTH2.replace("/t", "/${clientSecret}"), "3: token_url: is an address, and must not name clientSecret"),
        (OAUTH2 + "token_response_metadata: [team.id, data.refresh_token]\n",
         "4: token_response_metadata: would show data.refresh_token to callers, in the connection config"),
        (OAUTH2 + "categories: ['${clientSecret}']\n", "4: categories: is seen by callers, and must not name a secret"),
        (OAUTH2 + "connection_config: {a: {default_value: '${clientSecret}'}}\n",
         "4: connection_config: is a value, and takes none of others"),
        (OAUTH2 + "token_headers: {x: '${connections.other.token}'}\n",
         "4: token_headers: has a placeholder for 'connections', which does not exist"),
        (TWO_STEP + "token_params:\n  a: ${awsSigV4(x)}\n",
         "5: token_params: calls awsSigV4(), which signs the requests of callers and not ours"),
        (TWO_STEP + "token_params: {a: '${nope(x)}'}\n", "4: token_params: calls nope(), which does not exist"),
        (TWO_STEP + "token_params: {a: '${hmacSha1Hex(x)}'}\n",
         "4: token_params: calls hmacSha1Hex() with one argument; it takes two"),
        (TWO_STEP + "token_params: {a: '${credentials'}\n", "4: token_params: has a placeholder that is not closed or empty"),
        (TWO_STEP + "token_response: {expires: x}\n", "4: token_response: expires is not a key of token_response"),
        (TWO_STEP + "additional_steps: [{token_params: {}}]\n", "4: additional_steps: needs a token_url"),
        (TWO_STEP + "token_headers: {Host: x}\n", "4: token_headers: cannot set the header 'Host'"),
        (TWO_STEP + "refresh_url: file:///etc/passwd\n", "4: refresh_url: must be an http or https URL"),
        ("display_name: A\nauth_mode: JWT\n", "1: token: is required for auth_mode JWT"),
        ("display_name: A\nauth_mode: JWT\nsignature: {protocol: RSA}\ntoken: {header: {alg: none}}\n",
         "4: token: header.alg none is not an algorithm of RSA"),
        (OAUTH2 + "connection_config:\n  a:\n    pattern: (a)\\1\n",
         "6: connection_config: uses groupref, which could make it explode"),
        (OAUTH2 + "connection_config:\n  a:\n    pattern: ((a{1,99}){1,99}){1,99}\n",
         "6: connection_config: needs more than 2000 states"),
        ("a: &a [x, x]\nb: [*a, *a]\n", "1: anchors and aliases are not used in templates"),
    ],
)  # fmt: skip
def test_what_must_not_be_is_refused_with_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(text)
    with pytest.raises(TemplateError) as caught:
        read_template(path, from_operator=True)
    assert any(problem.removeprefix(f"{path}:").startswith(expected) for problem in caught.value.problems), caught.value


def test_the_check_names_provider_file_line_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(MANY + "broken:\n    display_name: B\n    auth_mode: OAUTH2\n    nope: 1\n")
    report = check_file(path)
    assert report.loaded == 4
    assert {(note.provider, note.key) for note in report.problems} == {("broken", "nope"), ("broken", "token_url")}
    unsupported = {(note.provider, note.key) for note in report.unsupported}
    assert {
        ("acme", "proxy"),
        ("acme", "authorization_params"),
        ("acme-sandbox", "proxy"),
        ("keyed", "token_url"),
    } <= unsupported
    assert ("acme", "docs_connect") not in unsupported
    lines = path.read_text().splitlines()
    for note in report.unsupported:
        assert lines[note.line - 1].strip().startswith(f"{note.key}:")
    with pytest.raises(SystemExit) as code:
        main(["providers", "check", str(path), "--json"])
    assert code.value.code == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["loaded"] == 4
    problem = next(problem for problem in printed["problems"] if problem["key"] == "nope")
    assert (problem["provider"], problem["path"]) == ("broken", str(path))
    assert lines[problem["line"] - 1].strip() == "nope: 1"


def test_a_good_file_passes_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(OAUTH2 + "proxy: {base_url: https://a.example}\n")
    with pytest.raises(SystemExit) as code:
        main(["providers", "check", str(path)])
    assert code.value.code == 0
    shown = capsys.readouterr().out
    assert "acme.yaml:4" in shown
    assert "proxy" in shown


def test_what_is_published_follows_the_table_of_keys() -> None:
    """`python -m server.providers.template_docs` makes both current."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_table(page)
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} >= set(KEYS)
    assert all(part.strip() for row in rows for part in row)
    for described in json_schema()["$defs"]["provider"]["properties"].values():
        assert described["description"]


def test_every_mode_can_be_written_down(tmp_path: Path) -> None:
    for mode in AuthMode:
        path = tmp_path / "acme.yaml"
        urls = "token_url: {OAUTH2: https://a.example/o, APP: https://a.example/a}\n" if mode is AuthMode.CUSTOM else (
            "token_url: https://a.example/t\n" if KEYS["token_url"].modes & {mode} else ""
        )  # fmt: skip
        signed = (
            "signature: {protocol: RSA}\ntoken: {signing_key: '${credentials.k}'}\n" if mode is AuthMode.JWT else ""
        )
        path.write_text(f"display_name: A\nauth_mode: {mode.value}\n{urls}{signed}")
        assert read_template(path, from_operator=True).auth_mode is mode


# --- patterns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+", r"(a*)*b", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(x+x+)+y"])
def test_patterns_that_explode_elsewhere_end_at_once(pattern: str) -> None:
    """`re` would not end before the test's time is up."""
    assert not BoundedPattern(pattern).fullmatch("ax" * 1000 + "!")
    assert not BoundedPattern(pattern).fullmatch("a" * 2000 + "!")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", r"([a-z0-9-]+\.)+[a-z]{2,}", r"a|bc|[^d-f]", r"\d+(\.\d+)?", r"^(com|ca)$",
            r"a{2,3}b*?c+?", r"(?:x|y){2}", r"[\w.]+", r".*", r"a.b", r"\Aab\Z", r"(a?)(b?)", r"[^\W\d]+", "",
        ]
    ),
    st.text(alphabet="abcdexy019.-_\n ", max_size=8),
)  # fmt: skip
def test_patterns_match_what_re_matches(pattern: str, text: str) -> None:
    assert BoundedPattern(pattern).fullmatch(text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)b", "(?!a)b", "(?i)a", "(?i:a)", "a" * 2000, r"\b"])
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        BoundedPattern(pattern)
