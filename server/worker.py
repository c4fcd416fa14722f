"""One worker of several: `python -m server.worker PARENT_PID [--with-http]`, started by `server.workers`."""

from __future__ import annotations

import os
import sys

from server import app, workers
from server.config import Config
from server.prepare import StartError
from server.telemetry import log


def main() -> int:
    """Serve with the settings of the environment."""
    config = Config.from_environment(os.environ)
    log.configure(config.log_level, config.log_format)
    assert config.database_url is not None
    assert config.keyring is not None
    try:
        app.run_worker(
            config,
            config.database_url.reveal(),
            config.keyring.reveal(),
            reuse_port=True,
            parent=int(sys.argv[1]),
            with_http=workers.FIRST in sys.argv,
        )
    except StartError as error:
        print(f"the worker cannot start: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
