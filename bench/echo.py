"""The ceiling: a bare `grpc.aio` server on uvloop that answers every call with the same bytes. `python -m bench.echo`.

It has no interceptor, parses nothing and logs nothing. Whatever the service does for a call comes on top of this.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from bench.load import GET_CONNECTION


async def _serve(address: str, answer: bytes) -> None:
    async def echo(request: bytes, context: Any) -> bytes:
        del request, context
        return answer

    service, _, method = GET_CONNECTION.removeprefix("/").partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(echo)}
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1), ("grpc.max_concurrent_streams", 1000)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    if not server.add_insecure_port(address):
        raise SystemExit(f"cannot listen on {address}")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("answer", type=Path, help="file with the bytes to answer with")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments.address, arguments.answer.read_bytes()))


if __name__ == "__main__":
    main()
