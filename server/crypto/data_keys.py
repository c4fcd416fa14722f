"""One key per environment, wrapped by a root key; one data key per row, wrapped by its environment's key."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.crypto.envelope import KEY_BYTES, EnvelopeError, associated_data, key_id_of, seal, unseal
from server.crypto.keyring import KeyringError, RootKeys
from server.domain.errors import CredentialsUnreadable

_ID_BYTES: Final = 4


class EnvironmentKeyStore(Protocol):
    """Keeps the wrapped environment keys."""

    async def environment_keys(self, environment_id: UUID) -> dict[int, bytes]:
        """Return the wrapped keys of an environment by version, empty if it does not exist."""
        ...


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of one row, open, and the form in which the row stores it."""

    environment_id: UUID
    table: str
    row: bytes
    wrapped: bytes
    _id: bytes = field(repr=False)
    _cipher: AESGCM = field(repr=False)

    def seal(self, column: str, plaintext: bytes) -> bytes:
        """Seal what goes into `column` of this key's row."""
        place = associated_data(self.environment_id, self.table, self.row, column)
        return seal(self._cipher, self._id, plaintext, place)

    def open(self, column: str, envelope: bytes) -> bytes:
        """Return what `seal` was given for `column`. Raises `CredentialsUnreadable`."""
        try:
            if key_id_of(envelope) != self._id:
                raise EnvelopeError("sealed under another data key")
            return unseal(self._cipher, envelope, associated_data(self.environment_id, self.table, self.row, column))
        except EnvelopeError as error:
            raise unreadable() from error


def unreadable() -> CredentialsUnreadable:
    """Return what callers are told about anything that does not decrypt; the cause goes to the log."""
    return CredentialsUnreadable("what is stored cannot be decrypted; an operator finds the cause in the log")


class DataKeys:
    """Makes and opens data keys. Environment keys are unwrapped once and then kept in memory."""

    def __init__(self, root: RootKeys, store: EnvironmentKeyStore) -> None:
        self._root = root
        self._store = store
        self._ciphers: dict[tuple[UUID, bytes], AESGCM] = {}
        self._tokens: dict[tuple[UUID, bytes], AESSIV] = {}
        self._current: dict[UUID, bytes] = {}

    async def wrap_environment_key(self, environment_id: UUID, version: int = 1) -> bytes:
        """Return a new environment key, wrapped by the root key, ready to be stored as `version`."""
        key = AESGCM.generate_key(KEY_BYTES * 8)
        return await self._root.wrap(key, _environment_key_place(environment_id, version))

    async def get_ready(self, environment_id: UUID) -> None:
        """Have the environment's keys in memory, before a transaction that will need them.

        Whoever looks them up from inside one waits for a second pooled connection while holding the first.
        """
        if environment_id not in self._current:
            await self._load(environment_id)

    async def new(self, environment_id: UUID, table: str, row: bytes) -> DataKey:
        """Make the data key of a new row."""
        await self.get_ready(environment_id)
        key_id = self._current[environment_id]
        secret, data_key_id = os.urandom(KEY_BYTES), os.urandom(_ID_BYTES)
        place = associated_data(environment_id, table, row, "data_key")
        wrapped = seal(self._ciphers[environment_id, key_id], key_id, data_key_id + secret, place)
        return DataKey(environment_id, table, row, wrapped, data_key_id, AESGCM(secret))

    async def open(self, environment_id: UUID, table: str, row: bytes, wrapped: bytes) -> DataKey:
        """Open the data key that a row stores. Raises `CredentialsUnreadable`."""
        key = self.open_cached(environment_id, table, row, wrapped)
        if key is None:
            await self._load(environment_id)
            key = self.open_cached(environment_id, table, row, wrapped)
        if key is None:
            raise unreadable() from EnvelopeError("wrapped by an environment key that does not exist")
        return key

    def open_cached(self, environment_id: UUID, table: str, row: bytes, wrapped: bytes) -> DataKey | None:
        """As `open`, without waiting: None if the environment's key is not in memory yet."""
        try:
            cipher = self._ciphers.get((environment_id, key_id_of(wrapped)))
            if cipher is None:
                return None
            plain = unseal(cipher, wrapped, associated_data(environment_id, table, row, "data_key"))
        except EnvelopeError as error:
            raise unreadable() from error
        return DataKey(environment_id, table, row, wrapped, plain[:_ID_BYTES], AESGCM(plain[_ID_BYTES:]))

    def open_value(
        self, environment_id: UUID, table: str, row: bytes, wrapped: bytes, column: str, envelope: bytes
    ) -> bytes | None:
        """As `open_cached` and then `DataKey.open`, for reads: one value is wanted and the key is not."""
        try:
            cipher = self._ciphers.get((environment_id, key_id_of(wrapped)))
            if cipher is None:
                return None
            plain = unseal(cipher, wrapped, associated_data(environment_id, table, row, "data_key"))
            if key_id_of(envelope) != plain[:_ID_BYTES]:
                raise EnvelopeError("sealed under another data key")
            return unseal(AESGCM(plain[_ID_BYTES:]), envelope, associated_data(environment_id, table, row, column))
        except EnvelopeError as error:
            raise unreadable() from error

    async def verify(self, environment_id: UUID) -> None:
        """Unwrap the environment's keys, to find a wrong keyring at start instead of at the first read.

        Raises `KeyringError` or `EnvelopeError`.
        """
        for version, wrapped in (await self._store.environment_keys(environment_id)).items():
            await self._root.unwrap(wrapped, _environment_key_place(environment_id, version))

    async def seal_token(self, environment_id: UUID, purpose: str, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed for callers to keep, the same each time: no nonce is spent on it (RFC 5297)."""
        await self.get_ready(environment_id)
        key_id = self._current[environment_id]
        sealed = self._tokens[environment_id, key_id].encrypt(plaintext, [purpose.encode(), environment_id.bytes])
        return bytes((len(key_id),)) + key_id + sealed

    async def open_token(self, environment_id: UUID, purpose: str, token: bytes) -> bytes:
        """Return what was sealed. Raises `ValueError` if it was not sealed here, for this environment and purpose."""
        key_id = token[1 : 1 + token[0]] if token else b""
        if (environment_id, key_id) not in self._tokens:
            await self._load(environment_id)
        cipher = self._tokens.get((environment_id, key_id))
        if cipher is None:
            raise ValueError("sealed under a key that does not exist")
        try:
            return cipher.decrypt(token[1 + len(key_id) :], [purpose.encode(), environment_id.bytes])
        except InvalidTag:
            raise ValueError("not sealed here") from None

    async def _load(self, environment_id: UUID) -> None:
        versions = await self._store.environment_keys(environment_id)
        try:
            for version, wrapped in sorted(versions.items()):
                key = await self._root.unwrap(wrapped, _environment_key_place(environment_id, version))
                key_id = str(version).encode()
                self._ciphers[environment_id, key_id] = AESGCM(key)
                token_key = HKDF(hashes.SHA512(), length=64, salt=None, info=b"connections page tokens").derive(key)
                self._tokens[environment_id, key_id] = AESSIV(token_key)
                self._current[environment_id] = key_id
        except (KeyringError, EnvelopeError) as error:
            raise unreadable() from error
        if not versions:
            raise unreadable() from EnvelopeError("the environment has no key: it was destroyed")


def _environment_key_place(environment_id: UUID, version: int) -> bytes:
    return associated_data(environment_id, "environment_keys", str(version).encode(), "wrapped_key")
