"""The `connections` command with its fault points armed: what `FAULT_POINT` says happens when an exchange gets there.

`FAULT_POINT` is `NAME:ACTION`, or several with commas. The actions: `kill` (SIGKILL to the own process), `stop` (wait for
ever), `sleep=SECONDS`, `file=PATH` (create the file and wait until it is gone). Only tests run this module.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from server.cli.main import main
from server.refresh import fault_points


async def act(action: str) -> None:  # another process is what it waits for, by a file: there is no event to await
    """Do what an action says."""
    kind, _, argument = action.partition("=")
    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            await asyncio.Event().wait()
        case "sleep":
            await asyncio.sleep(float(argument))
        case "file":
            path = Path(argument)
            path.touch()  # noqa: ASYNC240
            while path.exists():  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.02)
        case _:
            raise ValueError(f"unknown action {action!r}")


def arm(text: str) -> None:
    """Arm the fault points that a text names."""
    actions = dict(part.split(":", 1) for part in text.split(",") if part)

    async def hook(name: str) -> None:
        if name in actions:
            await act(actions[name])

    fault_points.arm(hook)


if __name__ == "__main__":
    arm(os.environ.get("FAULT_POINT", ""))
    main()
