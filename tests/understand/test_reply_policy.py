"""Whether a program may reply on X: said of each event, for each brand by its own accounts."""

import json
from typing import Any

import pytest

from ..ringing import brand
from .test_lone_ids import Counter

FIRST = 1_900_000_000_000_000_001


def post(counter: Counter, number: int, *mentions: str, **more: Any) -> list[Any]:
    """Ring with a post; return what both brands heard of it."""
    marks = [{"start": 0, "end": 1, "username": f"n{each}", "id": each} for each in mentions]
    told = {"id": str(FIRST + number), "text": "hallo nordlicht und kuestenstrom"}
    told |= {"author_id": "7", "entities": {"mentions": marks}}
    includes = more.pop("includes", {})
    counter.rings("x", json.dumps({"data": told | more, "includes": includes}).encode())
    object_id = f"x:network:{FIRST + number}"
    return [each for each in counter.social() if each.object_id == object_id]


@pytest.fixture
def counter() -> Counter:
    """Two brands; 99 is the first one's account, 98 the second one's."""
    found = Counter()
    found.brands["kuestenstrom"] = brand("kuestenstrom", accounts=[{"network": "x", "id": "98"}])
    return found


def policies(events: list[Any]) -> dict[str, str | None]:
    """Return the policy by brand."""
    return {each.brand: each.reply.policy for each in events}


def test_who_names_a_brand_has_summoned_that_brand_alone(counter: Counter) -> None:
    assert policies(post(counter, 1, "99")) == {
        "nordlicht": "summoned",
        "kuestenstrom": "unsummoned",
    }
    assert policies(post(counter, 2)) == {"nordlicht": "unsummoned", "kuestenstrom": "unsummoned"}


@pytest.mark.parametrize(
    ("author", "policy"), [("99", "summoned"), ("5", "unsummoned"), (None, "unknown")]
)
def test_who_quotes_a_brand_has_summoned_it(
    counter: Counter, author: str | None, policy: str
) -> None:
    """Where X tells whose post is quoted; else nobody knows."""
    quoted = {"id": "1800000000000000001", "text": "x"}
    quoted |= {"author_id": author} if author else {}
    found = post(
        counter,
        3,
        referenced_tweets=[{"type": "quoted", "id": quoted["id"]}],
        includes={"tweets": [quoted]},
    )
    assert policies(found)["nordlicht"] == policy


def test_nobody_replies_to_the_brands_own_post(counter: Counter) -> None:
    assert policies(post(counter, 4, author_id="99"))["nordlicht"] is None


def test_a_network_without_such_a_rule_says_nothing(counter: Counter) -> None:
    counter.mail("anna@kunde.example", "1@kunde.example")
    assert {each.reply.policy for each in counter.social()} == {None}
