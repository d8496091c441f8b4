"""The fold, situation by situation: who has a case, who was answered, who waits."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from msgspec import structs

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.domain.cases import (
    ConversationState,
    FoldOutcome,
    fold_event,
    tracked_of,
)
from klingel.domain.identity import hash64
from klingel.domain.routing import Routing, route
from klingel.domain.summaries import MAX_FOLDED
from klingel.domain.timeline import MAX_FACTS
from klingel.domain.timers import due_at, fire
from klingel.model.case import Case
from klingel.model.social_event import SocialEvent
from klingel.testing.conversations import (
    NOON,
    ROOT,
    answered,
    compiled_brand,
    deleted,
    said,
)

NOW = NOON + timedelta(days=2)
BRAND = compiled_brand()
CLOSING = compiled_brand(cases={"close_when": "answered", "reopen_within_days": 1})
DAY = 24 * 60


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


class Conversation:
    """Folds events one after the other and remembers what each made."""

    def __init__(self, brand: CompiledBrand = BRAND) -> None:
        self.brand = brand
        self.state = ConversationState()
        self.outcomes: list[FoldOutcome] = []

    def ring(self, *events: SocialEvent) -> FoldOutcome:
        """Fold events; returns the last outcome."""
        for event in events:
            position = (0, len(self.outcomes))
            outcome = fold_event(self.state, event, position, self._route, self.brand, NOW)
            self.state = outcome.state
            self.outcomes.append(outcome)
        return self.outcomes[-1]

    def _route(self, event: SocialEvent, again: bool) -> Routing:
        return route(event, self.brand, again=again)

    def case(self, customer: str = "anna", generation: int = 1) -> Case:
        """Return a customer's case."""
        return self.state.cases[f"nordlicht:{ROOT}:{customer}#{generation}"]

    @property
    def reasons(self) -> list[str]:
        """Triage reasons so far."""
        return [outcome.decision.triage for outcome in self.outcomes]


def kinds(outcome: FoldOutcome) -> list[str]:
    return [case_event.kind for case_event in outcome.case_events]


def rung(*events: SocialEvent, brand: CompiledBrand = BRAND) -> Conversation:
    conversation = Conversation(brand)
    conversation.ring(*events)
    return conversation


def test_a_complaint_opens_a_case_with_queue_and_explanation() -> None:
    brand = compiled_brand(routing=[{"id": "r", "when": "dead", "queue": "first", "priority": 7}])
    conversation = rung(said("root", kind="post"), brand=brand)
    outcome, case = conversation.outcomes[0], conversation.case()
    assert (case.state, case.opened_at, case.waiting_since) == ("open", NOON, NOON)
    assert (case.queue, case.rule, case.network) == ("first", "r", "bluesky")
    assert case.priority is not None
    assert case.priority.parts == {"rule": 7, "visibility": 10}
    assert outcome.decision.triage == "opened"
    assert outcome.decision.case_id == case.case_id
    assert outcome.decision.explain == ["r: hits, queue first, priority +7"]
    assert kinds(outcome) == ["opened"]
    assert outcome.changed == (case,)
    assert not outcome.repeated


def test_a_root_that_needs_no_answer_leaves_no_record() -> None:
    for event in (
        said("root", kind="post", addressing="indirect"),
        answered("root", 0),
        said("root", kind="post", mode="backfill"),
    ):
        conversation = rung(event)
        assert conversation.state.is_empty
        assert conversation.outcomes[0].changed == ()
    assert rung(said("root", mode="backfill")).reasons == ["not_live"]


def test_many_customers_under_one_post_have_a_case_each() -> None:
    conversation = rung(answered("root", 0), said("a", "anna", 1), said("b", "ben", 2))
    assert conversation.reasons == ["own_post", "opened", "opened"]
    assert len(conversation.state.cases) == 2
    tracked = tracked_of(conversation.state)
    assert tracked is not None
    assert (tracked.open_cases, tracked.since) == (2, at(1))


