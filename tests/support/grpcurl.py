"""Drives grpcurl: a gRPC client that none of us wrote, used as people at a terminal do."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CACHED = Path(__file__).resolve().parents[2] / ".cache" / "bin" / "grpcurl"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of grpcurl gave. `stderr` of a failed call is the status as JSON."""

    exit_code: int
    stdout: str
    stderr: str

    def messages(self) -> list[Any]:
        """Return the response messages: one for a unary call, any number for a stream."""
        decoder, text, found = json.JSONDecoder(), self.stdout.strip(), []
        while text:
            message, end = decoder.raw_decode(text)
            found.append(message)
            text = text[end:].lstrip()
        return found

    def message(self) -> Any:
        """Return the response message of a call that succeeded with exactly one."""
        if self.exit_code != 0:
            raise AssertionError(f"grpcurl failed ({self.exit_code}): {self.stderr}")
        (message,) = self.messages()
        return message

    def status(self) -> Any:
        """Return the status of a call that failed: `code`, `message` and `details`, as JSON."""
        if self.exit_code == 0:
            raise AssertionError(f"grpcurl succeeded: {self.stdout}")
        return json.loads(self.stderr)


def find() -> Path | None:
    """Return the program: that of the PATH, else the one that `.ci/run` installed, else None."""
    found = shutil.which("grpcurl")
    if found:
        return Path(found)
    return _CACHED if _CACHED.exists() else None


@dataclass(frozen=True, slots=True)
class Grpcurl:
    """grpcurl, without TLS."""

    program: Path

    def __call__(
        self,
        address: str,
        symbol: str = "",
        request: Mapping[str, Any] | str | None = None,
        *,
        api_key: str = "",
        arguments: Sequence[str] = (),
        max_time: float = 30,
    ) -> Result:
        """Run it: `symbol` is a method to call with `request` as JSON, or a verb such as `list`.

        `arguments` go before the address, `max_time` is in seconds.
        """
        command = [str(self.program), "-plaintext", "-format-error", "-max-time", str(max_time), *arguments]
        if api_key:
            # Expanded from the environment by grpcurl itself, so that no process list shows the key.
            command += ["-expand-headers", "-H", "authorization: Bearer ${GRPCURL_API_KEY}"]
        body = None
        if request is not None:
            body = request if isinstance(request, str) else json.dumps(request)
            command += ["-d", "@"]
        command += [address, *([symbol] if symbol else [])]
        done = subprocess.run(
            command,
            input=body,
            capture_output=True,
            text=True,
            timeout=max_time + 10,
            check=False,
            env={"GRPCURL_API_KEY": api_key},
        )
        return Result(done.returncode, done.stdout, done.stderr)
