"""Which posts are too old: by the month of their index, and by their own times within it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.identity import index_month
from klingel_indexer.ageing import months, older_than
from klingel_indexer.convert import events_index

EARLIEST = datetime(2005, 1, 1, tzinfo=UTC)
CUTOFF = datetime(2026, 3, 10, 12, tzinfo=UTC)


def old(name, cutoff=CUTOFF, brand="nordlicht"):
    """Return how much of an index is too old; None where it is no index of posts."""
    found = list(months([name], "klingel-", {brand: cutoff}))
    return found[0].old if found else None


@pytest.mark.parametrize(
    ("month", "expected"),
    [
        ("2025.12", "all"),
        ("2026.02", "all"),
        ("2026.03", "old"),
        ("2026.04", "none"),
        ("undated", "old"),
    ],
)
def test_a_month_goes_whole_once_all_of_it_is_too_old(month, expected):
    assert old(f"klingel-events-nordlicht-{month}") == expected


def test_the_bound_itself_is_kept():
    first = datetime(2026, 3, 1, tzinfo=UTC)
    assert old("klingel-events-nordlicht-2026.02", first) == "all"
    assert old("klingel-events-nordlicht-2026.02", first - timedelta(microseconds=1)) == "old"
    assert old("klingel-events-nordlicht-2026.03", first) == "none"


@pytest.mark.parametrize(
    "name",
    [
        "klingel-cases-nordlicht",
        "klingel-events-nordlicht-2026.13",
        "klingel-events-nordlicht-0000.01",
        "klingel-events-nordlicht",
        "klingel-events-",
        "other-events-nordlicht-2020.01",
        "klingel-case-events-nordlicht-2020.01",
        "",
    ],
)
def test_what_is_no_index_of_posts_is_left_alone(name):
    assert old(name) is None


def test_no_brand_loses_posts_to_anothers_retention():
    """A brand may be named like the beginning of another; one without retention keeps all."""
    names = [f"klingel-events-{brand}-2025.01" for brand in ("nord", "nord-licht", "nord-2024.01")]
    found = {each.brand: each.old for each in months(names, "klingel-", {"nord": CUTOFF})}
    assert found == {"nord": "all", "nord-licht": "none", "nord-2024.01": "none"}


@given(
    st.timedeltas(timedelta(0), timedelta(days=9_000)).map(lambda since: EARLIEST + since),
    st.timedeltas(timedelta(minutes=-20), timedelta(days=2_000)),
    st.integers(1, 400),
)
def test_no_post_goes_with_its_month_before_its_time(received, age, days):
    """Whatever is deleted whole was published before the bound."""
    published = received - age
    now = received + timedelta(days=days)
    month = index_month(published, received)
    index = events_index("klingel-", "nordlicht", month)
    if old(index, now - timedelta(days=days)) == "all":
        assert published < now - timedelta(days=days)


def test_the_query_names_the_time_that_each_has():
    dated, undated = older_than(CUTOFF, undated=False), older_than(CUTOFF, undated=True)
    assert [list(each["range"]) for each in dated["bool"]["should"]] == [
        ["published_at"],
        ["deleted_at"],
    ]
    assert undated["bool"]["should"][0] == {"range": {"received_at": {"lt": CUTOFF.isoformat()}}}