def test_a_later_word_joins_and_an_earlier_one_moves_the_opening() -> None:
    conversation = rung(said("b", minute=5), said("c", minute=9))
    assert conversation.reasons == ["opened", "joined"]
    outcome = conversation.ring(said("a", minute=1))
    assert conversation.case().opened_at == at(1)
    assert [fact.at for fact in conversation.case().facts] == [at(1), at(5), at(9)]
    assert kinds(outcome) == ["joined", "corrected"]
    assert outcome.case_events[1].detail == "opening"


def test_an_answer_stops_the_waiting_of_whom_it_replies_to_alone() -> None:
    conversation = rung(said("a", "anna", 1), said("b", "ben", 2))
    outcome = conversation.ring(answered("r", 31, in_reply_to="a"))
    assert conversation.case("anna").state == "waiting"
    assert conversation.case("anna").first_response_at == at(31)
    assert conversation.case("anna").waiting_since is None
    assert conversation.case("ben").state == "open"
    assert kinds(outcome) == ["responded", "met", "waiting"]
    assert outcome.case_events[0].seconds == 30 * 60
    assert outcome.decision.triage == "answered"


def test_an_answer_finds_its_customer_by_chain_then_mention_then_the_only_one() -> None:
    two = (said("a", "anna", 1), said("b", "ben", 2))
    chain = rung(
        *two, answered("r", 3, in_reply_to="b"), answered("s", 4, in_reply_to="r")
    ).outcomes[-1]
    assert chain.decision.case_id.endswith(":ben#1")
    mention = rung(*two, answered("r", 3, mentions=["did:plc:brand", "ben"])).outcomes[-1]
    assert mention.decision.case_id.endswith(":ben#1")
    only = rung(two[0], answered("r", 3)).outcomes[-1]
    assert only.decision.case_id.endswith(":anna#1")
    nobody = rung(*two, answered("r", 3)).outcomes[-1]
    assert (nobody.decision.triage, nobody.decision.case_id) == ("own_post", None)


def test_a_thread_of_the_brand_has_one_customer_whatever_its_clocks_say() -> None:
    thread = [answered(f"r{n}", 90 - n / 10, in_reply_to=f"r{n - 1}") for n in range(1, 60)]
    conversation = rung(
        said("a", "anna", 1), said("b", "ben", 2), *thread, answered("r0", 50, in_reply_to="b")
    )
    assert conversation.case("ben").counts == {"inbound": 1, "outbound": 60}
    assert conversation.case("anna").state == "open"


def test_posts_that_reply_to_each_other_in_a_circle_answer_nobody() -> None:
    conversation = rung(
        said("a", "anna", 1),
        answered("r", 2, in_reply_to="s"),
        answered("s", 3, in_reply_to="r"),
    )
    assert conversation.case().state == "open"


def test_a_reply_to_the_brands_own_root_answers_nobody_by_guess() -> None:
    conversation = rung(
        answered("root", 0), said("a", "anna", 1), answered("r", 2, in_reply_to="root")
    )
    assert conversation.reasons[-1] == "answers_nobody"
    assert conversation.case().state == "open"


def test_an_answer_that_arrives_before_its_question_waits_for_it() -> None:
    conversation = rung(answered("r", 9, in_reply_to="a"))
    assert conversation.state.held is not None
    outcome = conversation.ring(said("a", "anna", 1))
    assert conversation.state.held is None
    assert conversation.case().first_response_at == at(9)
    assert outcome.removed == (f"nordlicht:{ROOT}:-#0",)
    assert kinds(outcome) == ["opened", "responded", "met", "waiting"]


def test_a_clock_that_runs_behind_does_not_lose_an_answer() -> None:
    """The answer's own time lies before the question that it replies to."""
    conversation = rung(said("a", "anna", 5), answered("r", 4, in_reply_to="a"))
    assert conversation.case().state == "waiting"


