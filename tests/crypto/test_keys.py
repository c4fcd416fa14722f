"""Keyrings, environment keys, data keys and sealed tokens."""

from __future__ import annotations

import base64
import json
import os
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.crypto.data_keys import DataKey, DataKeys
from server.crypto.keyring import EnvelopeError, Keyring, KeyringError, new_keyring
from server.domain.errors import CredentialsUnreadable

SECRET = base64.b64encode(bytes(range(100, 132))).decode()
SHORT = base64.b64encode(bytes(range(100, 116))).decode()


class Store:
    """Wrapped environment keys, as the database keeps them."""

    def __init__(self) -> None:
        self.wrapped: dict[UUID, dict[int, bytes]] = {}

    async def environment_keys(self, environment_id: UUID) -> dict[int, bytes]:
        return self.wrapped.get(environment_id, {})


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def environment(store: Store) -> UUID:
    return await add_environment(store)


async def add_environment(store: Store) -> UUID:
    environment_id = uuid4()
    store.wrapped[environment_id] = {1: await keys(store).wrap_environment_key(environment_id)}
    return environment_id


def keys(store: Store, keyring: Any = None) -> DataKeys:
    document = keyring or {"primary": "k1", "keys": {"k1": SECRET}}
    return DataKeys(Keyring.parse(json.dumps(document)), store)


MISTAKES: list[Any] = [
    "",
    "not json",
    SECRET,
    [],
    {},
    {"keys": {"k1": SECRET}},
    {"primary": "k1"},
    {"primary": "k2", "keys": {"k1": SECRET}},
    {"primary": "k1", "keys": [SECRET]},
    {"primary": "k1", "keys": {"k1": SHORT}},
    {"primary": "k1", "keys": {"k1": SECRET + "!"}},
    {"primary": "k1", "keys": {"k1": 5, "k2": SECRET}},
    {"primary": "a b", "keys": {"a b": SECRET}},
    {"primary": "k1", "keys": {"k1": base64.b64encode(b"\0" * 32).decode()}},
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=range(len(MISTAKES)))
def test_a_keyring_that_is_none_is_refused_without_quoting_a_key(mistake: Any) -> None:
    text = mistake if isinstance(mistake, str) else json.dumps(mistake)
    with pytest.raises(KeyringError) as caught:
        Keyring.parse(text)
    said = str(caught.value) + repr(caught.value.__cause__)
    assert SECRET not in said
    assert SHORT not in said


@given(st.text(max_size=200))
def test_any_text_is_a_keyring_or_a_keyring_error(text: str) -> None:
    with pytest.raises(KeyringError):
        Keyring.parse(text)


def test_a_new_keyring_is_one_and_shows_no_key() -> None:
    first, second = new_keyring(), new_keyring()
    assert first != second
    key = json.loads(first)["keys"]["k1"]
    assert key not in repr(Keyring.parse(first))


async def test_a_data_key_opens_what_it_sealed_in_its_row_and_column(store: Store, environment: UUID) -> None:
    made = await keys(store).new(environment, "connections", b"row")
    envelope = made.seal("sealed_credentials", b"plain")
    # Another process, which has only what is stored.
    opened = await keys(store).open(environment, "connections", b"row", made.wrapped)
    assert opened.open("sealed_credentials", envelope) == b"plain"
    with pytest.raises(CredentialsUnreadable):
        opened.open("sealed_grant", envelope)
    assert b"plain" not in envelope


async def test_a_data_key_moved_to_another_place_does_not_open(store: Store, environment: UUID) -> None:
    made = await keys(store).new(environment, "connections", b"row")
    other = await add_environment(store)
    for place in (
        (environment, "connections", b"other"),
        (environment, "integrations", b"row"),
        (other, "connections", b"row"),
    ):
        with pytest.raises(CredentialsUnreadable):
            await keys(store).open(*place, made.wrapped)


async def test_envelopes_of_two_rows_cannot_be_swapped(store: Store, environment: UUID) -> None:
    manager = keys(store)
    one, two = [await manager.new(environment, "connections", row) for row in (b"one", b"two")]
    envelope = one.seal("sealed_credentials", b"plain")
    with pytest.raises(CredentialsUnreadable):
        two.open("sealed_credentials", envelope)
    mixed = DataKey(environment, "connections", b"two", one.wrapped, one._id, one._cipher)
    with pytest.raises(CredentialsUnreadable):
        mixed.open("sealed_credentials", envelope)


async def test_a_destroyed_environment_key_makes_everything_unreadable(store: Store, environment: UUID) -> None:
    made = await keys(store).new(environment, "connections", b"row")
    store.wrapped[environment] = {}
    with pytest.raises(CredentialsUnreadable):
        await keys(store).open(environment, "connections", b"row", made.wrapped)


async def test_a_rotated_keyring_opens_what_the_old_key_wrapped(store: Store, environment: UUID) -> None:
    made = await keys(store).new(environment, "connections", b"row")
    new = base64.b64encode(os.urandom(32)).decode()
    both = keys(store, {"primary": "k2", "keys": {"k1": SECRET, "k2": new}})
    await both.verify(environment)
    await both.open(environment, "connections", b"row", made.wrapped)
    without = keys(store, {"primary": "k2", "keys": {"k2": new}})
    with pytest.raises(KeyringError, match="k1"):
        await without.verify(environment)
    wrong = keys(store, {"primary": "k1", "keys": {"k1": new}})
    with pytest.raises(EnvelopeError):
        await wrong.verify(environment)


async def test_a_new_version_of_an_environment_key_wraps_and_the_old_one_still_opens(
    store: Store, environment: UUID
) -> None:
    old = await keys(store).new(environment, "connections", b"old")
    store.wrapped[environment][2] = await keys(store).wrap_environment_key(environment, 2)
    manager = keys(store)
    new = await manager.new(environment, "connections", b"new")
    assert old.wrapped[2:3] == b"1"
    assert new.wrapped[2:3] == b"2"
    await manager.open(environment, "connections", b"old", old.wrapped)


async def test_tokens_open_only_for_their_environment_and_purpose(store: Store, environment: UUID) -> None:
    manager = keys(store)
    token = await manager.seal_token(environment, "connections", b"position")
    assert token == await manager.seal_token(environment, "connections", b"position")
    assert await keys(store).open_token(environment, "connections", token) == b"position"
    other = await add_environment(store)
    with pytest.raises(ValueError, match="not sealed here"):
        await manager.open_token(environment, "integrations", token)
    with pytest.raises(ValueError, match="not sealed here"):
        await manager.open_token(other, "connections", token)
    for place in range(len(token)):
        damaged = bytearray(token)
        damaged[place] ^= 1
        with pytest.raises(ValueError, match="seal"):
            await manager.open_token(environment, "connections", bytes(damaged))
    for length in range(len(token)):
        with pytest.raises(ValueError, match="seal"):
            await manager.open_token(environment, "connections", token[:length])
