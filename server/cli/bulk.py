"""Importing a file of connections: bounded calls in flight over several channels, one verdict for each line.

Importing is idempotent (a line names its connection), so a call whose fate is unknown is repeated, and so is the whole
import after an interruption.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import random
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import grpc
import grpc.aio
from connections.v1 import connection_service_pb2_grpc
from connections.v1.connection_service_pb2 import CreateConnectionRequest

from server.cli.client import CHANNEL_OPTIONS, Target
from server.cli.errors import CliError, Failure, cli_error, failure_of
from server.cli.output import note
from server.cli.progress import Progress
from server.cli.requests import parse_request

_CHANNELS: Final = 4
_ATTEMPTS: Final = 6
_LONGEST_PAUSE: Final = 30.0
_SHOWN_ERRORS: Final = 50
_LONGEST_LINE: Final = 8 << 20

_TRANSIENT: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED)
# Reasons that time cures. ETAG_MISMATCH is ABORTED too, and is not one of them.
_TRANSIENT_REASONS: Final = ("", "STORAGE_UNAVAILABLE", "WRITE_CONFLICT", "OVERLOADED", "SHUTTING_DOWN", "INTERRUPTED")
# What would befall every further line as well.
_FATAL: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
)


@dataclass(slots=True)
class Summary:
    """What became of an import. `complete_to` is the last line before which none is missing."""

    created: int = 0
    updated: int = 0
    failed: int = 0
    complete_to: int = 0
    interrupted: bool = False
    stopped: CliError | None = None
    _ahead: set[int] = field(default_factory=set)

    @property
    def total(self) -> int:
        """Lines with a verdict."""
        return self.created + self.updated + self.failed

    def settle(self, line: int) -> None:
        """Note that a line has its verdict."""
        self._ahead.add(line)
        while self.complete_to + 1 in self._ahead:
            self.complete_to += 1
            self._ahead.remove(self.complete_to)

    def sentence(self) -> str:
        """Return the summary for people."""
        lines = f"{self.total} line{'' if self.total == 1 else 's'}"
        return f"{lines}: {self.created} created, {self.updated} updated, {self.failed} failed"


class _LineError(Exception):
    """This line cannot be imported."""

    def __init__(self, reason: str, message: str, violations: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations


async def run(target: Target, source: str, errors: Path | None, *, concurrency: int, call_timeout: float) -> Summary:
    """Import every line of the file, `-` for standard input. Raises OSError if a file cannot be opened.

    SIGINT stops reading and lets calls in flight end, so that every line read has its verdict.
    """
    with ExitStack() as files:
        lines = files.enter_context(_open(source))
        report = files.enter_context(errors.open("w", encoding="utf-8")) if errors else None
        progress = files.enter_context(Progress(_size(source)))
        job = _Job(target, call_timeout, report, progress)
        await job.run(lines, concurrency)
        return job.summary


class _Job:
    def __init__(self, target: Target, timeout: float, report: TextIO | None, progress: Progress) -> None:
        self.summary = Summary()
        self._target = target
        self._metadata = target.metadata()
        self._timeout = timeout
        self._report = report
        self._progress = progress
        self._stop = asyncio.Event()

    async def run(self, lines: BinaryIO, concurrency: int) -> None:
        queue: asyncio.Queue[list[tuple[int, bytes]] | None] = asyncio.Queue(maxsize=4)
        loop = asyncio.get_running_loop()
        # A thread reads, because standard input may block; a daemon, because nothing can end that read.
        threading.Thread(target=_feed, args=(lines, queue, loop), daemon=True).start()
        async with AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(_stub(self._target)) for _ in range(min(_CHANNELS, concurrency))]
            with _on_interrupt(self._interrupt):
                slots = asyncio.Semaphore(concurrency)
                async with asyncio.TaskGroup() as tasks:
                    async for number, line in self._lines(queue):
                        await slots.acquire()
                        if self._stop.is_set():
                            slots.release()
                            break
                        task = tasks.create_task(self._import(stubs[number % len(stubs)], number, line))
                        task.add_done_callback(lambda _: slots.release())

    def _interrupt(self) -> None:
        self.summary.interrupted = True
        self._stop.set()
        note("stopping; calls in flight are ending. Interrupt again to leave them.")

    async def _lines(self, queue: asyncio.Queue[list[tuple[int, bytes]] | None]) -> AsyncIterator[tuple[int, bytes]]:
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not self._stop.is_set():
                batch = asyncio.create_task(queue.get())
                await asyncio.wait((batch, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not batch.done():
                    batch.cancel()
                    return
                lines = batch.result()
                if lines is None:
                    return
                for item in lines:
                    yield item
        finally:
            stopped.cancel()

    async def _import(self, stub: Any, number: int, line: bytes) -> None:
        request: CreateConnectionRequest | None = None
        try:
            if line.strip():
                request = _request(line)
                created = await self._create(stub, request)
                if created:
                    self.summary.created += 1
                else:
                    self.summary.updated += 1
        except _LineError as error:
            self._failed(number, request, error)
        except CliError as error:
            self.summary.stopped = self.summary.stopped or error
            self._stop.set()
            return
        self.summary.settle(number)
        self._progress.advance(len(line), self.summary.total, self.summary.failed)

    async def _create(self, stub: Any, request: CreateConnectionRequest) -> bool:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = await stub.CreateConnection(request, timeout=self._timeout, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = failure_of(error)
                transient = failure.code in _TRANSIENT and failure.reason in _TRANSIENT_REASONS
                # A server that never answered is not one that restarts.
                absent = not failure.reason and not self.summary.created + self.summary.updated
                if transient and not absent and attempt < _ATTEMPTS and not self._stop.is_set():
                    await self._pause(failure, attempt)
                    continue
                if failure.code in _FATAL:
                    raise cli_error(error, self._target.address, self._timeout) from None
                raise _LineError(failure.label, failure.message, failure.violations) from None
            else:
                return bool(response.created)
        raise AssertionError("the last attempt returns or raises")

    async def _pause(self, failure: Failure, attempt: int) -> None:
        pause = failure.retry_after if failure.retry_after is not None else 0.1 * 2**attempt
        # Jitter, so that the calls which failed together do not come back together.
        await asyncio.sleep(min(_LONGEST_PAUSE, pause) * random.uniform(0.75, 1.25))  # noqa: S311 - not for secrets

    def _failed(self, number: int, request: CreateConnectionRequest | None, error: _LineError) -> None:
        self.summary.failed += 1
        if self.summary.failed <= _SHOWN_ERRORS:
            self._progress.note(f"line {number}: {error.reason}: {error.message}")
        elif self.summary.failed == _SHOWN_ERRORS + 1:
            self._progress.note("more lines failed; --errors FILE names them all")
        if self._report is not None:
            entry: dict[str, Any] = {"line": number, "reason": error.reason, "message": error.message}
            if request is not None:
                entry |= {"provider_config_key": request.provider_config_key, "connection_id": request.connection_id}
            if error.violations:
                entry["violations"] = [{"field": name, "description": text} for name, text in error.violations]
            self._report.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._report.flush()


def _request(line: bytes) -> CreateConnectionRequest:
    if len(line) > _LONGEST_LINE:
        raise _LineError("INVALID_LINE", "the line is longer than 8 MiB")
    try:
        request = parse_request(line)
    except ValueError as error:
        raise _LineError("INVALID_LINE", str(error)) from None
    if not request.connection_id:
        raise _LineError(
            "INVALID_LINE", "connection_id is missing; without it, importing again would make a second one"
        )
    return request


def _feed(
    lines: BinaryIO, queue: asyncio.Queue[list[tuple[int, bytes]] | None], loop: asyncio.AbstractEventLoop
) -> None:
    number = 0
    try:
        while True:
            # `readlines` with a hint takes whole lines until it has that many bytes, so a pipe of few lines is slow to
            # start, but a line at a time would cost a thread switch each.
            batch = lines.readlines(1 << 16)
            entries = [(number + index, line) for index, line in enumerate(batch, 1)]
            number += len(batch)
            put = queue.put(entries or None)
            try:
                asyncio.run_coroutine_threadsafe(put, loop).result()
            except RuntimeError:
                put.close()
                return
            if not batch:
                return
    except (ValueError, concurrent.futures.CancelledError):
        return  # the import ended first, and with it the file or the loop


@asynccontextmanager
async def _stub(target: Target) -> AsyncIterator[Any]:
    # Channels with equal options share one connection unless they are told not to.
    channel_options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
    if target.secure:
        channel = grpc.aio.secure_channel(target.address, grpc.ssl_channel_credentials(), options=channel_options)
    else:
        channel = grpc.aio.insecure_channel(target.address, options=channel_options)
    factory: Callable[[Any], Any] = connection_service_pb2_grpc.ConnectionServiceStub
    async with channel:
        yield factory(channel)


@contextmanager
def _on_interrupt(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        handler()

    main = threading.current_thread() is threading.main_thread()
    if main:
        loop.add_signal_handler(signal.SIGINT, once)
    try:
        yield
    finally:
        if main:
            loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _open(source: str) -> Iterator[BinaryIO]:
    if source != "-":
        with Path(source).open("rb") as lines:
            yield lines
        return
    # Neither `sys.stdin.buffer` nor closed at the end: the reading thread may hold the buffer's lock for ever, and both
    # closing it and the interpreter's exit would wait for that.
    yield open(0, "rb", closefd=False)  # noqa: SIM115


def _size(source: str) -> int:
    return 0 if source == "-" else Path(source).stat().st_size
