"""Several posts of one person in quick succession: one utterance."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from klingel.config.compiled import CompiledBrand
from klingel.model.social_event import Enrichment, Intent, Signature, SocialEvent
from klingel.testing.conversations import NOON, ROOT, answered, compiled_brand, deleted, said

from .conftest import Desk


def brand(seconds: int = 180) -> CompiledBrand:
    """Return a brand whose customers need no answer to a greeting alone."""
    return compiled_brand(
        triage={"utterance_seconds": seconds, "needs_no_answer": ["other"]},
        sla=[{"id": "all", "first_response": "60m"}],
        cases={"close_when": "never"},
    )


def greeting(name: str, minute: float, author: str = "anna", **parts: Any) -> SocialEvent:
    """Build a post that asks nothing."""
    event = said(name, author, minute, text="good morning", **parts)
    return replace(event, enrichment=Enrichment(intents=[Intent(name="other", score=0.9)]))


def names(desk: Desk, customer: str = "anna") -> list[int]:
    """Return at which minutes the words of a case were said."""
    return [(fact.at - NOON) // timedelta(minutes=1) for fact in desk.case(customer).facts]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_what_was_said_just_before_the_opener_belongs_to_the_case(order: tuple[int, ...]) -> None:
    desk = Desk(brand())
    posts = [greeting("1", 0), greeting("2", 2), said("3", minute=4)]
    for place in order:
        desk.hear(posts[place])
    assert names(desk) == [0, 2, 4]
    assert desk.case().opened_at == NOON + timedelta(minutes=4)
    assert (desk.case().clocks or ())[0].started_at == NOON + timedelta(minutes=4)
    desk.stage.restart()
    desk.hear(said("4", minute=30))
    assert names(desk) == [0, 2, 4, 30]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(answered("b", 1, in_reply_to="1"), id="the brand answered"),
        pytest.param(deleted("1", 1), id="it was deleted"),
    ],
)
def test_an_utterance_is_parted(between: SocialEvent) -> None:
    desk = Desk(brand())
    for event in (greeting("1", 0), between, said("3", minute=2)):
        desk.hear(event)
    assert names(desk) == [2]


def test_what_another_says_in_between_parts_nobodys_utterance() -> None:
    desk = Desk(brand())
    for event in (greeting("1", 0), greeting("2", 1, "bert"), said("3", minute=2)):
        desk.hear(event)
    assert names(desk) == [0, 2]


def test_what_the_brand_says_to_others_parts_nobodys_utterance() -> None:
    """Whose answer it is may show later: a case of this customer must not change with it."""
    desk = Desk(brand())
    for event in (greeting("1", 0), answered("b", 1, in_reply_to="x"), said("3", minute=2)):
        desk.hear(event)
    assert names(desk) == [0, 2]


@pytest.mark.parametrize(("seconds", "expected"), [(0, [2]), (60, [2]), (120, [0, 2])])
def test_the_bound_is_the_brands(seconds: int, expected: list[int]) -> None:
    desk = Desk(brand(seconds))
    desk.hear(greeting("1", 0))
    desk.hear(said("3", minute=2))
    assert names(desk) == expected


def test_a_change_of_the_bound_moves_no_case_that_is_open() -> None:
    desk = Desk(brand(0))
    desk.hear(greeting("1", 0))
    desk.hear(said("3", minute=2))
    desk.brands["nordlicht"] = brand(300)
    desk.hear(said("4", minute=30))
    assert names(desk) == [2, 30]


def test_six_posts_in_a_row_are_no_hurry() -> None:
    """Velocity is how often a customer comes back, not into how many posts a sentence falls."""
    desk = Desk(brand())
    for place in range(6):
        desk.hear(said(f"w{place}", minute=place))
    assert "velocity" not in _parts(desk)
    again = Desk(brand())
    for place in range(6):
        again.hear(said(f"w{place}", minute=5 * place))
    assert _parts(again)["velocity"] == 10


def test_only_the_customers_words_hurry() -> None:
    """What the brand says, or a third party, is no utterance of the customer, however often."""
    desk = Desk(brand())
    desk.hear(said("w0", minute=0))
    for place in range(1, 8):
        desk.hear(answered(f"a{place}", 4 * place, in_reply_to="w0"))
        desk.hear(
            said(f"t{place}", "anna", 4 * place + 1, direction="third_party", in_reply_to="w0")
        )
    desk.hear(said("w1", minute=40))
    assert sum(fact.direction == "outbound" for fact in desk.case().facts) == 7
    assert "velocity" not in _parts(desk)
    desk.hear(said("w2", minute=50))
    assert _parts(desk)["velocity"] == 5


def _parts(desk: Desk) -> dict[str, int]:
    """Return the parts of the priority of the case."""
    priority = desk.case().priority
    assert priority is not None
    return priority.parts


@pytest.mark.parametrize(
    ("minutes", "credited"), [((10, 11), "Maike"), ((10, 12, 14), "Maike"), ((10, 15), None)]
)
def test_an_answer_in_parts_is_credited_to_who_signs_it(
    minutes: tuple[int, ...], credited: str | None
) -> None:
    desk = Desk(brand())
    desk.hear(said("1"))
    for minute in minutes:
        answer = answered(f"a{minute}", minute, in_reply_to="1")
        if minute == minutes[-1]:
            answer = replace(answer, signature=Signature(code="ma", agent="Maike"))
        desk.hear(answer)
    assert desk.case().first_response_at == NOON + timedelta(minutes=10)
    assert desk.case().responded_by == credited


def test_a_customers_word_ends_the_answer() -> None:
    desk = Desk(brand())
    for event in (said("1"), answered("a", 10, in_reply_to="1"), said("2", minute=11)):
        desk.hear(event)
    signed = replace(
        answered("b", 12, in_reply_to="2"), signature=Signature(code="ma", agent="Maike")
    )
    desk.hear(signed)
    assert desk.case().responded_by is None


def test_an_utterance_before_many_words_is_folded_with_its_opener() -> None:
    desk = Desk(brand())
    desk.hear(greeting("1", 0))
    desk.hear(said("2", minute=1))
    for place in range(120):
        desk.hear(said(f"w{place}", minute=10 + place))
    case = desk.case()
    assert case.counts == {"inbound": 122, "outbound": 0}
    assert case.waiting_since == case.opened_at == NOON + timedelta(minutes=1)
    assert case.conversation_id == ROOT
