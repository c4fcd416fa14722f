"""When credentials are due, for any life, margin and jitter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.domain.lifetime import SHORT_LIFE_FRACTION, when_due
from server.domain.model import ProviderFacts

NOW = 1_800_000_000.0
LIVES = st.floats(1, 10 * 86400)
MARGINS = st.floats(0, 86400)
JITTERS = st.floats(0, 1)


@given(st.none() | st.floats(NOW - 1e6, NOW + 1e6), JITTERS)
def test_what_cannot_be_refreshed_is_never_due(expires_at: float | None, jitter: float) -> None:
    facts = ProviderFacts(idle_refresh_after=5.0)
    due = when_due(expires_at=expires_at, refreshable=False, facts=facts, now=NOW, jitter=jitter)
    assert (due.refresh_due_at, due.next_refresh_at) == (None, None)


@given(LIVES, MARGINS, JITTERS)
def test_a_new_token_is_due_before_it_ends_and_after_most_of_its_life(
    life: float, margin: float, jitter: float
) -> None:
    due = when_due(
        expires_at=NOW + life,
        refreshable=True,
        facts=ProviderFacts(),
        now=NOW,
        jitter=jitter,
        lifetime=life,
        margin=margin,
    )
    assert due.refresh_due_at is not None
    assert due.next_refresh_at is not None
    assert due.refresh_due_at <= NOW + life
    assert due.refresh_due_at >= NOW + life * (1 - SHORT_LIFE_FRACTION) - 1e-3
    # The service is ahead of the readers, and never in the past.
    assert NOW <= due.next_refresh_at <= due.refresh_due_at


@given(LIVES, MARGINS, MARGINS, JITTERS)
def test_a_template_s_margin_wins(life: float, margin: float, template: float, jitter: float) -> None:
    facts = ProviderFacts(refresh_margin=template)
    due = when_due(expires_at=NOW + life, refreshable=True, facts=facts, now=NOW, jitter=jitter, margin=margin)
    assert due.refresh_due_at == NOW + life - template


@given(JITTERS, st.floats(60, 1e7))
def test_an_idle_refresh_token_is_used_in_time(jitter: float, idle: float) -> None:
    facts = ProviderFacts(idle_refresh_after=idle)
    eternal = when_due(expires_at=None, refreshable=True, facts=facts, now=NOW, jitter=jitter)
    assert eternal.refresh_due_at is None
    assert eternal.next_refresh_at is not None
    assert NOW < eternal.next_refresh_at <= NOW + idle
    long = when_due(expires_at=NOW + 1e9, refreshable=True, facts=facts, now=NOW, jitter=jitter)
    assert long.next_refresh_at is not None
    assert long.next_refresh_at <= NOW + idle


def test_jitter_spreads() -> None:
    times = {
        when_due(
            expires_at=NOW + 86400, refreshable=True, facts=ProviderFacts(), now=NOW, jitter=step / 10
        ).next_refresh_at
        for step in range(10)
    }
    assert len(times) == 10
