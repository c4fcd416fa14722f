"""What happens around every call, in order. Each step is a function around the rest, a coroutine
where it has something to do afterwards; the order is tested.

From the outside inwards, and why:

1. `identity`    everything below logs with the request id
2. `access_log`  and
3. `metrics`     must see the final code of everything below, refusals and failed authentication included
4. `errors`      turns exceptions into the family of `ServiceError`: nothing below needs to think about status
5. `shed`        below metrics, so that refusals are counted; above the work, so that a refusal costs nothing
6. `authenticate` before any work; whether something exists is told only to those who may know
7. `deadline`    the caller's budget, made once
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from server.domain.api_keys import Authenticator
from server.domain.deadline import Deadline
from server.domain.errors import (
    CallerUnauthenticated,
    DeadlineExceeded,
    Internal,
    Interrupted,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    ServiceError,
    Violation,
)
from server.domain.model import Principal
from server.rpc.call import Call, Endpoint
from server.rpc.status import code_of
from server.telemetry import log, metrics

Step = Callable[[Endpoint, Any, Call], Any]

_SERVICES: Final = "/connections.v1."
_ADMIN: Final = "/connections.v1.AdminService/"
_LIST: Final = "/connections.v1.ConnectionService/ListConnections"
_BEARER: Final = "bearer "
_NO_KEY: Final = "send the API key as `authorization: Bearer <key>`"
_RESERVE: Final = 0.02
_FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """Stands for a request that cannot be looked at, and says why."""

    description: str


def is_ours(method: str) -> bool:
    """Return whether a method is of the contract; health and reflection are not: never shed, and open to all."""
    return method.startswith(_SERVICES)


def compose(steps: Sequence[Step], endpoint: Endpoint) -> Endpoint:
    """Return `endpoint` with `steps` around it, the first outermost."""
    for step in reversed(steps):
        endpoint = _around(step, endpoint)
    return endpoint


def _around(step: Step, inner: Endpoint) -> Endpoint:
    def stepped(request: Any, call: Call) -> Any:
        return step(inner, request, call)

    return stepped


def identity(inner: Endpoint, request: Any, call: Call) -> Coroutine[Any, Any, Any]:
    """Take the caller's request id, or make one."""
    given = call.header("x-request-id")
    if given and len(given) <= 128 and given.isascii() and given.isprintable():
        call.request_id = given
    else:
        # A name, not a secret: randomness from the kernel would cost a system call.
        call.request_id = f"{random.getrandbits(64):016x}"
    log.request_id.set(call.request_id)
    return inner(request, call)


async def access_log(inner: Endpoint, request: Any, call: Call) -> Any:
    """Write one line per call. Names what was asked for, never what was answered."""
    started = time.perf_counter()
    try:
        return await inner(request, call)
    except asyncio.CancelledError:
        call.code = "CANCELLED"
        raise
    finally:
        _write_line(call, time.perf_counter() - started)


def _write_line(call: Call, seconds: float) -> None:
    line = {
        "method": call.method,
        "code": call.code,
        "duration_ms": round(seconds * 1000, 2),
        "peer": call.peer,
        "request_id": call.request_id,
    }
    if call.reason:
        line["reason"] = call.reason
    trace = call.header("traceparent")
    if len(trace) >= 35:
        line["trace_id"] = trace[3:35]
    principal = call.principal
    if principal is not None:
        line["environment"] = principal.environment
        line["api_key_id"] = principal.api_key_id
    if call.send is not None:
        line["messages"] = call.messages_sent
    line |= call.fields
    log.write("debug" if not is_ours(call.method) else "error" if call.code in _FAULTS else "info", "rpc", line)


async def measure(inner: Endpoint, request: Any, call: Call) -> Any:
    """Count the call and time it."""
    in_flight = metrics.RPC_IN_FLIGHT
    in_flight.inc()
    started = time.perf_counter()
    try:
        return await inner(request, call)
    except asyncio.CancelledError:
        call.code = "CANCELLED"
        raise
    finally:
        in_flight.dec()
        counters = _counters(call.method, call.code)
        counters[0].inc()
        counters[1].observe(time.perf_counter() - started)


_children: dict[tuple[str, str], tuple[Any, Any]] = {}


def _counters(method: str, code: str) -> tuple[Any, Any]:
    """Return the counters of a method and code, looked up once: `labels()` costs more than counting does."""
    found = _children.get((method, code))
    if found is None:
        # A method that does not exist is the caller's word, and must not become a label of its own.
        name = "unknown" if code == "UNIMPLEMENTED" else method
        found = (metrics.RPC_HANDLED.labels(name, code), metrics.RPC_SECONDS.labels(name))
        if code != "UNIMPLEMENTED":
            _children[method, code] = found
    return found


