"""Every metric, once. Names carry their unit; labels never carry an id or a secret."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)

RPC_HANDLED: Final = Counter("grpc_server_handled_total", "Calls that ended", ("grpc_method", "grpc_code"))
RPC_SECONDS: Final = Histogram("grpc_server_handling_seconds", "Duration of calls", ("grpc_method",), buckets=_LATENCY)
RPC_IN_FLIGHT: Final = Gauge("grpc_server_in_flight", "Calls under way", multiprocess_mode="livesum")
RPC_SHED: Final = Counter("grpc_server_shed_total", "Calls refused because of load", ("grpc_method",))

READS: Final = Counter(
    "connections_reads_total",
    "Reads with credentials: fresh, refreshed, stale_while_failing, stale_short_deadline, error",
    ("served",),
)
READS_FRESH: Final = READS.labels("fresh")
REFRESHES: Final = Counter(
    "connections_refresh_total", "Exchanges with providers that ended, by outcome", ("provider", "outcome")
)
REFRESH_SECONDS: Final = Histogram(
    "connections_refresh_seconds", "Duration of exchanges with providers", ("provider",), buckets=_LATENCY
)
REFRESH_JOINS: Final = Counter("connections_refresh_joins_total", "Calls that joined an exchange already under way")
REFRESH_IN_FLIGHT: Final = Gauge(
    "connections_refresh_in_flight", "Refreshes under way in this process", multiprocess_mode="livesum"
)
LEASE_WAITS: Final = Counter("connections_lease_waits_total", "Refreshes that waited for another process's lease")
LEASE_TAKEOVERS: Final = Counter(
    "connections_lease_takeovers_total", "Leases taken over from an owner that did not finish", ("found",)
)
LEASE_LOST: Final = Counter("connections_lease_lost_total", "Leases that could not be renewed in time")
SPOOLED: Final = Counter("connections_answers_spooled_total", "Provider answers kept on disk because Postgres was away")
SPOOL_ADOPTED: Final = Counter("connections_answers_adopted_total", "Spooled answers that reached Postgres later")
ANSWERS_AT_RISK: Final = Counter(
    "connections_answers_at_risk_total", "Provider answers that neither Postgres nor the spool could take at first"
)
TIME_TO_EXPIRY: Final = Histogram(
    "connections_refresh_time_to_expiry_seconds",
    "Life that a token had left when it was refreshed; negative if it had expired",
    buckets=(-3600.0, -60.0, 0.0, 60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 86400.0),
)
BREAKERS_OPEN: Final = Gauge(
    "connections_breakers_open", "Token hosts to which no exchange may start now", multiprocess_mode="livemax"
)
SCHEDULER_LAG: Final = Gauge(
    "connections_scheduler_lag_seconds", "How late the last claimed refresh was", multiprocess_mode="livemax"
)
