"""Envelopes open with their key at their place, and else not at all."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from server.crypto.envelope import EnvelopeError, associated_data, key_id_of, seal, unseal

CIPHER = AESGCM(bytes(range(32)))
PLACES = st.tuples(st.uuids(), st.text(max_size=8), st.binary(max_size=8), st.text(max_size=8))
KEY_IDS = st.binary(max_size=64)


def open_with_k1(envelope: bytes, place: bytes) -> bytes:
    """Open an envelope as its users do: they look for the key that it names first."""
    if key_id_of(envelope) != b"k1":
        raise EnvelopeError("another key")
    return unseal(CIPHER, envelope, place)


def place_of(parts: tuple[UUID, str, bytes, str]) -> bytes:
    return associated_data(*parts)


@given(st.binary(max_size=200), KEY_IDS, PLACES)
def test_what_was_sealed_opens_at_its_place(plain: bytes, key_id: bytes, parts: tuple[UUID, str, bytes, str]) -> None:
    envelope = seal(CIPHER, key_id, plain, place_of(parts))
    assert key_id_of(envelope) == key_id
    assert unseal(CIPHER, envelope, place_of(parts)) == plain
    assert seal(CIPHER, key_id, plain, place_of(parts)) != envelope


@given(st.binary(min_size=1, max_size=60), PLACES, st.data())
def test_any_bit_that_flips_keeps_it_shut(
    plain: bytes, parts: tuple[UUID, str, bytes, str], data: st.DataObject
) -> None:
    envelope = bytearray(seal(CIPHER, b"k1", plain, place_of(parts)))
    bit = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    damaged = bytes(envelope)
    with pytest.raises(EnvelopeError):
        open_with_k1(damaged, place_of(parts))


@given(st.binary(max_size=60), PLACES, PLACES)
def test_it_does_not_open_anywhere_else(
    plain: bytes, parts: tuple[UUID, str, bytes, str], others: tuple[UUID, str, bytes, str]
) -> None:
    assume(parts != others)
    envelope = seal(CIPHER, b"k1", plain, place_of(parts))
    with pytest.raises(EnvelopeError):
        unseal(CIPHER, envelope, place_of(others))


@given(st.uuids(), st.text(max_size=5), st.text(max_size=5), st.binary(max_size=5))
def test_no_two_places_share_a_value(environment: UUID, table: str, column: str, row: bytes) -> None:
    # Letters moved from one part to the next make another place.
    assert associated_data(environment, table + "x", row, column) != associated_data(
        environment, table, b"x" + row, column
    )
    assert associated_data(environment, table, row + b"y", column) != associated_data(
        environment, table, row, "y" + column
    )


@given(st.binary(max_size=64))
def test_bytes_that_are_no_envelope_are_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        open_with_k1(data, b"")


@given(st.binary(min_size=8, max_size=40))
def test_another_key_does_not_open_it_and_nothing_is_quoted(plain: bytes) -> None:
    envelope = seal(AESGCM(b"\1" * 32), b"k1", plain, b"place")
    with pytest.raises(EnvelopeError) as caught:
        unseal(CIPHER, envelope, b"place")
    assert repr(plain)[2:-1] not in str(caught.value)