def test_the_customer_speaks_again_and_waits_again() -> None:
    conversation = rung(said("a", minute=1), answered("r", 2), said("b", minute=7))
    assert (conversation.case().state, conversation.case().waiting_since) == ("open", at(7))
    outcome = conversation.ring(answered("s", 9))
    assert [(each.kind, each.detail, each.seconds) for each in outcome.case_events] == [
        ("responded", "next", 120.0),
        ("met", "in_time", 120.0),
        ("waiting", None, None),
    ]
    assert conversation.case().first_response_at == at(2)


@pytest.mark.parametrize("kind", ["repost", "reaction"])
def test_a_gesture_of_the_customer_joins_and_nobody_waits(kind) -> None:
    conversation = rung(said("a"), answered("r", 2), said("b", minute=3, kind=kind))
    assert conversation.case().state == "waiting"
    assert conversation.reasons[-1] == "joined"


def test_an_answer_taken_back_was_given_but_the_customer_waits_again() -> None:
    conversation = rung(said("a"), answered("r", 2))
    outcome = conversation.ring(deleted("r", 5))
    case = conversation.case()
    assert (case.state, case.waiting_since) == ("open", at(5))
    assert case.first_response_at == at(2)
    assert kinds(outcome) == ["reopened"] or kinds(outcome) == []


def test_an_answer_that_was_gone_before_it_came_stops_nothing() -> None:
    away = timedelta(minutes=9)
    conversation = rung(said("a"), answered("r", 2, received_after=away), deleted("r", 5))
    assert conversation.case().state == "open"
    assert conversation.case().first_response_at is None


def test_a_deleted_complaint_closes_its_case_and_leaves_a_record() -> None:
    conversation = rung(said("a", minute=1))
    outcome = conversation.ring(deleted("a", 5))
    case = conversation.case()
    assert (case.state, case.closed_because, case.closed_at) == (
        "closed",
        "customer_deleted",
        at(5),
    )
    assert [(each.kind, each.detail) for each in outcome.case_events] == [
        ("closed", "customer_deleted")
    ]
    assert outcome.decision.triage == "deleted"
    assert tracked_of(conversation.state) is None


def test_another_word_keeps_the_case_of_a_deleted_complaint_open() -> None:
    conversation = rung(said("a", minute=1), said("b", minute=3), deleted("a", 5))
    assert (conversation.case().state, conversation.case().waiting_since) == ("open", at(3))


def test_what_was_deleted_before_it_was_received_opens_nothing() -> None:
    late = said("a", minute=1, received_after=timedelta(minutes=10))
    conversation = rung(deleted("a", 5))
    assert conversation.reasons == ["held"]
    conversation.ring(late)
    assert conversation.reasons[-1] == "deleted_before_opening"
    assert not conversation.state.cases


def test_an_edit_before_its_original_applies_once_and_the_older_never_returns() -> None:
    conversation = rung(said("a", revision=2, change="updated", text="dead again", minute=1))
    assert conversation.reasons == ["opened"]
    outcome = conversation.ring(said("a", revision=0, minute=1))
    assert outcome.decision.triage == "superseded"
    assert kinds(outcome) == []
    assert [fact.revision for fact in conversation.case().facts] == [2]


def test_an_edit_may_open_a_case_and_never_undoes_one() -> None:
    conversation = rung(said("root", addressing="indirect"))
    conversation.ring(said("root", revision=1, change="updated", text="@brand help"))
    assert conversation.reasons == ["indirect", "opened"]
    conversation.ring(said("root", revision=2, change="updated", addressing="indirect"))
    assert conversation.reasons[-1] == "edited"
    assert conversation.case().state == "open"


def test_another_content_of_one_revision_is_the_next_decision() -> None:
    conversation = rung(said("a"))
    outcome = conversation.ring(said("a", change="completed", text="my line is dead, see"))
    assert (outcome.decision.number, outcome.decision.triage) == (1, "edited")
    assert not outcome.repeated
    position = (0, 0)
    again = fold_event(conversation.state, said("a"), position, conversation._route, BRAND, NOW)
    assert again.repeated
    assert again.state is conversation.state


