"""What a stranger, a broken source or a careless script may do to cases: nothing is lost by it."""

from datetime import timedelta
from random import Random

import pytest
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.timers import REMEMBERED
from klingel.model import Case, CaseCommand
from klingel.model.social_event import Author
from klingel.stage.fates import Fate
from klingel.testing.conversations import NOON, ROOT, answered, compiled_brand, deleted, said

from .conftest import Desk, commanded, social

RECORD_BYTES = 64 * 1024
BRAND = compiled_brand(
    queues=[{"id": "first"}, {"id": "second"}],
    calendars=[{"id": "always-on", "zone": "Etc/UTC", "hours": {"mon-sun": ["00:00-24:00"]}}],
    sla=[
        {
            "id": "public",
            "first_response": "60m",
            "next_response": "30m",
            "resolution": "3d",
            "pause_when": ["waiting", "snoozed"],
        }
    ],
    cases={"close_when": "never"},
)


@pytest.fixture
def desk() -> Desk:
    """A desk of a brand with promises, where nothing was said yet."""
    return Desk(BRAND)


def at(minute: float) -> dict[str, object]:
    """Return a command's time, minutes after noon."""
    return {"at": NOON + timedelta(minutes=minute)}


def records(desk: Desk) -> dict[str, Case]:
    """Return all records as they were written last."""
    found = desk.broker.compacted(Topic.CASES)
    return {key.decode(): codec.decode(Case, value) for key, value in found.items()}


def test_a_command_with_ids_of_another_brand_changes_no_case(desk: Desk) -> None:
    other = compiled_brand(brand="suedlicht", name="Suedlicht")
    desk.brands["suedlicht"] = other
    desk.hear(said("1"))
    before = desk.case()
    for number, brand in enumerate(("suedlicht", "nordlicht")):
        command = CaseCommand(
            command_id=f"x-{number}",
            brand=brand,
            conversation_id=ROOT if brand == "suedlicht" else "bluesky:network:other",
            case_id=before.case_id,
            kind="close",
            at=NOON,
            by="stranger",
        )
        desk.broker.append(commanded(command), int(NOON.timestamp() * 1000))
        (outcome,) = desk.stage.advance()
        assert outcome.reason == "unknown_case"
    assert desk.case() == before


def test_a_command_for_a_brand_that_nobody_knows_is_a_dead_letter(desk: Desk) -> None:
    command = CaseCommand(
        command_id="x", brand="nobody", conversation_id=ROOT, kind="close", at=NOON, by="stranger"
    )
    desk.broker.append(commanded(command), int(NOON.timestamp() * 1000))
    (outcome,) = desk.stage.advance()
    assert (outcome.fate, outcome.reason) == (Fate.DEAD_LETTERED, "unknown_brand")


def test_a_flood_of_commands_leaves_a_small_record_that_knows_the_last(desk: Desk) -> None:
    desk.hear(said("1"))
    for number in range(1_000):
        desk.order("assign", command_id=f"flood-{number}", assignee=f"a{number}", **at(number / 60))
    case = desk.case()
    assert case.assignee == "a999"
    assert len(codec.encode(case)) < RECORD_BYTES
    assert desk.order("assign", command_id="flood-999", assignee="x", **at(0)).fate is Fate.REPEATED


def test_what_people_decided_survives_a_flood_of_commands_after_it(desk: Desk) -> None:
    desk.hear(said("1"))
    desk.order("assign", assignee="mk", **at(1))
    desk.order("override", queue="second", priority=7, **at(2))
    desk.order("incident_joined", target="incident-1", **at(3))
    for number in range(200):
        desk.order("acknowledge", **at(4 + number / 60))
    case = desk.case()
    assert (case.assignee, case.queue, case.incident) == ("mk", "second", "incident-1")
    assert case.priority is not None
    assert case.priority.score == 7
    assert case.acknowledged_at == NOON + timedelta(minutes=7, seconds=19)


def test_a_case_stays_closed_though_commands_flood_in_after_the_closing(desk: Desk) -> None:
    desk.hear(said("1"))
    desk.order("close", **at(1))
    for number in range(200):
        desk.order("assign", assignee=f"a{number}", **at(2 + number / 60))
    assert (desk.case().state, desk.case().closed_because) == ("closed", "command")


