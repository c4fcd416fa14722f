"""One call, as the chain and the servicers see it. Nothing here depends on which server class serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from server.domain.deadline import Deadline
from server.domain.model import Principal

Send = Callable[[bytes], Awaitable[None]]

_NONE_YET: Final = Deadline(0.0)


class Call:
    """What is known about a call; the chain fills it in from the outside inwards.

    `metadata` are the caller's pairs, keys in lower case; `time_remaining` the caller's budget in seconds, None if it has
    none. `send` sends one message of a stream and waits until the client's flow control takes it; it is None for unary
    calls. `native` is what the server class itself knows the call by, for methods that are not ours. `fields` are added
    to the access log by whoever knows them: ids, never values.
    """

    __slots__ = (
        "_headers",
        "code",
        "deadline",
        "fields",
        "messages_sent",
        "metadata",
        "method",
        "native",
        "peer",
        "principal",
        "reason",
        "request_id",
        "send",
        "time_remaining",
    )

    def __init__(
        self,
        method: str,
        metadata: Sequence[tuple[str, str | bytes]],
        peer: str,
        time_remaining: float | None,
        send: Send | None = None,
        native: Any = None,
    ) -> None:
        self.method = method
        self.metadata = metadata
        self.peer = peer
        self.time_remaining = time_remaining
        self.send = send
        self.native = native
        self.request_id = ""
        self.deadline = _NONE_YET
        self.principal: Principal | None = None
        self.code = "OK"
        self.reason = ""
        self.messages_sent = 0
        self.fields: dict[str, Any] = {}
        self._headers: dict[str, str | bytes] | None = None

    def header(self, name: str) -> str:
        """Return the first value of a metadata key (lower case), empty if there is none."""
        if self._headers is None:
            # Backwards, so that of several values the first stays.
            self._headers = dict(reversed(self.metadata))
        value = self._headers.get(name, "")
        return value if isinstance(value, str) else value.decode("latin-1")

    @property
    def caller(self) -> Principal:
        """Return who calls. Only for methods that need a key: the chain has checked it."""
        assert self.principal is not None
        return self.principal


Endpoint = Callable[[Any, Call], Coroutine[Any, Any, Any]]
"""A servicer's method, or it with steps of the chain around it: takes the request, returns the response (None: a stream)."""
