"""What many small brands store together: nothing is lost, nothing is told anew, nothing piles up."""

import random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import WatchState
from klingel.model.brand_signals import Signal
from klingel.stage.fates import Fate
from klingel.testing.conversations import compiled_brand
from klingel_processors.watch import logic, memory, shared

from .conftest import ALERTS, Post, in_order, ringing, row, told, usual

SEED: Final = 20261123
BRANDS: Final = tuple(f"brand-{number}" for number in range(12))


def of_many(rows: list[Signal]) -> list[tuple[str, Signal]]:
    """Return rows of several brands: what rings is the first one's, the rest is anybody's."""
    chance = random.Random(SEED)
    found = []
    for each in rows:
        brand = BRANDS[0] if ":network:r" in each.event_id else chance.choice(BRANDS)
        found.append((brand, replace(each, event_id=each.event_id.replace("nordlicht", brand))))
    return found


ROWS: Final = of_many(in_order([*usual(6, 40), *ringing(5.5 * 60)]))


def worker() -> Post:
    """Return a worker of many brands."""
    post = Post()
    post.brands = {
        name: compiled_brand(brand=name, name=name.title(), alerts=ALERTS) for name in BRANDS
    }
    return post


def decide(post: Post, rows: list[tuple[str, Signal]]) -> list[Fate]:
    """Let a worker decide rows as one batch, each a record."""
    for brand, each in rows:
        post.broker.append(told([each], brand), int(each.received_at.timestamp() * 1000))
        post.now = max(post.now, each.received_at)
    return [each.fate for each in post.stage.drain(1_000)]


def stored(post: Post, kind: str) -> list[WatchState]:
    """Return the pieces of a kind, as compaction leaves them."""
    values = post.broker.compacted(Topic.WATCH_STATE).values()
    return [each for each in (codec.decode(WatchState, v) for v in values) if each.kind == kind]


def said_alone() -> list[tuple[str, bytes | None, bytes | None]]:
    """Return what a worker says that never shares a batch and is never replaced."""
    post = worker()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logic, "LEAST_BRANDS", 1_000)
        decide(post, ROWS)
    assert not stored(post, "batch")
    assert post.incidents()
    return post.said()


ALONE: list[list[tuple[str, bytes | None, bytes | None]]] = []


@settings(max_examples=4)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
    st.sets(st.integers(0, 12)),
    st.sets(st.integers(0, 12)),
    st.sampled_from([300, 3_000, 8_000_000]),
    st.sampled_from([300, 2_000, 16_384]),
)
def test_batches_and_restarts_change_nothing(
    cuts: list[int], restarts: set[int], alone: set[int], most: int, own: int
) -> None:
    """Nor what earlier versions wrote, which was never shared."""
    if not ALONE:
        ALONE.append(said_alone())
    post, at, number = worker(), 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "MOST_BYTES", most)
        patch.setattr(memory, "OWN_BYTES", own)
        while at < len(ROWS):
            size = cuts[number % len(cuts)] * 4
            patch.setattr(logic, "LEAST_BRANDS", 1_000 if number in alone else 2)
            decide(post, ROWS[at : at + size])
            at, number = at + size, number + 1
            if number in restarts:
                post.stage.restart()
    assert sorted(post.said()) == sorted(ALONE[0])
    tables = post.stage.tables()["state"]._values
    assert set(tables) == set(post.broker.compacted(Topic.WATCH_STATE))


def one_each(name: str, minute: float) -> list[tuple[str, Signal]]:
    """Return a row of each brand."""
    return [(brand, row(f"{name}{brand}", minute, f"no signal {name}")) for brand in BRANDS]


def test_a_batch_is_a_record_and_is_removed_when_all_have_stored_their_own() -> None:
    post = worker()
    decide(post, one_each("a", 10))
    assert len(stored(post, "snapshot")) == len(BRANDS)
    decide(post, one_each("b", 20))
    (batch,) = stored(post, "batch")
    assert batch.key == f"r|{batch.number:010}"
    assert not stored(post, "rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "OWN_BYTES", 1)
        decide(post, one_each("c", 30))
    assert not stored(post, "batch")
    assert sorted(each.brand for each in stored(post, "rows")) == sorted(BRANDS)
    post.stage.restart()
    assert set(decide(post, [*one_each("b", 20), *one_each("c", 30)])) == {Fate.REPEATED}


def test_batches_are_bounded_and_who_waits_longest_stores_what_is_his() -> None:
    """Also a brand that is none any more: what it said is known when it is one again."""
    post, gone = worker(), BRANDS[5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "MOST_BYTES", 2_500)
        decide(post, one_each("a", 1))
        decide(post, one_each("b", 2))
        brand = post.brands.pop(gone)
        post.stage.restart()
        for minute in range(3, 33):
            rows = [each for each in one_each(f"c{minute}", minute) if each[0] != gone]
            decide(post, rows)
            assert sum(len(each.data) for each in stored(post, "batch")) <= 2_500
        assert gone in {each.brand for each in stored(post, "rows")}
        post.brands[gone] = brand
        post.stage.restart()
        its = [each for each in one_each("b", 2) if each[0] == gone]
        assert decide(post, its) == [Fate.REPEATED]


def test_time_that_passes_is_shared_as_well() -> None:
    post = worker()
    decide(post, one_each("a", 10))
    decide(post, one_each("b", 20))
    before = len(post.written(Topic.WATCH_STATE))
    post.pass_time(22)
    (batch,) = post.written(Topic.WATCH_STATE)[before:]
    newest = max(each.number for each in stored(post, "batch"))
    assert batch.key == f"r|{newest:010}".encode()
    post.pass_time(23)
    assert len(post.written(Topic.WATCH_STATE)) == before + 1  # nobody waits for anything


def test_a_snapshot_that_no_record_holds_is_left_and_the_rows_stay() -> None:
    post = worker()
    with pytest.MonkeyPatch.context() as patch:
        decide(post, ROWS[:60])
        patch.setattr(memory, "SNAPSHOT_MOST", 10)
        decide(post, ROWS[60:])
        assert stored(post, "rows")
        post.stage.restart()
        assert set(decide(post, ROWS[-30:])) == {Fate.REPEATED}


def test_rows_of_more_than_a_record_holds_are_several_pieces() -> None:
    post = worker()
    decide(post, ROWS[:60])
    rows = [(BRANDS[1], row(f"long{n}", 45 + n / 100, text="x" * 280)) for n in range(40)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "ROWS_BYTES", 2_000)
        decide(post, rows)
    pieces = [each for each in stored(post, "rows") if each.brand == BRANDS[1]]
    assert len(pieces) > 4
    post.stage.restart()
    assert set(decide(post, rows)) == {Fate.REPEATED}