def test_a_storm_of_snoozes_closings_and_reopenings_ends_where_the_last_says(desk: Desk) -> None:
    desk.hear(said("1"))
    for number in range(120):
        minute = 1 + number * 3
        desk.now = NOON + timedelta(minutes=minute)
        desk.order("snooze", until=desk.now + timedelta(hours=1), **at(minute))
        desk.order("close", **at(minute + 1))
        desk.order("reopen", **at(minute + 2))
    case = desk.case()
    assert case.state == "open"
    assert len(codec.encode(case)) < RECORD_BYTES
    assert case.opened_at == NOON
    running = [clock.name for clock in case.clocks or () if clock.state == "running"]
    assert "resolution" in running


@pytest.mark.exhaustive
def test_three_hundred_words_with_commands_between_them_keep_clocks_and_people(desk: Desk) -> None:
    for number in range(300):
        minute = number * 10
        desk.now = NOON + timedelta(minutes=minute)
        desk.hear(said(f"w{number}", minute=minute))
        desk.hear(answered(f"b{number}", minute + 4, in_reply_to=f"w{number}"))
        if number == 5:
            desk.order("assign", assignee="mk", **at(minute + 5))
            desk.order("override", queue="second", **at(minute + 5))
        if number in {40, 120}:
            desk.order("close", **at(minute + 6))
    case = desk.case()
    assert case.counts == {"inbound": 300, "outbound": 300}
    assert case.opened_at == NOON
    assert case.first_response_at == NOON + timedelta(minutes=4)
    assert (case.assignee, case.queue) == ("mk", "second")
    assert case.turns is not None
    assert (case.turns.count, case.turns.late) == (299, 0)
    assert case.turns.business_seconds == 299 * 240
    assert len(codec.encode(case)) < RECORD_BYTES


def test_a_closing_among_the_folded_words_holds(desk: Desk) -> None:
    desk.hear(said("1"))
    for number in range(150):
        desk.hear(answered(f"b{number}", 1 + number, in_reply_to="1"))
    desk.order("close", **at(100))
    for number in range(60):
        desk.hear(answered(f"c{number}", 200 + number, in_reply_to="1"))
    for number in range(60):
        desk.hear(said(f"t{number}", minute=300 + number, kind="reaction"))
    assert desk.case().state == "closed"
    assert desk.case().closed_at == NOON + timedelta(minutes=100)


def test_a_full_record_with_the_longest_ids_stays_small(desk: Desk) -> None:
    long = "bluesky:did:plc:" + "ä" * 1_000
    conversation = "bluesky:network:" + "ö" * 1_000
    for number in range(130):
        event = said(f"w{number}", long, number, conversation=conversation)
        outcome = desk.hear(replace(event, author=Author(id=long[:512])))
        assert outcome.fate is Fate.DELIVERED, outcome.reason
    for key, case in records(desk).items():
        assert len(codec.encode(case)) < RECORD_BYTES, key[:80]


def test_an_event_from_the_future_counts_when_it_came(desk: Desk) -> None:
    event = said("1")
    desk.hear(replace(event, published_at=NOON + timedelta(days=3650)))
    assert desk.case().opened_at == event.received_at
    assert desk.case().state == "open"


def test_a_clock_that_jumps_back_fires_nothing_twice_and_loses_nothing(desk: Desk) -> None:
    desk.hear(said("1"))
    desk.pass_to(61)
    told = desk.happened()
    desk.pass_to(-10_000)
    desk.pass_to(0)
    desk.hear(said("2", minute=2))
    desk.pass_to(61)
    assert [each for each in desk.happened() if each == "breached"] == ["breached"]
    assert desk.happened()[: len(told)] == told
    assert desk.case().counts == {"inbound": 2, "outbound": 0}


