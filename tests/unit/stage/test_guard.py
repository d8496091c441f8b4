"""Each message gets one fate; the brake of I8 tells a bad deploy from one odd source."""

import json

import pytest

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import (
    ErrorType,
    InvalidMessage,
    InvariantViolation,
    OwnershipLost,
    RateLimited,
    SourceUnavailable,
)
from klingel.stage.fates import Fate, Outcome, dead_lettered
from klingel.stage.guard import LIMIT, WINDOW, Brake, BrakePulled, guard

MESSAGE = Message(Topic.RAW_EVENTS, 0, 7, b"k", b"v")


def raises(error: Exception):
    """Return a step that raises."""

    def step(_message: Message) -> Outcome:
        raise error

    return step


def source(message: Message) -> str:
    """Name the source of a message by its key."""
    return (message.key or b"").decode()


def test_an_outcome_passes_as_it_is() -> None:
    """No exception, no dead letter."""
    outcome = Outcome(Fate.DELIVERED, network="webhook")
    assert guard(lambda _message: outcome, MESSAGE, Brake(), source) == (outcome, None)


def test_an_invalid_message_is_a_dead_letter_with_its_reason() -> None:
    """The reason is the error type; the error comes along for the letter."""
    error = InvalidMessage(ErrorType.WRONG_TYPE, "text is no string", path="text")
    outcome, told = guard(raises(error), MESSAGE, Brake(), source)
    assert (outcome.fate, outcome.reason) == (Fate.DEAD_LETTERED, "wrong_type")
    assert told is error
    assert dead_lettered(error, "webhook").network == "webhook"


@pytest.mark.parametrize("error", [ZeroDivisionError(), RecursionError(), KeyError("x")])
def test_what_our_own_code_raises_is_a_dead_letter_too(error: Exception) -> None:
    """The reason names the class."""
    outcome, told = guard(raises(error), MESSAGE, Brake(), source)
    assert outcome.reason == f"unhandled:{type(error).__name__}"
    assert told is error


@pytest.mark.parametrize(
    "error",
    [SourceUnavailable("x"), RateLimited("x"), OwnershipLost("x"), InvariantViolation("x")],
)
def test_the_workers_own_trouble_is_no_fate(error: Exception) -> None:
    """I/O errors and broken invariants are not the message's fault: nothing is dead-lettered."""
    with pytest.raises(type(error)):
        guard(raises(error), MESSAGE, Brake(), source)


def ring(brake: Brake, *sources: str, raised: bool = True) -> None:
    """Note one message of each source."""
    for each in sources:
        brake.note(each, raised=raised)


def test_the_brake_is_pulled_at_fifty_from_two_sources() -> None:
    """Not at 49."""
    brake = Brake()
    ring(brake, *(["a"] * 48), "b")
    assert not brake.pulled
    with pytest.raises(BrakePulled, match="50 of the last 50"):
        ring(brake, "b")
    assert brake.pulled


def test_the_brake_is_pulled_by_the_only_source_that_rang() -> None:
    """Where nobody else rings, one source is all there is."""
    brake = Brake()
    ring(brake, *["a"] * 400, raised=False)
    with pytest.raises(BrakePulled):
        ring(brake, *["a"] * LIMIT)


def test_one_odd_source_among_others_does_not_stop_them() -> None:
    """All that raised came from one of two: its messages are dead letters, the others go on."""
    brake = Brake()
    ring(brake, "b", raised=False)
    ring(brake, *["a"] * (WINDOW - 1))
    assert not brake.pulled


def test_only_the_last_five_hundred_count() -> None:
    """A handful of bad messages an hour never adds up."""
    brake = Brake()
    for _ in range(40):
        ring(brake, "a", "b")
        ring(brake, *["a"] * 20, raised=False)
    ring(brake, *["c"] * WINDOW, raised=False)
    ring(brake, *["a", "b"] * 24, "a")
    with pytest.raises(BrakePulled):
        ring(brake, "b")


def test_a_calm_brake_has_nothing_to_remember() -> None:
    """The metadata of an ordinary offset stay short."""
    brake = Brake()
    ring(brake, *["a"] * WINDOW, raised=False)
    assert brake.remembered() == {}


def test_the_next_owner_goes_on_where_the_brake_was() -> None:
    """A worker that is restarted before the fiftieth does not begin to count anew."""
    brake = Brake()
    ring(brake, *(["a"] * 48), "b")
    resumed = Brake.resume(json.loads(json.dumps(brake.remembered())))
    with pytest.raises(BrakePulled, match="50 of the last 50"):
        ring(resumed, "b")


def test_what_raised_long_ago_is_forgotten_by_the_next_owner_too() -> None:
    """What was calm since counts on both sides of a restart."""
    brake = Brake()
    ring(brake, *["a", "b"] * 24)
    ring(brake, *["c"] * 300, raised=False)
    resumed = Brake.resume(brake.remembered())
    ring(resumed, *["c"] * 200, raised=False)
    ring(resumed, *["a", "b"] * 24)
    assert not resumed.pulled


def test_one_odd_source_among_others_stays_odd_for_the_next_owner() -> None:
    """Others rang, and none of theirs raised."""
    brake = Brake()
    ring(brake, "b", raised=False)
    ring(brake, *["a"] * 49)
    resumed = Brake.resume(brake.remembered())
    ring(resumed, "a")
    assert not resumed.pulled


def test_many_sources_are_remembered_in_few_words() -> None:
    """A committed offset takes 4 KiB."""
    brake = Brake()
    ring(brake, *(f"{number}{'x' * 500}" for number in range(49)))
    remembered = brake.remembered()
    assert len(json.dumps(remembered)) < 1000
    with pytest.raises(BrakePulled):
        ring(Brake.resume(remembered), "y")


def test_invalid_messages_do_not_pull_the_brake() -> None:
    """Only what our own code raises on: garbage from outside is no bad deploy."""
    brake = Brake()
    error = InvalidMessage(ErrorType.SCHEMA, "no")
    for _ in range(WINDOW):
        guard(raises(error), MESSAGE, brake, source)
    assert not brake.pulled
