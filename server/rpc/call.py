"""One call, as the chain and the servicers see it. Nothing here depends on which server class serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.domain.deadline import Deadline
from server.domain.model import Principal

Send = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Call:
    """What is known about a call; the chain fills it in from the outside inwards.

    `send` sends one message of a stream and waits until the client's flow control takes it; it is None for unary calls.
    `fields` are added to the access log by whoever knows them: ids, never values.
    """

    method: str
    metadata: Sequence[tuple[str, str | bytes]]
    peer: str
    time_remaining: float | None
    send: Send | None = None
    request_id: str = ""
    deadline: Deadline = field(default_factory=lambda: Deadline(0.0))
    principal: Principal | None = None
    code: str = "OK"
    reason: str = ""
    messages_sent: int = 0
    fields: dict[str, Any] = field(default_factory=dict)

    def header(self, name: str) -> str:
        """Return the first value of a metadata key (lower case), empty if there is none."""
        for key, value in self.metadata:
            if key == name:
                return value if isinstance(value, str) else value.decode("latin-1")
        return ""

    @property
    def caller(self) -> Principal:
        """Return who calls. Only for methods that need a key: the chain has checked it."""
        assert self.principal is not None
        return self.principal


Endpoint = Callable[[Any, Call], Awaitable[Any]]
"""A servicer's method, or it with steps of the chain around it: takes the request, returns the response (None: a stream)."""