def test_what_follows_a_closing_reopens_soon_and_opens_a_generation_late() -> None:
    conversation = rung(said("a", minute=1), answered("r", 2), brand=CLOSING)
    assert conversation.case().closed_because == "answered"
    conversation.ring(said("b", minute=DAY))
    assert (conversation.reasons[-1], conversation.case().state) == ("reopened", "open")
    assert kinds(conversation.outcomes[-1]) == ["joined", "reopened"]
    conversation.ring(answered("s", DAY + 5), said("c", minute=3 * DAY))
    assert conversation.reasons[-1] == "new_generation"
    assert conversation.case().state == "closed"
    assert conversation.case(generation=2).opened_at == at(3 * DAY)


def test_a_word_from_before_the_closing_never_reopens() -> None:
    conversation = rung(said("a", minute=1), answered("r", 9), brand=CLOSING)
    conversation.ring(said("b", minute=5))
    assert conversation.case().state == "closed"
    assert conversation.case().closed_at == at(9)


def test_history_and_gestures_join_a_closed_case_without_reopening_it() -> None:
    conversation = rung(said("a", minute=1), answered("r", 2), brand=CLOSING)
    conversation.ring(said("b", minute=5, mode="backfill"), said("c", minute=6, kind="reaction"))
    assert conversation.reasons[-2:] == ["closed_generation", "closed_generation"]
    assert conversation.case().state == "closed"


def test_an_answer_found_late_splits_a_case_and_its_deletion_joins_it_again() -> None:
    conversation = rung(said("a", minute=1), said("b", minute=3 * DAY), brand=CLOSING)
    away = timedelta(days=4)
    conversation.ring(answered("r", 2, in_reply_to="a", received_after=away))
    assert len(conversation.state.cases) == 2
    outcome = conversation.ring(deleted("r", 3 * DAY))
    assert list(conversation.state.cases) == [conversation.case().case_id]
    assert outcome.removed == ()
    gone = conversation.state.withdrawn[f"nordlicht:{ROOT}:anna#2"]
    assert gone in outcome.changed
    assert (gone.state, gone.closed_because, gone.facts) == ("closed", "withdrawn", [])
    assert ("corrected", "generation_gone") in [
        (each.kind, each.detail) for each in outcome.case_events
    ]


def test_a_case_whose_opener_was_gone_before_it_came_is_withdrawn() -> None:
    """Its record stays, closed and empty; it is neither tracked nor a case of the conversation."""
    away = timedelta(minutes=60)
    conversation = rung(
        said("a", minute=0, received_after=away),
        said("b", minute=1, addressing="indirect", received_after=away),
    )
    opened = conversation.case()
    outcome = conversation.ring(deleted("a", 5))
    assert outcome.removed == ()
    assert not conversation.state.cases
    (gone,) = conversation.state.withdrawn.values()
    assert gone in outcome.changed
    assert (gone.case_id, gone.revision) == (opened.case_id, opened.revision + 1)
    assert (gone.state, gone.closed_because) == ("closed", "withdrawn")
    assert gone.opened_at == gone.closed_at == opened.opened_at
    assert (gone.facts, gone.waiting_since, gone.first_response_at) == ([], None, None)
    assert gone.counts == {"inbound": 0, "outbound": 0}
    assert tracked_of(conversation.state) is None
    assert kinds(outcome) == ["corrected"]


def test_a_customer_who_returns_after_a_withdrawn_case_has_the_next_revision_of_it() -> None:
    """Else whoever keeps the highest revision would refuse the new case as stale."""
    conversation = rung(said("a", received_after=timedelta(minutes=60)), deleted("a", 5))
    (gone,) = conversation.state.withdrawn.values()
    written = conversation.state.records()
    conversation.state = ConversationState.of(list(written))
    outcome = conversation.ring(said("b", minute=90))
    case = conversation.case()
    assert (case.state, case.revision, case.opened_at) == ("open", gone.revision + 1, at(90))
    assert case.closed_because is None
    assert not conversation.state.withdrawn
    assert outcome.decision.triage == "opened"
    assert kinds(outcome) == ["opened"]


