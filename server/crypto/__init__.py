"""Encryption at rest: the keyring, the keys it wraps, and the envelopes they seal."""
