"""What must hold between the keys of a template that are right each for itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from server.domain.model import AuthMode
from server.providers.interpolation import CONFIG, placeholders, references
from server.providers.signed_jwt import ALGORITHMS
from server.providers.template import Template
from server.providers.template_keys import KEYS, NEEDED_BY_MODE

# What the exchange itself writes: a template that set these would send a secret twice, or the wrong one.
_OWN_PARAMETERS: Final = frozenset({"client_id", "client_secret", "refresh_token"})
_OAUTH: Final = frozenset({AuthMode.OAUTH2, AuthMode.OAUTH2_CC, AuthMode.CUSTOM, AuthMode.MCP_OAUTH2})
# These are seen by end users and callers, or are addresses that appear in messages.
_SEEN: Final = ("authorization_url", "registration_url", "registration_params", "authorization_params", "request_url")
_URLS: Final = ("authorization_url", "token_url", "refresh_url", "revocation_url", "app_token_url")
_TREES: Final = ("token_params", "refresh_params", "refresh_token_params", "token_headers", "refresh_token_headers")
_SECRET_ROOTS: Final = frozenset({"clientSecret", "accessToken", "refreshToken", "apiKey", "assertion"})


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What is wrong. `doubt`: it may still work, if something else brings what is missing."""

    key: str
    text: str
    doubt: bool = False


def contradictions(template: Template, given: frozenset[str]) -> list[Contradiction]:
    """Return what is wrong between a template's keys, each once."""
    mode = template.auth_mode
    found = [
        Contradiction(key, f"is required for auth_mode {mode.value}")
        for key in NEEDED_BY_MODE.get(mode, ())
        if key not in given
    ]
    if mode is AuthMode.CUSTOM and "token_url" in given and not template.app_token_url:
        found.append(Contradiction("token_url", "needs an address for APP beside that for OAUTH2"))
    found += [
        Contradiction(key, f"means nothing for auth_mode {mode.value}", doubt=True)
        for key in sorted(given)
        if KEYS[key].modes and mode not in KEYS[key].modes
    ]
    found += _reads_too_much(template)
    found += _is_undeclared(template)
    if mode in _OAUTH:
        for key in ("token_params", "refresh_params"):
            found += [
                Contradiction(key, f"cannot set the parameter {name!r}")
                for name in sorted(_OWN_PARAMETERS & set(getattr(template, key) or {}))
            ]
    if template.signature is not None and template.token is not None and template.signature.protocol in ALGORITHMS:
        algorithm = template.token.header.get("alg", "")
        if algorithm and algorithm not in ALGORITHMS[template.signature.protocol]:
            protocol = template.signature.protocol.value
            found.append(Contradiction("token", f"header.alg {algorithm} is not an algorithm of {protocol}"))
    return list(dict.fromkeys(found))


def _reads_too_much(template: Template) -> Iterator[Contradiction]:
    """Yield placeholders for secrets where callers, users or logs would see them."""
    for key in _SEEN:
        value = getattr(template, key, None) or template.carried.get(key)
        for text in _texts(value):
            for root, path in references(text):
                if root != CONFIG and root not in {"random", "now", "clientId"}:
                    shown = f"{root}.{path}" if path else root
                    yield Contradiction(key, f"is seen by callers, and must not name {shown}")
    for key in ("token_url", "refresh_url", "revocation_url", "app_token_url"):
        for root, _ in references(getattr(template, key)):
            if root in _SECRET_ROOTS:
                yield Contradiction(key.removeprefix("app_"), f"is an address, and must not name {root}")


def _is_undeclared(template: Template) -> Iterator[Contradiction]:
    needed = {
        entry.name: not entry.optional or bool(entry.default) or entry.automated for entry in template.connection_config
    }
    # Found by the authorization or by a refresh, and there from then on.
    for path in (
        *template.token_response_metadata,
        *(template.carried.get("redirect_uri_metadata") or ()),
        *(template.carried.get("webhook_response_metadata") or ()),
    ):
        needed.setdefault(str(path), True)
    texts = [(key, text) for key in _URLS for text in _texts(getattr(template, key))]
    texts += [(key, text) for key in _TREES for text in _texts(getattr(template, key))]
    texts += [("additional_steps", text) for step in template.additional_steps for text in _step_texts(step)]
    for key, text in texts:
        name_of_key = "token_url" if key == "app_token_url" else key
        for name in placeholders(text):
            if name not in needed:
                what = f"needs connection_config.{name}, which is not declared under connection_config"
                yield Contradiction(name_of_key, what, doubt=True)
            elif not needed[name]:
                yield Contradiction(
                    name_of_key, f"needs connection_config.{name}, which must then not be optional", doubt=True
                )


def _step_texts(step: Any) -> Iterator[str]:
    for entry in dataclasses.fields(step):
        yield from _texts(getattr(step, entry.name))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
