"""What a conversation's state derives from its records, and keeps."""

from datetime import timedelta

import pytest
from msgspec import structs

from klingel.domain.cases import fold_event
from klingel.domain.conversation import ConversationState, Tracked
from klingel.domain.routing import Routing, route
from klingel.model import Case, SocialEvent
from klingel.testing.conversations import NOON, compiled_brand, said


@pytest.fixture
def case() -> Case:
    brand = compiled_brand()

    def routing(event: SocialEvent, again: bool) -> Routing:
        return route(event, brand, again=again)

    event = said("opener", "bluesky:did:plc:customer", text="my line is dead")
    (opened,) = fold_event(ConversationState(), event, (0, 0), routing, brand, NOON).changed
    return opened


def test_since_when_it_is_tracked_follows_a_record_that_takes_another_place(case: Case) -> None:
    state = ConversationState.of([case])
    assert state.tracked() == Tracked(1, case.opened_at)
    earlier = structs.replace(case, opened_at=NOON - timedelta(hours=1))
    assert state.replaced(earlier).tracked() == Tracked(1, earlier.opened_at)
    assert state.replaced(structs.replace(case, state="closed")).tracked() == Tracked(0, None)
    other = structs.replace(case, case_id=f"{case.case_id}0")
    assert state.replaced(other).tracked() == Tracked(2, case.opened_at)
    assert state.tracked() == Tracked(1, case.opened_at)


def test_states_of_the_same_records_are_equal_whatever_was_derived_from_them(case: Case) -> None:
    state, other = ConversationState.of([case]), ConversationState.of([case])
    state.index()
    state.tracked()
    assert state == other
    assert state != ConversationState()
    assert state != ConversationState.of([structs.replace(case, revision=case.revision + 1)])
