"""Identity: the forms of ids, their bounds, and the index that a post goes to for ever."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from klingel.domain import identity
from klingel.domain.draft import SocialDraft
from klingel.domain.identity import content_hash, hash64, index_month
from klingel.model.social_event import Author, Media

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_the_forms_of_ids() -> None:
    """Design section 5, letter by letter."""
    thing = identity.object_id("bluesky", "network", "at://did:plc:x/app.bsky.feed.post/3k")
    assert thing == "bluesky:network:at://did:plc:x/app.bsky.feed.post/3k"
    assert identity.event_id(thing, 7) == f"{thing}@7"
    assert identity.event_id(thing, 7, "nordlicht") == f"nordlicht/{thing}@7"
    assert identity.case_id("nordlicht", thing, "x:anna", 2) == f"nordlicht:{thing}:x:anna#2"


def test_an_ordinary_id_with_colons_stays_as_it_is_in_a_case_id() -> None:
    thing, customer = "bluesky:app.bsky.feed.post:did:plc:abc/1", "bluesky:did:plc:xyz"
    assert identity.case_id("nordlicht", thing, customer, 1) == f"nordlicht:{thing}:{customer}#1"


_hostile = st.text(st.sampled_from("x:%3A25#9"), min_size=1, max_size=8)


@given(st.tuples(_hostile, _hostile), st.tuples(_hostile, _hostile))
@example(("1", "9:x:2"), ("1:x:9", "2"))
@example(("1", "x:5"), ("1:x", "5"))
@example(("1", "9%3Ax%3A2"), ("1", "9:x:2"))
def test_two_cases_never_share_an_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = (
        identity.case_id("nordlicht", f"x:s:{conversation}", f"x:{customer}", 1)
        for conversation, customer in (one, other)
    )
    assert (first == second) == (one == other)


_LONGEST = st.sampled_from(["%" * 512, "x:" * 256, ":x:" * 170, "\u00e9" * 384, "a" * 768])
_CONVERSATIONS = st.sampled_from(["\U0001f514" * 1024, "%" * 1024, "c:x:" * 256, "c" * 768, "c"])


@given(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,59}", fullmatch=True) | st.just("b" * 60),
    _CONVERSATIONS | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024),
    _LONGEST | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512),
    st.integers(0, 2**31),
)
def test_a_case_id_is_never_longer_than_its_bound(
    brand: str, conversation: str, customer: str, generation: int
) -> None:
    """A record whose id is longer than its schema allows could be written, and never read back."""
    found = identity.case_id(brand, f"x:{conversation}", f"x:{customer}", generation)
    assert len(found.encode()) <= identity.CASE_ID_BYTES
    assert found.startswith(f"{brand}:")
    assert found.endswith(f"#{generation}")


_LONG = st.sampled_from(["a" * 500, "a" * 499 + "b", "%" * 300, "%" * 299 + ":", "\u00e9" * 300])


@given(
    st.tuples(_LONG, _LONG, st.integers(1, 2)),
    st.tuples(_LONG, _LONG, st.integers(1, 2)),
)
def test_two_cases_never_share_a_shortened_id(
    one: tuple[str, str, int], other: tuple[str, str, int]
) -> None:
    """Nor does anybody whose native id looks like a shortened one."""
    first, second = (
        identity.case_id("nordlicht", f"x:s:{conversation}", f"x:{customer}", generation)
        for conversation, customer, generation in (one, other)
    )
    assert (first == second) == (one == other)
    shortened = first.split(":x:")[-1].rpartition("#")[0]
    if shortened.startswith("%~"):
        assert identity.case_id("nordlicht", f"x:s:{one[0]}", f"x:{shortened}", one[2]) != first


def test_only_the_part_that_is_too_long_is_shortened() -> None:
    thing = "x:s:" + "c" * 700
    found = identity.case_id("nordlicht", thing, "x:" + "a" * 500, 1)
    assert found.startswith(f"nordlicht:{thing}:x:%~")
    kept = identity.case_id("nordlicht", thing, "x:" + "a" * 100, 1)
    assert kept == f"nordlicht:{thing}:x:{'a' * 100}#1"


def test_bounds_of_revisions_and_versions() -> None:
    """A deletion without a revision is the greatest; a document version fits 63 bits."""
    assert identity.DELETED_WITHOUT_REVISION == identity.REVISION_MAX == 2**42 - 1
    greatest = identity.document_version(identity.REVISION_MAX, 2**20 - 1)
    assert greatest == 2**62 - 1
    assert identity.document_version(1, 0) > identity.document_version(0, 2**20 - 1)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_hashes_are_deterministic_and_of_fixed_length(parts: list[str]) -> None:
    """Lone surrogates and NULs included."""
    assert hash64(*parts) == hash64(*parts)
    assert len(hash64(*parts)) == 16
    assert len(identity.deterministic_id(*parts)) == 32
    assert identity.hash64_bytes(parts[0]).hex() == hash64(parts[0])


def test_the_cut_of_parts_matters() -> None:
    """(ab, c) is not (a, bc)."""
    assert hash64("ab", "c") != hash64("a", "bc")


def test_a_lone_surrogate_has_a_hash() -> None:
    """Hostile text must not raise here."""
    assert len(hash64("\ud800")) == 16


def draft(**fields) -> SocialDraft:
    """Build a draft."""
    return SocialDraft(**{"mapping": "x/1", "kind": "post", "change": "created", **fields})


def test_content_is_what_was_said() -> None:
    """Text, kind, media, references and deletion count."""
    said = draft(text="a", media=(Media(kind="image", id="m"),), in_reply_to="p")
    for other in (
        draft(text="b", media=said.media, in_reply_to="p"),
        draft(text="a", in_reply_to="p"),
        draft(text="a", media=said.media),
        draft(text="a", media=said.media, in_reply_to="p", kind="reply"),
        draft(text="a", media=said.media, in_reply_to="p", change="deleted"),
        draft(text="a", media=said.media, quotes="p"),
        draft(text="a", media=said.media, reposts="p"),
    ):
        assert content_hash(other) != content_hash(said)


def test_content_is_not_what_differs_from_fetch_to_fetch() -> None:
    """Metrics, profile, order of media, created or updated."""
    one, two = Media(kind="image", id="1"), Media(kind="image", id="2")
    said = draft(text="a", media=(one, two), author=Author(id="x"))
    again = draft(
        text="a",
        media=(two, one),
        author=Author(id="x", name="X", followers=7),
        metrics={"likes": 1},
        change="updated",
    )
    assert content_hash(again) == content_hash(said)


def test_media_without_an_id_are_told_by_their_address_without_its_signature() -> None:
    """A signed address is another one with every fetch."""
    first = Media(kind="image", url="https://cdn.example/a.jpg?sig=1&exp=2")
    later = Media(kind="image", url="https://cdn.example/a.jpg?sig=9&exp=9")
    other = Media(kind="image", url="https://cdn.example/b.jpg?sig=1&exp=2")
    assert content_hash(draft(media=(first,))) == content_hash(draft(media=(later,)))
    assert content_hash(draft(media=(first,))) != content_hash(draft(media=(other,)))


@pytest.mark.parametrize(
    ("published", "month"),
    [
        (NOON, "2026.03"),
        (NOON + timedelta(minutes=10), "2026.03"),
        (NOON + timedelta(minutes=10, seconds=1), "undated"),
        (datetime(2006, 1, 1, tzinfo=UTC), "2006.01"),
        (datetime(2005, 12, 31, 23, 59, 59, tzinfo=UTC), "undated"),
        (datetime(1, 1, 1, tzinfo=UTC), "undated"),
        (datetime(9999, 12, 31, tzinfo=UTC), "undated"),
        (datetime(2026, 2, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2026.01"),
        (None, "undated"),
    ],
)
def test_the_index_of_a_publication(published: datetime | None, month: str) -> None:
    """The month in UTC, as far as it can be believed."""
    assert index_month(published, NOON) == month
