# syntax=docker/dockerfile:1

# Everything is installed in the first stage, from the lock, into a virtual environment that the second one takes over
# as a whole: no compiler, no pip cache and no source tree reach the image that runs.
FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR /src
RUN python -m venv /opt/connections

# The dependencies first: this layer stays until the lock changes.
COPY requirements.lock ./
RUN /opt/connections/bin/python -m pip install --no-compile --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY server ./server
COPY generated ./generated
RUN /opt/connections/bin/python -m pip install --no-compile --no-deps --no-build-isolation .


FROM python:3.11-slim

ENV PATH=/opt/connections/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CONNECTIONS_GRPC_ADDRESS=0.0.0.0:50051 \
    CONNECTIONS_HTTP_ADDRESS=0.0.0.0:8080 \
    CONNECTIONS_DATA_DIR=/var/lib/connections

# A number, so that an orchestrator can see that it is not root. The directory is for the embedded Postgres of a trial
# and for the spool; in production Postgres is elsewhere, and the root file system may be read-only.
RUN groupadd --gid 10001 connections \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/connections --shell /usr/sbin/nologin connections \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/connections

COPY --from=build /opt/connections /opt/connections

USER 10001:10001
WORKDIR /var/lib/connections
VOLUME /var/lib/connections
EXPOSE 50051 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["connections", "healthcheck", "--timeout", "5s"]
ENTRYPOINT ["connections", "serve"]
