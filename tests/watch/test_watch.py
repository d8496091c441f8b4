"""What watch says of what was heard, and that neither restarts nor repeats say it twice."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.contracts.envelope import CAUSE_HEADER, SOURCE_HEADER, Message, Output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key
from klingel.domain.identity import object_of
from klingel.errors import SourceUnavailable
from klingel.model import WatchState
from klingel.model.brand_signals import Signal
from klingel.stage.fates import Fate
from klingel.testing.conversations import compiled_brand

from .conftest import ALERTS, BRAND, START, Post, in_order, ringing, row, told, usual

RING = 600.0
SCENE = in_order([*usual(12), *ringing(RING)])


def test_many_with_one_question_are_told_and_their_cases_joined(post: Post) -> None:
    """One incident; a command for each member, on the partition of its conversation."""
    outcomes = post.hear(SCENE)
    incidents = post.incidents()
    assert {each.incident_id for each in incidents} == {incidents[0].incident_id}
    last = incidents[-1]
    assert (last.state, last.kind, last.targets) == ("open", "same_question", ["chat"])
    joined = [each for each in post.commands() if each.kind == "incident_joined"]
    assert len(joined) >= 20
    assert {each.target for each in joined} == {last.incident_id}
    assert len({each.command_id for each in joined}) == len(joined)
    outputs = [each for outcome in outcomes for each in outcome.outputs]
    commands = [each for each in outputs if each.topic is Topic.CASE_COMMANDS]
    places = {conversation_key("nordlicht", each.conversation_id) for each in joined}
    assert {each.partition_key for each in commands} == places
    assert {each.partition_key for each in outputs if each.topic is Topic.INCIDENTS} == {
        b"nordlicht"
    }


def test_a_wave_of_complaints_is_an_alert_with_evidence(post: Post) -> None:
    """After days in which something was usual."""
    quiet = [replace(each, tone="neutral") for each in usual(72, 12)]
    wave = [
        replace(each, event_id=f"{each.event_id}w", topics=["outage"])
        for each in ringing(71 * 60, number=150)
    ]
    post.hear(in_order([*quiet, *wave]), 40)
    alerts = post.alerts()
    assert alerts
    opened = alerts[0]
    assert (opened.state, opened.brand, opened.targets) == ("open", "nordlicht", ["chat"])
    assert opened.evidence is not None
    assert opened.evidence.terms
    assert opened.evidence.authors
    assert opened.evidence.authors >= 4


def test_history_alerts_nobody(post: Post) -> None:
    """A backfill of the same wave says nothing."""
    post.hear([replace(each, mode="backfill") for each in SCENE])
    assert not post.said()


@pytest.mark.parametrize("imported", [True, False])
def test_a_brand_that_imports_its_last_days_is_warned_on_its_first(
    post: Post, imported: bool
) -> None:
    """Without the import nothing is usual for a day; also where the worker is replaced."""
    days = [
        replace(
            each,
            mode="backfill",
            tone="neutral",
            received_at=START + timedelta(hours=72),
        )
        for each in usual(72, 12)
    ]
    if imported:
        post.hear(days[::-1], 200)
        post.stage.restart()
    quiet = [row(f"l{n}", 72 * 60 + 15 + n * 5, "hello there", tone="neutral") for n in range(12)]
    wave = [replace(each, topics=["outage"]) for each in ringing(73 * 60, number=150)]
    post.hear(in_order([*quiet, *wave]), 40)
    alerts = [each for each in post.alerts() if each.kind in {"negative", "volume"}]
    assert bool(alerts) is imported
    assert all(each.opened_at >= START + timedelta(hours=72) for each in alerts)


def test_what_was_heard_is_heard_once(post: Post) -> None:
    """The same rows again, at another place, with and without a restart in between."""
    post.hear(SCENE)
    said = post.said()
    known = {Fate.REPEATED, Fate.DISCARDED}  # what is too old to be remembered is too late
    assert {each.fate for each in post.hear(SCENE)} <= known
    post.stage.restart()
    assert {each.fate for each in post.hear(SCENE)} <= known
    assert post.said() == said


def test_the_same_author_in_two_conversations_is_one_case(post: Post) -> None:
    """A command to the second conversation, that names the first."""
    text = "I have been waiting for my router for two weeks now, contract 4711"
    first = row("a1", 0, text, customer_id="x:anna", author="a" * 16)
    again = row("a2", 5, text, customer_id="x:anna", author="a" * 16)
    post.hear([first, again, row("z", 10)])
    (command,) = post.commands()
    assert (command.kind, command.by) == ("merge", "watch")
    assert command.conversation_id == again.conversation_id
    assert command.into_conversation_id == first.conversation_id
    assert command.customer_id == command.into_customer_id == "x:anna"


def test_the_same_text_on_two_networks_is_linked(post: Post) -> None:
    """The other case is named as far as it is known."""
    text = "I have been waiting for my router for two weeks now, contract 4711"
    first = row("a1", 0, text)
    again = row("a2", 5, text, network="y", conversation_id="y:c:9", customer_id="y:9")
    post.hear([first, again, row("z", 10)])
    (command,) = post.commands()
    assert command.kind == "similar_to"
    assert command.target == f"nordlicht:{first.conversation_id}:{first.customer_id}#1"


def test_nobody_answers_and_then_somebody_does(post: Post) -> None:
    """Told by time alone, once, more severe as it lasts, and taken back by an answer."""
    post.hear([row("q", 0, "where is my router?")])
    post.pass_time(119)
    assert not post.alerts()
    post.pass_time(121)
    post.pass_time(122)
    (alert,) = post.alerts()
    assert (alert.kind, alert.state, alert.severity) == ("nobody_answered", "open", 5)
    (message,) = post.written(Topic.ALERTS)
    headers = dict(message.headers)
    assert headers[SOURCE_HEADER].startswith(b"watch.timers/0/")
    assert CAUSE_HEADER in headers
    post.pass_time(241)
    kinds = [(each.kind, each.severity) for each in post.alerts()[1:]]
    assert sorted(kinds) == [("nobody_answered", 6), ("oldest_unanswered", 5)]
    post.hear([row("a", 250, direction="outbound", conversation_id="x:network:q")])
    post.pass_time(251)
    ended = [each for each in post.alerts() if each.state == "ended"]
    assert {each.kind for each in ended} == {"nobody_answered", "oldest_unanswered"}
    assert {each.alert_id for each in ended} == {each.alert_id for each in post.alerts()}


def test_an_answer_that_is_heard_before_the_question_answers_it(post: Post) -> None:
    """Two partitions of understand are as fast as they are."""
    post.hear([row("a", 5, direction="outbound", conversation_id="x:network:q")])
    post.hear([row("q", 0, "where is my router?")])
    post.pass_time(300)
    assert not post.alerts()


def test_a_channel_falls_silent_and_speaks_again(post: Post) -> None:
    """Also when the worker was restarted in between and no row has come since."""
    post.hear([row("q", 0, direction="outbound")])
    post.stage.restart()
    post.pass_time(361)
    (alert,) = post.alerts()
    assert (alert.kind, alert.network, alert.state) == ("dormant_channel", "x", "open")
    post.hear([row("p", 400, direction="outbound")])
    post.pass_time(401)
    assert post.alerts()[-1].state == "ended"


def test_a_connector_falls_silent_and_speaks_again(post: Post) -> None:
    """Eight days around the clock, then nothing; its status is the evidence, also after a restart."""
    post.hear([row(f"w{n}", n * 10, "hello", direction="third_party") for n in range(8 * 144)], 99)
    end = 8 * 24 * 60.0
    post.pass_time(end + 10)
    assert not post.alerts()
    post.now = START + timedelta(minutes=end + 180)
    post.tell("failed", reason="the network refuses the credential", credential="revoked")
    post.pass_time(end + 181)
    alert = post.alerts()[0]
    assert (alert.kind, alert.state, alert.severity) == ("silent_connector", "open", 8)
    assert (alert.network, alert.channel, alert.targets) == ("x", "x-1", ["chat"])
    assert alert.opened_at == START + timedelta(minutes=end - 10)
    assert alert.reason is not None
    assert "credential is revoked" in alert.reason
    assert "the network refuses the credential" in alert.reason
    post.stage.restart()
    post.pass_time(end + 182)
    post.tell("running")
    post.hear([row("again", end + 200, direction="third_party")])
    post.pass_time(end + 201)
    opened, ended = [each for each in post.alerts() if each.kind == "silent_connector"]
    assert (ended.state, ended.alert_id) == ("ended", opened.alert_id)
    assert "x-1 said running" in (ended.reason or "")


def test_what_a_connector_says_is_followed(post: Post) -> None:
    """The newest status counts; of what was forgotten and of nonsense there is none."""
    post.tell("running")
    post.tell("failed")
    (known,) = post.connectors.known()
    assert (known.instance, known.network, known.state) == ("x-1", "x", "failed")
    post.tell_gap(3, "open")
    post.tell_gap(3, "filled", 9)
    (gap,) = post.connectors.gaps()
    begin = START.timestamp() + 180
    assert gap == ("x-1", "x", begin, begin + 360, False)
    assert post.connectors.known() == (known,)
    post.tell_gap(3, "open", channel="one of many")
    assert not post.connectors.gaps()
    for value in (b"{", None):
        post.connectors.take(Message(Topic.CONNECTOR_STATUS, 0, 0, b"x-1", value))
        assert not post.connectors.known()
    post.connectors.take(Message(Topic.BRAND_CONFIG, 0, 0, b"x-1", b"{}"))
    assert not post.connectors.known()


def complaints(begin: float, minutes: int, filled_at: datetime | None = None) -> list[Signal]:
    """Return a wave of negative posts, three a minute; heard at once, or when a gap was filled."""
    wave = [row(f"c{n}", begin + n / 3, "Ausfall") for n in range(3 * minutes)]
    if filled_at is None:
        return wave
    return [replace(each, mode="gap_fill", received_at=filled_at) for each in wave]


def test_a_gap_is_no_calm_and_what_fills_it_no_surge(post: Post) -> None:
    """Away for six hours; what was said then is told at once, later, each with its own time."""
    post.hear(usual(30), 99)
    end = 30 * 60.0
    post.tell("running")
    post.tell_gap(end, "open")
    post.pass_time(end + 300)
    post.stage.restart()
    back = end + 360
    arrived = START + timedelta(minutes=back)
    filling = complaints(end + 10, 340, arrived)
    undated = [
        replace(each, event_id=f"nordlicht/x:network:t{n}@0", at=arrived)
        for n, each in enumerate(filling[:300])
    ]
    live = [row(f"l{n}", back + 10 * n) for n in range(18)]
    post.tell_gap(end, "filled", back - 10)
    post.pass_time(back)
    post.hear([*filling, *undated], 99)
    post.hear(live)
    post.pass_time(back + 180)
    assert not {each.kind for each in post.alerts()} & {"negative", "volume", "positive"}


def test_a_crisis_behind_a_gap_is_told_at_once(post: Post) -> None:
    post.hear(usual(30), 99)
    end = 30 * 60.0
    post.tell("running")
    post.tell_gap(end, "open")
    post.pass_time(end + 180)
    post.tell_gap(end, "filled", end + 180)
    post.pass_time(end + 181)
    post.hear(complaints(end + 185, 30), 9)
    assert "negative" in {each.kind for each in post.alerts()}


def test_while_it_is_not_known_what_was_read_no_silence_is_told(post: Post) -> None:
    """Whoever lags behind has not heard the answer yet."""
    post.hear([row("q", 0)])
    post.now = START + timedelta(hours=20)
    assert not post.stage.tick(None)
    assert not post.alerts()


def test_an_incident_ends_by_time_alone(post: Post) -> None:
    """When nothing else comes."""
    post.hear(SCENE)
    post.pass_time(12 * 60 + 300)
    last = post.incidents()[-1]
    assert last.state == "ended"
    assert last.ended_at == last.updated_at + timedelta(hours=2)


def test_settings_that_change_are_followed(post: Post) -> None:
    """Without a restart; what is open goes on."""
    post.hear(SCENE)
    post.brands["nordlicht"] = compiled_brand(
        alerts={**ALERTS, "notify": [], "incident_notify": []}
    )
    object.__setattr__(post.brands["nordlicht"], "version", "f" * 16)
    post.hear([row("later", 12 * 60 + 400)])
    assert post.incidents()[-1].state == "ended"
    assert post.incidents()[-1].targets is None
    assert post.incidents()[-1].config_version == "f" * 16


def test_signals_of_a_brand_whose_configuration_is_late_wait(post: Post) -> None:
    """For a minute after they were written; then nobody will come."""
    post.brands.clear()
    post.put([row("q", 0)])
    post.now = START + timedelta(seconds=30)
    with pytest.raises(SourceUnavailable):
        post.stage.drain()
    post.now = START + timedelta(seconds=90)
    (outcome,) = post.stage.drain()
    assert (outcome.fate, outcome.reason) == (Fate.DEAD_LETTERED, "unknown_brand")


@pytest.mark.parametrize("value", [b"{", b"[]", b"{}", None, b'{"brand":"nordlicht","rows":[{}]}'])
def test_what_is_no_record_of_rows_is_a_dead_letter(post: Post, value: bytes | None) -> None:
    """And what came with it in the same batch is remembered all the same."""
    post.put([row("q", 0)])
    post.broker.append(Output(Topic.BRAND_SIGNALS, b"nordlicht", value))
    good, bad = post.stage.drain()
    assert (good.fate, bad.fate) == (Fate.DELIVERED, Fate.DEAD_LETTERED)
    assert post.broker.compacted(Topic.WATCH_STATE)
    post.stage.restart()
    assert [each.fate for each in post.hear([row("q", 0)])] == [Fate.REPEATED]


def test_hostile_rows_are_rows(post: Post) -> None:
    """Never an exception."""
    texts = ["", "?" * 280, "\U0001f525" * 280, "a\u0300" * 140, "\u202e\ufeff", "\x00"]
    rows = [row(f"h{n}", n, texts[n % 6], lang=f"l{n}", channel=f"c{n}") for n in range(60)]
    assert {each.fate for each in post.hear(rows)} == {Fate.DELIVERED}


def test_state_is_written_in_pieces_and_superfluous_pieces_are_removed(post: Post) -> None:
    """A snapshot, the rows since then, posts; nothing else stays."""
    for each in SCENE:
        post.hear([each])
    keys = post.broker.compacted(Topic.WATCH_STATE)
    kinds = sorted({key[:1] for key in keys})
    assert kinds in ([b"p", b"s"], [b"p", b"r", b"s"])
    values = [codec.decode(WatchState, value) for value in keys.values()]
    assert len([each for each in values if each.kind == "rows"]) <= 5
    tables = post.stage.tables()["state"]._values
    assert set(tables) == set(keys)


EXPECTED: list[tuple[str, bytes | None, bytes | None]] = []


def expected() -> list[tuple[str, bytes | None, bytes | None]]:
    """Return what one worker says of the scene."""
    if not EXPECTED:
        fresh = Post()
        fresh.hear(SCENE)
        EXPECTED.extend(fresh.said())
    return EXPECTED


@settings(max_examples=8)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.sets(st.integers(0, 20), max_size=4),
    st.integers(1, 9),
)
def test_batches_records_and_restarts_change_nothing(
    cuts: list[int], restarts: set[int], batch: int
) -> None:
    """However rows are packed, batches cut, and wherever the worker is replaced."""
    post = Post()
    at = number = 0
    while at < len(SCENE):
        size = cuts[number % len(cuts)]
        post.put(SCENE[at : at + size], size)
        at += size
        if number in restarts:
            post.stage.restart()
        post.now = SCENE[min(at, len(SCENE)) - 1].received_at
        post.stage.drain(batch)
        number += 1
    assert post.said() == expected()


def test_a_second_brand_has_a_memory_of_its_own(post: Post) -> None:
    """What one brand's customers say twice is no news of the other's."""
    other = compiled_brand(brand="south", name="South")
    post.brands["south"] = other
    post.hear(SCENE)
    rows = [
        replace(each, event_id=each.event_id.replace("nordlicht/", "south/")) for each in SCENE[:50]
    ]
    post.broker.append(told(rows, "south"), int(START.timestamp() * 1000))
    assert {each.fate for each in post.stage.drain()} == {Fate.DELIVERED}
    assert BRAND.brand in {each.brand for each in post.incidents()}


def stored(post: Post) -> set[str]:
    """Return the kinds of pieces that are stored of the brand."""
    held = post.broker.compacted(Topic.WATCH_STATE)
    return {codec.decode(WatchState, each).kind for each in held.values() if each is not None}


def test_erased_posts_are_examples_of_nothing_that_is_told_afterwards(post: Post) -> None:
    """An incident that goes on is told again and again: what was erased meanwhile is left out."""
    half = [each for each in SCENE if each.at <= START + timedelta(minutes=RING + 6)]
    post.hear(half)
    first = post.incidents()[-1].samples[0]
    key = Key("a key of this test's own")
    record = key.suppression("object", object_of(first), post.now)
    post.suppressed.take(record.subject.encode(), record)
    told_before = len(post.incidents())
    post.hear(SCENE[len(half) :])
    later = post.incidents()[told_before:]
    assert later
    assert all(each.samples and first not in each.samples for each in later)


def test_what_was_said_of_a_silent_brand_is_forgotten_in_time(post: Post) -> None:
    """No further row comes that would let its time pass."""
    post.hear(usual(12))
    for minute in (60, 100, 24 * 60, 47 * 60):
        post.pass_time(RING + minute)
        assert stored(post) > {"snapshot"}
    post.pass_time(RING + 50 * 60)
    assert stored(post) == {"snapshot"}
    before = len(post.written(Topic.WATCH_STATE))
    post.pass_time(RING + 53 * 60)
    assert len(post.written(Topic.WATCH_STATE)) == before
