"""Logs, metrics and the redaction they share."""
