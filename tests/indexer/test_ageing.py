"""Which posts are too old: by the month of their index, and by their own times within it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.identity import index_month
from klingel_indexer.ageing import Cutoffs, age_documents, months, older_than
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


BOUND = datetime(2026, 6, 1, tzinfo=UTC)
OLD, NEW = "2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z"
DOCUMENTS = {
    "cases": [
        ({"state": "closed", "opened_at": OLD, "updated_at": OLD}, "gone"),
        ({"state": "merged", "opened_at": OLD, "updated_at": OLD}, "gone"),
        ({"state": "closed", "opened_at": OLD, "updated_at": NEW}, "stays"),
        ({"state": "open", "opened_at": OLD, "updated_at": OLD}, "stays"),
        ({"state": "snoozed", "opened_at": OLD, "updated_at": OLD}, "stays"),
    ],
    "case-events": [({"recorded_at": OLD}, "gone"), ({"recorded_at": NEW}, "stays")],
    "escalations": [({"recorded_at": OLD}, "gone"), ({"recorded_at": NEW}, "stays")],
    "alerts": [({"updated_at": OLD}, "gone"), ({"updated_at": NEW}, "stays")],
    "incidents": [({"updated_at": OLD}, "gone"), ({"updated_at": NEW}, "stays")],
}


@pytest.mark.servers
async def test_each_class_goes_by_the_time_that_ends_it(real_cluster):
    """An open case stays however old it is, and so does all of a brand that is not known."""
    client, prefix, brand = real_cluster.client, real_cluster.prefix, real_cluster.brand
    for kind, documents in DOCUMENTS.items():
        for number, (document, _) in enumerate(documents):
            for owner in (brand, f"{brand}-two"):
                await client.index(
                    index=f"{prefix}{kind}-{owner}", id=str(number), document=document
                )
    shared = f"{prefix}dead-letters"
    for number, at in enumerate((OLD, NEW)):
        await client.index(index=shared, id=f"{brand}{number}", document={"indexed_at": at})
    await client.indices.refresh(index=f"{prefix}*")
    late = datetime(2020, 1, 1, tzinfo=UTC)
    brands = {brand: Cutoffs(late, BOUND, BOUND)}
    others = {shared: ("indexed_at", BOUND)}

    async def held(owner: str) -> dict[str, set[str]]:
        await client.indices.refresh(index=f"{prefix}*")
        found = {}
        for kind in DOCUMENTS:
            answer = await client.search(index=f"{prefix}{kind}-{owner}", size=50)
            found[kind] = {hit["_id"] for hit in answer["hits"]["hits"]}
        return found

    before = await held(brand)
    for dry_run in (True, False):
        aged, left = await age_documents(client, prefix, brands, others, dry_run=dry_run)
        told = {each.name.removeprefix(prefix): each.documents for each in aged}
        assert told == {f"cases-{brand}": 2, "dead-letters": 1} | {
            f"{kind}-{brand}": 1 for kind in DOCUMENTS if kind != "cases"
        }
        assert {f"{prefix}{kind}-{brand}-two" for kind in DOCUMENTS} <= set(left)
        assert (await held(brand) == before) is dry_run
    stays = {
        kind: {str(number) for number, (_, what) in enumerate(each) if what == "stays"}
        for kind, each in DOCUMENTS.items()
    }
    assert await held(brand) == stays
    assert await held(f"{brand}-two") == before
    assert (await age_documents(client, prefix, brands, others, dry_run=False))[0] == []