async def errors(inner: Endpoint, request: Any, call: Call) -> Any:
    """Let nothing but `ServiceError` and a true cancellation pass."""
    try:
        return await inner(request, call)
    except ServiceError as error:
        call.code, call.reason = code_of(error).name, error.reason.name
        if call.code in _FAULTS:
            _log_defect(call, error.__cause__ or error)
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Something that the call waited for was cancelled, not the call: without a status its caller would hang.
        interrupted = Interrupted("work that this call waited for was cancelled; try again", retry_after=0.5)
        call.code, call.reason = code_of(interrupted).name, interrupted.reason.name
        raise interrupted from error
    except Exception as error:
        _log_defect(call, error)
        internal = Internal(
            "an internal error; an operator finds the cause in the log by the request id",
            metadata={"requestId": call.request_id},
        )
        call.code, call.reason = code_of(internal).name, internal.reason.name
        raise internal from error


def _log_defect(call: Call, error: BaseException) -> None:
    """Log what failed and where, without the exception's text: it may quote what it was given.

    The name is not `exception`, which the renderer for people takes for a traceback.
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 5:
        causes.append(type(cause).__name__)
        cause = cause.__cause__
    log.get().error("defect", method=call.method, exceptions=causes, frames=frames[-8:])


class Shed:
    """Refuses what the process cannot do well, before it costs anything. There is no queue: a refusal now beats a
    time-out later.
    """

    def __init__(self, *, max_calls: int, max_lists: int) -> None:
        self._max_calls = max_calls
        self._max_lists = max_lists
        self._calls = 0
        self._lists = 0

    async def __call__(self, inner: Endpoint, request: Any, call: Call) -> Any:
        """Refuse the call, or count it while it runs."""
        if not is_ours(call.method):
            return await inner(request, call)
        listing = call.method == _LIST
        if self._calls >= self._max_calls or (listing and self._lists >= self._max_lists):
            metrics.RPC_SHED.labels(call.method).inc()
            limit = self._max_lists if self._calls < self._max_calls else self._max_calls
            raise Overloaded(
                "the server has as much work as it can do well; try again",
                metadata={"limit": str(limit)},
                retry_after=0.2,
            )
        self._calls += 1
        self._lists += listing
        try:
            return await inner(request, call)
        finally:
            self._calls -= 1
            self._lists -= listing


class Authenticate:
    """Finds out who calls. Health and reflection are open."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def __call__(self, inner: Endpoint, request: Any, call: Call) -> Coroutine[Any, Any, Any]:
        """Refuse callers without a key, and callers of AdminService without an admin key."""
        if not is_ours(call.method):
            return inner(request, call)
        header = call.header("authorization")
        key = header[7:].strip()
        if not key or header[:7].lower() != _BEARER:
            raise CallerUnauthenticated(_NO_KEY)
        principal = self._authenticator.cached(key)
        if principal is None:
            return self._ask(key, inner, request, call)
        _admit(principal, call)
        return inner(request, call)

    async def _ask(self, key: str, inner: Endpoint, request: Any, call: Call) -> Any:
        _admit(await self._authenticator.authenticate(key), call)
        return await inner(request, call)


def _admit(principal: Principal, call: Call) -> None:
    call.principal = principal
    if not principal.admin and call.method.startswith(_ADMIN):
        raise PermissionDenied("AdminService needs an admin key; `connections keys create --admin` makes one")


class Budget:
    """Sets the call's deadline: the caller's, or the cap for callers that have none."""

    def __init__(self, *, cap: float) -> None:
        self._cap = cap

    def __call__(self, inner: Endpoint, request: Any, call: Call) -> Coroutine[Any, Any, Any]:
        """Run the call within its deadline. A stream's deadline is the caller's alone: its pages are bounded one by one."""
        if isinstance(request, MalformedRequest):
            raise InvalidRequest([Violation("request", request.description)])
        if not is_ours(call.method):
            return inner(request, call)
        remaining = call.time_remaining
        if call.send is not None:
            call.deadline = Deadline.after(remaining if remaining is not None else self._cap)
            return inner(request, call)
        seconds = self._cap if remaining is None else min(remaining, self._cap)
        call.deadline = Deadline.after(seconds)
        # A little before the deadline, so that the caller still gets a status with a reason.
        return _within(max(0.0, seconds - _RESERVE), inner, request, call)


async def _within(seconds: float, inner: Endpoint, request: Any, call: Call) -> Any:
    """Run the call for so long. As `asyncio.timeout` does it, at a third of its cost, which every call would pay."""
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    alarm = _Alarm(task)
    timer = task.get_loop().call_later(seconds, alarm.ring)
    try:
        return await inner(request, call)
    except asyncio.CancelledError:
        # Ours alone: a caller that leaves at the same moment is a cancellation.
        if alarm.rang and task.cancelling() == cancelled_before + 1:
            raise DeadlineExceeded("the deadline passed before the work was done") from None
        raise
    finally:
        timer.cancel()
        if alarm.rang:
            task.uncancel()


class _Alarm:
    """Cancels a task, and remembers that it did."""

    __slots__ = ("_task", "rang")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.rang = False

    def ring(self) -> None:
        self.rang = True
        self._task.cancel()