def test_the_ids_of_case_events_derive_from_their_cause() -> None:
    first = [outcome.case_events for outcome in rung(said("a"), answered("r", 2)).outcomes]
    second = [outcome.case_events for outcome in rung(said("a"), answered("r", 2)).outcomes]
    assert first == second
    ids = [each.case_event_id for told in first for each in told]
    assert len(set(ids)) == len(ids) == 4


def test_a_record_counts_its_changes() -> None:
    conversation = rung(said("a"), said("b", minute=1), said("c", "ben", 2))
    assert conversation.case().revision == 2
    assert conversation.case("ben").revision == 1


def test_the_queue_of_an_open_case_outlives_a_change_of_configuration() -> None:
    conversation = rung(said("a"))
    queues = [{"id": "other"}]
    conversation.brand = compiled_brand(queues=queues)
    conversation.ring(said("b", minute=1))
    assert conversation.case().queue == "first"
    assert conversation.case().explain == ["no rule hits: default queue first"]


def test_held_facts_expire_when_nothing_can_come_of_them() -> None:
    conversation = rung(answered("r", 9, in_reply_to="a"))
    held = conversation.state.held
    assert held is not None
    week = timedelta(days=7)
    assert due_at(held, week) == held.facts[0].received_at + week  # type: ignore[operator]
    assert fire(held, at(9) + week, at(9) + week, BRAND) is None
    later = at(10) + week
    firing = fire(held, later, later, BRAND)
    assert firing is not None
    assert firing.case is None


def test_held_facts_are_bounded_to_the_newest() -> None:
    conversation = Conversation()
    for number in range(MAX_FACTS + 20):
        conversation.ring(said(f"x{number}", minute=number, addressing="indirect"))
    held = conversation.state.held
    assert held is not None
    assert len(held.facts) == MAX_FACTS
    assert held.facts[0].at == at(20)


def bystanders(count: int, in_reply_to: str = "a") -> list[SocialEvent]:
    """Words that need no answer, each of somebody else, from minute 10 on."""
    return [
        said(f"x{each}", f"u{each}", 10 + each, addressing="indirect", in_reply_to=in_reply_to)
        for each in range(count)
    ]


def test_bystanders_do_not_make_the_conversation_forget_an_answer_or_a_deletion() -> None:
    """However many come between, the question they belong to finds them."""
    noise = bystanders(MAX_FACTS + 10)
    conversation = rung(
        answered("r", 5, in_reply_to="a"), deleted("b", 6, 3), *noise, brand=CLOSING
    )
    assert conversation.state.held is not None
    held = conversation.state.held.facts
    assert len(held) == MAX_FACTS
    assert held == sorted(held, key=lambda fact: (fact.at, fact.object))
    newest = {hash64(event.object_id) for event in noise[-(MAX_FACTS - 2) :]}
    assert newest <= {fact.object for fact in held}
    late = said("b", "ben", 4, received_after=timedelta(minutes=200))
    conversation.ring(said("a", "anna", 1), late)
    assert conversation.case().state == "closed"
    assert conversation.case().first_response_at == at(5)
    assert list(conversation.state.cases) == [conversation.case().case_id]
    assert conversation.reasons[-1] == "deleted_before_opening"


def test_a_bystander_whom_the_brand_answered_is_remembered_with_the_answer() -> None:
    """Else the answer would be taken by guess for one to the only open case."""
    answer = answered("r", 9, in_reply_to="x")
    word = said("x", "ben", 2, addressing="indirect")
    conversation = rung(said("a", "anna", 1), word, answer, *bystanders(MAX_FACTS + 10))
    assert conversation.case().state == "open"
    assert conversation.case().first_response_at is None


def test_replaying_a_crowded_conversation_changes_no_case() -> None:
    events = [answered("r", 5, in_reply_to="a"), *bystanders(MAX_FACTS + 10), said("a", "anna", 1)]
    conversation = rung(*events, brand=CLOSING)
    cases = dict(conversation.state.cases)
    assert conversation.case().state == "closed"
    conversation.ring(*events)
    assert conversation.state.cases == cases