def test_timers_of_a_brand_that_is_gone_wait_until_it_comes_back(desk: Desk) -> None:
    desk.hear(said("1"))
    kept = desk.brands.pop("nordlicht")
    desk.pass_to(61)
    assert "breached" not in desk.happened()
    desk.brands["nordlicht"] = kept
    for minute in (63, 64):
        desk.pass_to(minute)
    assert "breached" in desk.happened()


def test_many_timers_of_a_brand_that_is_gone_do_not_stop_those_of_others(desk: Desk) -> None:
    desk.brands["gone"] = compiled_brand(brand="gone", name="Gone")
    for number in range(600):
        event = said(f"g{number}", conversation=f"bluesky:network:g{number}")
        desk.broker.append(social(replace(event, brand="gone")), int(NOON.timestamp() * 1000))
    desk.hear(said("1", minute=5))
    desk.stage.drain()
    del desk.brands["gone"]
    for minute in range(70, 76):
        desk.pass_to(minute)
    assert "breached" in desk.happened()


def test_all_customers_of_one_post_are_late_in_one_tick(desk: Desk) -> None:
    for number in range(40):
        desk.hear(said(f"w{number}", f"u{number}"))
    desk.pass_to(61)
    assert desk.happened().count("breached") == 40
    desk.hear(said("more", "u7", 70))
    assert desk.case("u7").counts == {"inbound": 2, "outbound": 0}
    assert [fired.kind for fired in desk.case("u7").fired or ()] == ["breached"]


def test_timers_of_a_withdrawn_case_fire_nothing(desk: Desk) -> None:
    desk.hear(said("1"))
    gone = deleted("1", -1)
    desk.hear(replace(gone, received_at=NOON, changed_at=NOON - timedelta(minutes=1)))
    assert desk.case().closed_because == "withdrawn"
    desk.pass_to(500)
    assert not {"warned", "breached"} & set(desk.happened())
    desk.hear(said("2", minute=600))
    assert desk.case().state == "open"


@pytest.mark.exhaustive
def test_a_thousand_facts_can_be_merged_and_sent(desk: Desk) -> None:
    part = "bluesky:network:part"
    for number in range(1_000):
        desk.hear(said(f"w{number}", f"u{number % 12}", number / 10, conversation=part))
    parts = {"conversation": part, "into_conversation_id": ROOT, "by": "understand"}
    desk.order("merge", customer="", **parts)
    outcomes = desk.stage.drain()
    assert all(outcome.fate is not Fate.DEAD_LETTERED for outcome in outcomes)
    cases = [case for case in records(desk).values() if case.conversation_id == ROOT]
    assert sum((case.counts or {}).get("inbound", 0) for case in cases) == 1_000
    assert all(len(codec.encode(case)) < RECORD_BYTES for case in cases)


def test_an_override_of_a_post_that_nobody_can_read_any_more_holds(desk: Desk) -> None:
    desk.hear(said("1"))
    outcome = desk.order("override", tone="negative", object_id="bluesky:network:1", **at(2))
    assert outcome.reason == "applied"
    assert desk.case().facts[0].tone == "negative"


def test_an_answer_that_is_deleted_was_given_and_the_customer_waits_again(desk: Desk) -> None:
    desk.hear(said("1"))
    desk.hear(answered("2", 10, in_reply_to="1"))
    assert desk.case().state == "waiting"
    desk.hear(deleted("2", 20))
    case = desk.case()
    assert (case.state, case.waiting_since) == ("open", NOON + timedelta(minutes=20))
    assert case.first_response_at == NOON + timedelta(minutes=10)
    assert {clock.name for clock in case.clocks or () if clock.state == "running"} == {
        "next_response",
        "resolution",
    }


def test_a_later_generation_keeps_its_name_when_the_first_is_forgotten(desk: Desk) -> None:
    week = 7 * 24 * 60
    desk.hear(said("1"))
    desk.order("close", **at(10))
    late = REMEMBERED.total_seconds() / 60
    desk.hear(said("2", minute=late - week))
    assert desk.case(generation=2).state == "open"
    for minute in range(20, 26):
        desk.pass_to(late + minute)
    assert ("nordlicht:" + ROOT + ":anna#1") not in records(desk)
    desk.hear(said("3", minute=late + 30))
    assert desk.case(generation=2).state == "open"
    assert desk.case(generation=2).counts == {"inbound": 2, "outbound": 0}
    assert list(records(desk)) == ["nordlicht:" + ROOT + ":anna#2"]


