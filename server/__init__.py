"""Connections: keeps the credentials that customers granted for third-party APIs, and hands out ones that work now."""

import os

# gRPC reads these when it is first imported. This program starts children only by exec, for which gRPC's fork handlers
# do nothing but complain; its own log says nothing that ours does not.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