def long_talk(count: int) -> list[SocialEvent]:
    """A customer of few pauses: every tenth post is an answer."""
    return [
        answered(f"m{number}", number) if number % 10 == 9 else said(f"m{number}", minute=number)
        for number in range(count)
    ]


def test_a_long_talk_stays_bounded_and_loses_nothing_that_is_counted() -> None:
    count = 3 * MAX_FACTS
    conversation = rung(*long_talk(count))
    case = conversation.case()
    assert len(case.facts) == MAX_FACTS
    assert case.summary is not None
    assert case.summary.count == count - MAX_FACTS
    assert case.counts == {"inbound": count - count // 10, "outbound": count // 10}
    assert (case.opened_at, case.first_response_at) == (at(0), at(9))
    assert case.waiting_since == at(count - count % 10)
    assert len(msgspec.json.encode(case)) < 64 * 1024


def test_what_is_folded_is_known_when_it_comes_again() -> None:
    conversation = rung(*long_talk(2 * MAX_FACTS))
    before = conversation.state
    outcome = conversation.ring(said("m3", minute=3))
    assert outcome.repeated
    assert outcome.state is before
    edit = conversation.ring(said("m3", minute=3, revision=1, change="updated", text="x"))
    assert (edit.repeated, edit.decision.triage) == (False, "edited")
    assert edit.state is before


def test_what_comes_later_than_what_is_folded_counts_once_and_changes_what_commutes() -> None:
    talk = long_talk(2 * MAX_FACTS)
    conversation = rung(*talk[:4], *talk[5:])
    assert conversation.case().summary.count == MAX_FACTS - 1
    outcome = conversation.ring(talk[4])
    assert outcome.decision.triage == "joined"
    assert conversation.case().summary.count == MAX_FACTS
    assert conversation.ring(talk[4]).repeated
    early = conversation.ring(answered("early", 2.5, in_reply_to="m2"))
    assert early.decision.triage == "answered"
    assert conversation.case().first_response_at == at(2.5)


def test_a_case_without_end_ends_its_generation_below_the_hard_size() -> None:
    limit = MAX_FACTS + MAX_FOLDED
    anna = "did:plc:annavonderkueste2345abcd"
    talk = [
        said(f"{anna}/app.bsky.feed.post/{number:013}", anna, number, in_reply_to="root")
        for number in range(limit + 2)
    ]
    conversation = rung(*talk[:-1])
    assert conversation.reasons[-1] == "new_generation"
    first, second = conversation.case(anna), conversation.case(anna, generation=2)
    assert (first.state, first.closed_because) == ("closed", "generation_full")
    assert (second.state, second.opened_at) == ("open", at(limit))
    assert len(msgspec.json.encode(first)) < 64 * 1024
    conversation.ring(talk[-1])
    assert conversation.case(anna) is first
    assert len(conversation.case(anna, generation=2).facts) == 2


def _write_and_read(records: Sequence[Case]) -> list[Case]:
    return [codec.decode(Case, codec.encode(each)) for each in records]


def test_a_state_read_back_is_the_state() -> None:
    conversation = rung(*long_talk(MAX_FACTS + 40), said("x", "ben", 2, addressing="indirect"))
    records = _write_and_read(list(conversation.state.records()))
    assert ConversationState.of(reversed(records)).cases == conversation.state.cases
    assert ConversationState.of(records).held == conversation.state.held


def test_the_smallest_record_is_small() -> None:
    """Three facts stay within the promised median of a case."""
    conversation = rung(said("a"), answered("r", 2), said("b", minute=3))
    assert len(msgspec.json.encode(conversation.case())) < 3_000


def test_a_customer_id_wins_over_the_authors() -> None:
    conversation = rung(structs.replace(said("a"), customer_id="customer-7"))
    assert conversation.case("customer-7").state == "open"
