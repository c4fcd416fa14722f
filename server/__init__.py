"""Connections: keeps the credentials that customers granted for third-party APIs, and hands out ones that work now."""
