"""A post's document keeps the case that it was decided for; by `merged_into` it is that case's."""

import json
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import pytest

from klingel.contracts.topics import Topic
from klingel.domain.identity import hash64
from klingel.testing.conversations import ROOT, answered, compiled_brand, said
from klingel_indexer.convert import Write, convert

from .conftest import Desk
from .test_merges import PART, THIRD, case_in, merge, merge_case, objects

BRAND = compiled_brand(cases={"close_when": "never"}, sla=[{"id": "all", "first_response": "90d"}])
AT = "2026-11-22T12:00:00.000Z"

Documents = list[dict[str, Any]]
Step = Callable[[Desk], object]


def indexed(desk: Desk, topic: Topic) -> Documents:
    """Return the documents that an index holds of a topic: of each the highest version."""
    held: dict[tuple[str, str], Write] = {}
    for message in desk.written(topic):
        write = convert(message, "klingel-", AT)
        if isinstance(write, Write):
            known = held.get((write.index, write.id))
            if known is None or known.version < write.version:
                held[write.index, write.id] = write
    return [json.loads(write.body) for write in held.values() if write.body is not None]


def gone_into(cases: Documents, case: dict[str, Any]) -> set[str]:
    """Return ids of a case and of all that went on in it: the two queries of the documentation."""
    found = {case["case_id"]: case}
    left = [case]
    while left:
        into = left.pop()
        for other in cases:
            names = other.get("merged_into")
            same_person = other["customer_id"] == into["customer_id"]
            goes_on = names == into["case_id"] or (names == into["conversation_id"] and same_person)
            if goes_on and other["case_id"] not in found:
                found[other["case_id"]] = other
                left.append(other)
    return set(found)


def posts_of(desk: Desk, case_id: str) -> set[str]:
    """Return object ids of the posts that belong to a case, by its documents alone."""
    cases = indexed(desk, Topic.CASES)
    case = next(each for each in cases if each["case_id"] == case_id)
    own = gone_into(cases, case)
    posts = indexed(desk, Topic.ROUTED_EVENTS)
    return {post["object_id"] for post in posts if post.get("case_id") in own}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_whatever_comes_first_the_posts_of_a_case_are_found(order: Sequence[int]) -> None:
    """Two conversations that are parts of a third, and words before and after that shows."""
    desk = Desk(BRAND)
    steps: list[Step] = [
        lambda desk: desk.hear(said("1", minute=5, conversation=THIRD)),
        lambda desk: merge(desk, THIRD, PART),
        lambda desk: merge(desk, PART, ROOT),
        lambda desk: desk.hear(said("2", minute=6, conversation=PART)),
    ]
    for place in order:
        steps[place](desk)
    desk.hear(said("3", minute=7, conversation=ROOT))
    desk.hear(said("4", minute=8, conversation=THIRD))
    desk.hear(answered("5", 9, in_reply_to="4", conversation=THIRD))
    desk.hear(said("6", "bert", 10, conversation=ROOT))
    desk.stage.drain()
    case = case_in(desk, ROOT)
    found = posts_of(desk, case.case_id)
    assert found == {f"bluesky:network:{name}" for name in "12345"}
    assert {hash64(each) for each in found} == objects(case)


def test_the_case_of_another_that_a_person_merged_is_found_with_it() -> None:
    desk = Desk(BRAND)
    desk.hear(said("1", minute=5, conversation=PART))
    desk.hear(said("2", "bert", 6))
    merge_case(desk, PART, "anna", ROOT, "bert")
    desk.stage.drain()
    lost, kept = case_in(desk, PART, "anna"), case_in(desk, ROOT, "bert")
    if kept.state == "merged":
        lost, kept = kept, lost
    assert lost.merged_into == kept.case_id
    assert posts_of(desk, kept.case_id) == {"bluesky:network:1", "bluesky:network:2"}
