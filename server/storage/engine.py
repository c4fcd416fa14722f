"""The way to Postgres: engine, time-outs, and what its errors mean to callers."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from sqlalchemy import exc, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from server.domain.errors import Internal, ServiceError, StorageUnavailable, WriteConflict

_APPLICATION: Final = "connections"
_RETRY_AFTER: Final = 1.0
_TIMEOUT: Final = "transaction_timeout"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """How to reach Postgres. `statement_timeout` is in seconds.

    `transaction_pooling`: a proxy such as PgBouncer gives each transaction another server connection; then neither
    prepared statements nor start-up options are used.
    """

    url: str
    pool_size: int = 8
    statement_timeout: float = 5.0
    transaction_pooling: bool = False


def sqlalchemy_url(url: str) -> str:
    """Return the URL with the driver that this program uses."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def startup_options(settings: DatabaseSettings) -> str:
    """Return libpq's `options`: the floor under every statement's time, whatever its caller does."""
    if settings.transaction_pooling:
        return ""
    milliseconds = round(settings.statement_timeout * 1000)
    return (
        f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
        "-c idle_in_transaction_session_timeout=10000 -c timezone=UTC"
    )


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Return the engine of this process and loop. Dispose of it at the end."""
    connect_args: dict[str, object] = {
        "connect_timeout": 5,
        "application_name": _APPLICATION,
        # A peer that vanished is noticed within half a minute instead of hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    if settings.transaction_pooling:
        connect_args["prepare_threshold"] = None
    else:
        connect_args["options"] = startup_options(settings)
    return create_async_engine(
        sqlalchemy_url(settings.url),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.statement_timeout,
        pool_pre_ping=False,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args=connect_args,
        execution_options={_TIMEOUT: 2 * settings.statement_timeout},
    )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn driver errors into the family that callers may learn of; the driver's own text stays in the cause."""
    try:
        yield
    except ServiceError:
        raise
    except (exc.DBAPIError, psycopg.Error) as error:
        original = error.orig if isinstance(error, exc.DBAPIError) else error
        raise translate(original) from error
    except exc.TimeoutError as error:
        raise unavailable("no connection to the database became free in time") from error
    except OSError as error:
        raise unavailable("the database cannot be reached") from error


def translate(error: BaseException | None) -> ServiceError:
    """Return what a driver error means to a caller."""
    match error:
        case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
            return WriteConflict("two writes met; repeat the call", retry_after=0.0)
        case psycopg.errors.QueryCanceled() | psycopg.errors.LockNotAvailable():
            return unavailable("the database did not answer in time")
        case psycopg.OperationalError() | psycopg.InterfaceError() | psycopg.errors.ReadOnlySqlTransaction():
            return unavailable("the database cannot be reached")
        case _:
            return Internal("a statement failed; an operator finds the cause in the log")


def unavailable(message: str) -> StorageUnavailable:
    """Return the error for a database that is away, with the time after which to try again."""
    return StorageUnavailable(message, retry_after=_RETRY_AFTER)


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection in a transaction that is committed at the end and rolled back on any error.

    A server that hangs enforces no time-out of its own, so the whole transaction has one here too.
    """
    try:
        with storage_errors():
            async with asyncio.timeout(engine.get_execution_options()[_TIMEOUT]), engine.begin() as connection:
                yield connection
    except TimeoutError as error:
        raise unavailable("the database did not answer in time") from error


@asynccontextmanager
async def statement(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """As `transaction`, for a single SELECT: a statement is a transaction of its own, and two round trips are saved."""
    try:
        with storage_errors():
            async with asyncio.timeout(engine.get_execution_options()[_TIMEOUT]), engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")
    except TimeoutError as error:
        raise unavailable("the database did not answer in time") from error


def to_datetime(instant: float | None) -> dt.datetime | None:
    """Return an instant (seconds since the epoch) as the driver's type, to the microsecond."""
    if instant is None:
        return None
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=round(instant * 1e6))


def from_datetime(value: dt.datetime | None) -> float | None:
    """Return the driver's type as an instant."""
    return None if value is None else value.timestamp()
