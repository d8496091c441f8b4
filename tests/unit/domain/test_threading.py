"""Where an object belongs whose parent alone is named."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.threading import (
    WAIT,
    Placed,
    goes_on_in,
    merge,
    place,
    source_instance,
    waits_until,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("object_id", "wanted"),
    [
        ("webhook:forum:t:1", "webhook:forum"),
        ("bluesky:network:at://did:plc:a/b/c", "bluesky:network"),
        ("odd", "odd:"),
    ],
)
def test_all_objects_of_a_source_share_its_instance(object_id: str, wanted: str) -> None:
    assert source_instance(object_id) == wanted


@pytest.mark.parametrize(
    ("parent", "ahead", "wanted"),
    [
        (None, {}, Placed("o", sure=True)),
        ("o", {}, Placed("o", sure=True)),
        ("unknown", {}, Placed("unknown", sure=False)),
        ("known", {}, Placed("root", sure=True)),
        ("a", {"a": "known"}, Placed("root", sure=True)),
        ("a", {"a": "b", "b": "known"}, Placed("root", sure=True)),
        ("a", {"a": "b", "b": "unknown"}, Placed("unknown", sure=False)),
        ("a", {"a": None}, Placed("a", sure=True)),
        ("a", {"a": "b", "b": "a"}, Placed("a", sure=True)),
        ("a", {"a": "o"}, Placed("o", sure=True)),
    ],
)
def test_place(parent: str | None, ahead: dict[str, str | None], wanted: Placed) -> None:
    links = {"known": "part", "part": "root", "root": "root"}
    assert place("o", parent, links.get, ahead) == wanted


def test_a_walk_is_bounded() -> None:
    """Whatever a source sends: a chain without end ends somewhere on it."""
    chain = {str(number): str(number + 1) for number in range(100_000)}
    assert int(goes_on_in("0", chain.get)) == 1000
    assert place("o", "0", lambda _: None, chain) == Placed("1000", sure=False)
    circle = {"a": "b", "b": "a"}
    assert goes_on_in("a", circle.get) in circle


@pytest.mark.parametrize(
    ("mode", "received", "waits"),
    [
        ("live", timedelta(0), True),
        ("gap_fill", timedelta(seconds=-4.9), True),
        ("live", -WAIT, False),
        ("live", timedelta(seconds=4), True),
        ("live", timedelta(seconds=6), False),
        ("backfill", timedelta(0), False),
        ("remap", timedelta(0), False),
    ],
)
def test_only_what_is_fresh_waits(mode: str, received: timedelta, waits: bool) -> None:
    received_at = NOON + received
    assert waits_until(mode, received_at, NOON) == (received_at + WAIT if waits else None)


def test_a_merge_has_the_same_id_whatever_noticed_it() -> None:
    one = merge("nordlicht", "part", "root", "a@0", NOON)
    two = merge("nordlicht", "part", "root", "b@0", NOON + timedelta(hours=1))
    assert one.command_id == two.command_id
    assert one.command_id != merge("nordlicht", "part", "other", "a@0", NOON).command_id
    assert one.command_id != merge("kuestenstrom", "part", "root", "a@0", NOON).command_id


@given(st.lists(st.integers(-2, 30), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_groups_are_those_of_the_parents(parents: list[int], chance: random.Random) -> None:
    """Also where objects answer each other in a circle, and answer what never comes.

    Object n answers parents[n]: another one, itself, one that never comes, or (below 0) none.
    """
    edges = {str(at): None if up < 0 else str(up) for at, up in enumerate(parents)}
    order = list(edges)
    chance.shuffle(order)
    links: dict[str, str] = {}
    for at, name in enumerate(order):
        ahead = {each: edges[each] for each in order[at + 1 : at + chance.randint(1, 6)]}
        named = links.get(name)
        conversation = place(name, edges[name], links.get, ahead).conversation
        links[name] = conversation
        if conversation != name:
            links.setdefault(conversation, conversation)
        assert named in {None, name}
    found = defaultdict(set)
    for name in order:
        found[goes_on_in(links[name], links.get)].add(name)
    assert {frozenset(each) for each in found.values()} == _components(edges)


def _components(edges: dict[str, str | None]) -> set[frozenset[str]]:
    """Return the objects that hang together by their parents, by painting until nothing changes."""
    colour = {name: name for pair in edges.items() for name in pair if name is not None}
    changed = True
    while changed:
        changed = False
        for name, parent in edges.items():
            if parent is not None and colour[name] != colour[parent]:
                colour[name] = colour[parent] = min(colour[name], colour[parent])
                changed = True
    groups = defaultdict(set)
    for name in edges:
        groups[colour[name]].add(name)
    return {frozenset(each) for each in groups.values()}