@pytest.mark.parametrize("seed", range(6))
def test_a_restart_between_any_two_messages_changes_no_record(seed: int) -> None:
    """Whether a conversation was kept at hand or read anew, the same is written."""
    written = [_history(seed, restarts=restarts) for restarts in (False, True)]
    assert written[0] == written[1]


def _history(seed: int, *, restarts: bool) -> list[bytes | None]:
    random, other = Random(seed), Random(seed + 1)
    desk = Desk(BRAND)
    for number in range(60):
        minute = number * 7
        who = f"u{random.randrange(14)}"
        desk.now = NOON + timedelta(minutes=minute + 1)
        if restarts and other.random() < 0.4:
            desk.stage.restart()
        kind = random.choice(("said", "said", "said", "answered", "close", "time", "deleted"))
        name = f"w{random.randrange(max(1, number))}"
        if kind == "said":
            desk.hear(said(f"w{number}", who, minute))
        elif kind == "answered":
            desk.hear(answered(f"w{number}", minute, in_reply_to=name))
        elif kind == "deleted":
            desk.hear(deleted(name, minute))
        elif kind == "time":
            desk.pass_to(minute)
        else:
            desk.order(kind, who, **at(minute))
    return [message.value for message in desk.written(Topic.CASES)]


@pytest.mark.parametrize("hashes", ["", "AAAA", "no base64!", "AAAAAAAAAAA=" * 2])
def test_a_summary_that_is_none_is_a_dead_letter(desk: Desk, hashes: str) -> None:
    """What others send is read before it is taken; what is folded later has to be readable."""
    desk.hear(said("1"))
    summary = {
        "hashes": hashes,
        "count": 1,
        "last_at": NOON.isoformat(),
        "last_object": "0123456789abcdef",
        "opened_at": NOON.isoformat(),
        "opening": {"queue": "first", "priority": {"score": 0, "parts": {}}},
    }
    facts = {"facts": [], "customer": "bert", "summary": summary}
    outcome = desk.order("merge", customer="", facts=facts)
    if hashes:
        assert outcome.fate is Fate.DEAD_LETTERED
    assert desk.hear(said("2", minute=3)).fate is Fate.DELIVERED
    assert desk.case().state == "open"


HASH = "0123456789abcdef"
NONE = "0123456789abcdeG"
SENT_FACT = {
    "object": HASH,
    "revision": 0,
    "content": HASH,
    "at": NOON.isoformat(),
    "direction": "inbound",
    "change": "created",
    "customer": "bert",
}


@pytest.mark.parametrize(
    "part",
    [
        {"object": NONE},
        {"content": NONE},
        {"author": NONE},
        {"in_reply_to": NONE},
        {"version": NONE},
        {"addressees": [HASH, NONE]},
        {"opening": {"queue": "q", "priority": {"score": 0, "parts": {}}, "terms": NONE}},
        {"content": HASH + "0"},
        {},
    ],
    ids=str,
)
def test_hashes_that_others_send_are_of_hex_digits(desk: Desk, part: dict[str, object]) -> None:
    """The shape of a case believes those of its own records."""
    desk.hear(said("1"))
    outcome = desk.order("merge", customer="", facts={"facts": [SENT_FACT | part]})
    assert outcome.fate is (Fate.DEAD_LETTERED if part else Fate.DELIVERED)
    assert desk.hear(said("2", minute=3)).fate is Fate.DELIVERED


@pytest.mark.parametrize("part", [{"anchor": NONE}, {"object": NONE}], ids=str)
def test_hashes_of_commands_that_others_send_are_of_hex_digits(
    desk: Desk, part: dict[str, object]
) -> None:
    sent = {"id": "c1", "kind": "close", "at": NOON.isoformat(), "by": "jo", **part}
    outcome = desk.order("merge", customer="", facts={"facts": [], "commands": [sent]})
    assert outcome.fate is Fate.DEAD_LETTERED
