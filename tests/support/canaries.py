"""Secrets that must never show in a log: tests register them, and every server's log is searched for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from urllib.parse import quote

# Shorter ones would be found by accident.
_SHORTEST = 8


class Canaries:
    """The secrets registered in this test process so far."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._sources: list[Callable[[], Iterable[str]]] = []

    def add(self, secret: str, name: str = "a secret") -> str:
        """Register a secret and return it, so that it can be registered where it is made. `name` is for the report."""
        if len(secret) < _SHORTEST:
            raise ValueError(f"{name} is too short to be searched for: {len(secret)} < {_SHORTEST} characters")
        self._secrets[secret] = name
        return secret

    def add_source(self, source: Callable[[], Iterable[str]]) -> None:
        """Register a function that names secrets which the test itself never sees. It is asked at each search."""
        self._sources.append(source)

    def remove_source(self, source: Callable[[], Iterable[str]]) -> None:
        """Ask the source a last time, keep what it names, and forget it."""
        self._sources.remove(source)
        self._ask(source)

    def found_in(self, text: str) -> list[str]:
        """Return a sentence for each secret in the text, also when it is URL-encoded, JSON-escaped or base64.

        The secret itself is not in the sentence, so that a failing test does not repeat the leak.
        """
        for source in self._sources:
            self._ask(source)
        findings = []
        for secret, name in self._secrets.items():
            position = next((at for form in _forms(secret) if (at := text.find(form)) >= 0), None)
            if position is not None:
                line = text.count("\n", 0, position) + 1
                findings.append(f"{name} (…{secret[-4:]}) is in line {line}")
        return findings

    def _ask(self, source: Callable[[], Iterable[str]]) -> None:
        for secret in source():
            self._secrets.setdefault(secret, "a token that the authorization server issued")


def _forms(secret: str) -> Iterable[str]:
    yield secret
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
