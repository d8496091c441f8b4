"""Credential states and spending: pure."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel_connectors import costs
from klingel_connectors.costs import Meter
from klingel_connectors.credentials import Standing, standing, worst
from klingel_networks.arrival import Credential

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "state", "days"),
    [
        (None, "none", None),
        (Credential(), "ok", None),
        (Credential(expires_at=NOW + timedelta(days=60)), "ok", 60),
        (Credential(expires_at=NOW + timedelta(days=5)), "expiring", 5),
        (Credential(expires_at=NOW - timedelta(days=1)), "revoked", 0),
        (Credential(refresh_failed=True), "refresh_failed", None),
        (
            Credential(expires_at=NOW + timedelta(days=2), refresh_failed=True),
            "refresh_failed",
            2,
        ),
        (Credential(revoked=True, refresh_failed=True), "revoked", None),
    ],
)
def test_a_credential_stands_as_its_worst_news(told, state, days):
    found = standing(told, NOW)
    assert (found.state, found.days) == (state, days)
    assert bool(found.sentence) == (state not in {"none", "ok"})


@given(
    st.integers(-100, 1000),
    st.integers(0, 200),
    st.booleans(),
)
def test_time_alone_never_mends_a_credential(hours, later, refresh_failed):
    """As time passes a credential goes from ok over expiring to revoked, never back."""
    told = Credential(expires_at=NOW + timedelta(hours=hours), refresh_failed=refresh_failed)
    order = ["ok", "expiring", "refresh_failed", "revoked"]
    now = standing(told, NOW)
    then = standing(told, NOW + timedelta(hours=later))
    assert order.index(then.state) >= order.index(now.state)
    assert then.days <= now.days


def test_the_worst_of_many_counts_and_among_equals_the_first_to_end():
    assert worst([], "ok") == Standing("ok")
    some = [Standing("ok"), Standing("expiring", 5), Standing("expiring", 2), Standing("none")]
    assert worst(some) == Standing("expiring", 2)
    assert worst([*some, Standing("revoked")]).state == "revoked"


@given(
    st.lists(
        st.tuples(
            st.text(max_size=100),
            st.floats() | st.floats(0, 1e6),
            st.integers(0, 40 * 86_400),
        ),
        max_size=40,
    )
)
def test_spending_adds_up_within_a_month(moves):
    """The items are the whole; nothing is negative; a new month begins at nothing."""
    meter, now = Meter("2026-11", budget=1000.0), NOW
    for item, units, seconds in moves:
        now += timedelta(seconds=seconds)
        month = meter.month
        after = costs.spend(meter, item, units, now)
        if after.month == month:
            assert after.units >= meter.units
        meter = after
        assert meter.units == pytest.approx(sum(meter.items.values()))
        assert 0 <= costs.left(meter, now) <= 1000
        told = costs.told(meter, now)
        assert codec.encode(told)
        assert sum((told.items or {}).values()) == pytest.approx(told.units)


def test_what_others_spend_is_missing_and_added_where_it_is_ours():
    """What is left is never below nothing; without a budget there is nothing to say."""
    meter = Meter("2026-11", units=70.0, items={"a": 70.0}, budget=100)
    assert costs.left(meter, NOW) == 30
    assert costs.left(meter, NOW, 20.0) == 10
    assert costs.left(meter, NOW, 95.0) == 0
    assert costs.left(Meter("2026-11"), NOW, 5.0) is None
    assert costs.told(Meter("2026-11"), NOW) is None
    both = costs.added(meter, 5.0, {"a": 4.0, "b": 1.0})
    assert (both.units, both.items) == (75.0, {"a": 74.0, "b": 1.0})
