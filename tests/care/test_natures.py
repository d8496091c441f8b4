"""What a machine says, and what came by a list: kept and shown, opens nothing, stops nothing."""

from itertools import permutations
from typing import Any

import pytest
from msgspec import structs

from klingel.domain.triage import TriageReason, needs_answer
from klingel.model import SocialEvent
from klingel.testing.conversations import answered, compiled_brand, said

from .conftest import Desk

NOBODYS = ("auto_reply", "bounce", "read_receipt", "abuse_report")
POLICY = ("mailing_list", "bulk", "auto_generated", "spam_flag", "forged_sender")


def mail(
    name: str, minute: float = 0, *, natures: tuple[str, ...] = (), **more: Any
) -> SocialEvent:
    """A mail of anna's, of these natures."""
    kind = "unknown" if set(natures) & set(NOBODYS) else "email"
    event = said(name, "anna", minute, kind=kind, **more)
    return structs.replace(event, natures=list(natures) or None)


def brands_mail(name: str, minute: float, *natures: str, **more: Any) -> SocialEvent:
    """A mail of the brand's."""
    return structs.replace(answered(name, minute, **more), natures=list(natures) or None)


@pytest.mark.parametrize("nature", NOBODYS)
def test_a_program_opens_nothing_whoever_owns_it(nature: str) -> None:
    """Each has its reason, inbound and outbound; no brand can wish for it."""
    eager = compiled_brand(triage={"natures_without_answer": []})
    for event in (mail("a", natures=(nature,)), brands_mail("b", 1, nature)):
        assert needs_answer(event, eager) == (False, nature)


@pytest.mark.parametrize("nature", POLICY)
def test_what_came_by_a_list_or_a_filter_is_the_brands_choice(nature: str) -> None:
    """Each has its reason; lists and a filter's word are believed unless the brand says otherwise."""
    event = mail("a", natures=(nature,))
    chosen = compiled_brand(triage={"natures_without_answer": [nature]})
    assert needs_answer(event, chosen) == (False, nature)
    eager = compiled_brand(triage={"natures_without_answer": []})
    assert needs_answer(event, eager) == (True, TriageReason.OPENED)
    assert needs_answer(event, compiled_brand())[0] == (nature not in {"mailing_list", "spam_flag"})


def test_an_absence_note_of_the_customer_neither_answers_nor_reopens(desk: Desk) -> None:
    """The brand has answered, the case is closed by that; the note joins and changes nothing."""
    desk.hear(mail("a"))
    desk.hear(brands_mail("b", 1, in_reply_to="a"))
    before = desk.case()
    assert before.state == "closed"
    desk.hear(mail("c", 2, natures=("auto_reply",)))
    after = desk.case()
    assert (after.state, after.closed_at, after.waiting_since) == (
        "closed",
        before.closed_at,
        None,
    )
    assert desk.routed()[-1].decision.triage in {"auto_reply", "closed_generation"}
    assert desk.happened().count("reopened") == 0


def test_an_absence_note_starts_no_clock_in_an_open_case() -> None:
    """The customer was answered and waits for nothing."""
    desk = Desk(compiled_brand())
    desk.hear(mail("a"))
    desk.hear(brands_mail("b", 1, in_reply_to="a"))
    desk.hear(mail("c", 2, natures=("auto_reply",)))
    case = desk.case()
    assert (case.state, case.waiting_since) == ("waiting", None)


@pytest.mark.parametrize("how", [{"in_reply_to": "a"}, {}])
def test_an_absence_note_of_the_brand_is_no_response(desk: Desk, how: dict[str, str]) -> None:
    """It is sent by the brand, shown with its reason, and the customer waits on."""
    desk.hear(mail("a"))
    desk.hear(brands_mail("b", 1, "auto_reply", **how))
    case = desk.case()
    assert (case.state, case.first_response_at) == ("open", None)
    assert case.waiting_since is not None
    routed = desk.routed()[-1]
    assert (routed.decision.triage, routed.decision.direction) == ("auto_reply", "outbound")
    desk.hear(brands_mail("c", 3, in_reply_to="a"))
    assert desk.case().first_response_at is not None


def test_the_order_of_arrival_changes_nothing() -> None:
    """A note before the mail that it answers, after it, or after the person's answer."""
    events = [
        mail("a"),
        brands_mail("b", 1, "auto_reply", in_reply_to="a"),
        brands_mail("c", 2, in_reply_to="a"),
        mail("d", 3, natures=("bounce",)),
    ]
    ends = set()
    for order in permutations(events):
        desk = Desk(compiled_brand())
        for event in order:
            desk.hear(event)
        case = desk.case()
        ends.add((case.state, case.first_response_at, case.waiting_since))
    assert len(ends) == 1


def test_a_list_that_joins_a_case_makes_nobody_wait() -> None:
    """As all that needs no answer."""
    desk = Desk(compiled_brand())
    desk.hear(mail("a"))
    desk.hear(brands_mail("b", 1, in_reply_to="a"))
    desk.hear(mail("c", 2, natures=("mailing_list", "bulk")))
    assert desk.case().waiting_since is None
    assert desk.routed()[-1].decision.triage == "joined"
