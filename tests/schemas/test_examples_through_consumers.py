"""Every example goes through every consumer of its topic, and so does a tombstone of its key.

The consumers are those that the topic files name; each stands here with the code by which it reads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import NoReturn, TypeVar

import msgspec
import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message, ce_headers, trace_id
from klingel.contracts.topics import Topic, topic_specs
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import ConnectorStatus, DirectoryEntry, IdentityLink, LedgerLine, MediaJob
from klingel.settings import KafkaSettings
from klingel.stage.audit import CHAIN, by_slot, standing
from klingel.stage.batch import Overlay
from klingel.stage.checkpoint import Folding
from klingel.stage.fates import Fate, Outcome
from klingel.stage.guard import Brake, guard
from klingel.stage.in_memory import InMemoryTable
from klingel.testing.broker import InMemoryBroker
from klingel_cli.books import _checkpoints, _place
from klingel_cli.commands import config, status
from klingel_cli.dead_letters import KeptDeadLetter
from klingel_connectors.chat_outbox import read_reply
from klingel_connectors.cursor import _cursors, newest
from klingel_connectors.filters import BrandFilter
from klingel_connectors.kept import kept
from klingel_connectors.suppression import Erased
from klingel_indexer.convert import INPUTS, convert
from klingel_networks.registry import installed_network
from klingel_notifier.intake import take_in
from klingel_notifier.mailbox import Mailbox
from klingel_notifier.targets import Targets, Unset
from klingel_processors.care.logic import CareLogic
from klingel_processors.care.records import CASES
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.hearing import HearingLogic
from klingel_processors.understand.logic import DIRECTORY, MARKS, UnderstandLogic, World
from klingel_processors.understand.thread import LINKS, ThreadLogic
from klingel_processors.watch.connectors import Connectors
from klingel_processors.watch.logic import STATE, WatchLogic

from ..ringing import brand, generic, ring

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
KAFKA = KafkaSettings()
Consumer = Callable[[Message], object]
Stage = UnderstandLogic | ThreadLogic | CareLogic


def surroundings() -> Surroundings:
    """Return brands and tracked conversations of the examples, as the processors follow them."""
    around = Surroundings()
    for message in messages(Topic.BRAND_CONFIG):
        around.take(message)
    return around


def messages(topic: Topic) -> list[Message]:
    """Return the examples of a topic as they are read."""
    from .conftest import samples  # noqa: PLC0415 - the folder's own builder

    return [
        as_message(sample.topic, sample.value, at)
        for at, sample in enumerate(samples("examples"))
        if sample.topic is topic
    ]


def as_message(topic: Topic, value: bytes | None, offset: int = 0) -> Message:
    """Return a record as it is read: with CloudEvents headers, and a dead letter's own."""
    name = f"example-{offset}"
    headers = ce_headers(
        topic,
        event_id=f"{name}@0",
        source="klingel/examples",
        subject=name,
        time=NOON,
        trace=trace_id(name),
    )
    if topic is Topic.DEAD_LETTERS and value is not None:
        named = msgspec.json.decode(value)
        headers += tuple(
            (key, str(word).encode()) for key, word in named.items() if isinstance(word, str)
        )
    return Message(topic, 0, offset, f"nordlicht|{name}".encode(), value, headers)


def understand(world: Callable[[], World] | None = None) -> UnderstandLogic:
    """Return understand, with the brands of the examples and an empty blob store."""
    return hearing(UnderstandLogic, world)


def thread(world: Callable[[], World] | None = None) -> ThreadLogic:
    """Return the thread stage of understand, likewise."""
    return hearing(ThreadLogic, world)


L = TypeVar("L", bound=HearingLogic)


def hearing(stage: type[L], world: Callable[[], World] | None) -> L:
    """Build a stage that hears."""

    def gone(_reference: object) -> bytes:
        raise InvalidMessage(ErrorType.ORIGINAL_GONE, "the original is no longer kept")

    around = surroundings()
    return stage(
        0,
        networks=installed_network,
        detect=lambda _text: ("de", 0.9),
        readers=lambda _model: None,
        originals=gone,
        world=world or (lambda: World(around.brands.by_name, around.tracking)),
    )


def care() -> CareLogic:
    """Return care, with the brands of the examples."""
    around = surroundings()
    return CareLogic(0, brands=lambda: around.brands.by_name)


def watch() -> WatchLogic:
    """Return watch, with the brands of the examples."""
    around = surroundings()
    return WatchLogic(0, brands=lambda: around.brands.by_name)


def stepping(build: Callable[[], UnderstandLogic | CareLogic | WatchLogic]) -> Consumer:
    """Return what a stage does with a message of its input: a fate, never an exception of ours."""

    def consume(message: Message) -> Outcome:
        logic = build()
        state = Overlay({name: InMemoryTable() for name in logic.tables})
        assert list(logic.needs(message, state)) == []
        outcome, _error = guard(
            lambda each: logic.step(each, state, NOON, {}), message, Brake(), logic.source_of
        )
        assert not outcome.reason.startswith("unhandled"), outcome.reason
        return outcome

    return consume


def restoring(
    build: Callable[[], UnderstandLogic | CareLogic | WatchLogic], table: str
) -> Consumer:
    """Return what a stage does with a record that mirrors its state."""

    def consume(message: Message) -> object:
        logic = build()
        state = Overlay({name: InMemoryTable() for name in logic.tables})
        return state.put(tuple(logic.restore(table, message, state)))

    return consume


def follow(message: Message) -> None:
    """Read as the processors follow brands and tracked conversations."""
    Surroundings().take(message)


def follow_link(message: Message) -> None:
    """Read as understand and the command line follow which ids are one customer."""
    around = Surroundings()
    around.take(message)
    if message.value is not None:
        known = codec.decode(IdentityLink, message.value)
        assert around.customers.knows(known.brand, known.one)


def index(message: Message) -> object:
    """Read as the indexer does."""
    assert message.topic in INPUTS
    return convert(message, "klingel-", "2026-03-20T12:00:00Z")


def filtering() -> BrandFilter:
    """Return a connector's filter."""
    return BrandFilter(
        KAFKA, installed_network("bluesky"), name="bluesky", channel=None, client_id="x"
    )


def connector_brand(message: Message) -> None:
    """Read as a connector's filter does; it must not merely log that it could not."""
    known = filtering()
    assert known._brand(message) == (message.value is not None)
    known._renew()


def media_job(message: Message) -> None:
    """Read as the media worker does."""
    assert codec.decode(MediaJob, message.value).media


def connector_tracked(message: Message) -> None:
    """Read as a connector's filter does."""
    known = filtering()
    known._conversation(message)
    assert len(known._known.tracked) == (message.value is not None)


def connector_suppression(message: Message) -> None:
    """Read as connectors and gateway do; without the key a record is one of a stranger's."""
    known = Erased(None)
    known.take(message.topic, message)
    assert bool(known._suppressed.strange) == (message.value is not None)


def connector_reply(message: Message) -> None:
    """Read as the chat does."""
    assert (read_reply(message.value or b"") is not None) == (message.value is not None)


def connector_cursor(message: Message) -> None:
    """Read as a connector that takes its source over."""
    found = newest(_cursors([message], message.key or b""))
    assert (found is not None) == (message.value is not None)


def connector_lease(message: Message) -> None:
    """Read nothing: membership of the topic's consumer group is the lease."""
    del message


@contextmanager
def one_message(message: Message) -> Iterator[SimpleNamespace]:
    """Stand in for the command's Kafka: a log of one record."""
    yield SimpleNamespace(read_whole=lambda _topic: [message])


def cli_status(message: Message) -> object:
    """Read as `klingel status`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "reading", lambda _kafka: one_message(message))
        found = status.connectors(KAFKA)
    assert len(found) == (message.value is not None)
    return found


def cli_config(message: Message) -> object:
    """Read as `klingel config check`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "reading", lambda _kafka: one_message(message))
        found = config.in_force(KAFKA)
    assert len(found) == (message.value is not None)
    return found


def cli_ledger(message: Message) -> object:
    """Read as `klingel audit` and `klingel status`."""
    line = codec.decode(LedgerLine, message.value)
    return standing([line]), by_slot([line], line.stage), status.services([line])


def cli_checkpoint(message: Message) -> object:
    """Read as `klingel audit`; what it cannot read is no checkpoint."""
    found = _checkpoints(SimpleNamespace(read_whole=lambda _topic: [message]))
    assert len(found) == (message.value is not None)
    return [Folding(each.partition, {}, base=each).lines() for each in found.values()]


def notify(message: Message) -> Outcome:
    """Read as the notifier does what is to be told."""
    return take_in(message, NOON)


def notifier_state(message: Message) -> None:
    """Read as the notifier that takes a partition of its own topic over."""
    mailbox = Mailbox(message.offset + 1)
    assert mailbox.apply(message)[1] is None
    assert mailbox.rebuilt
    assert bool(mailbox.addressees) == (message.value is not None)


def notifier_brand(message: Message) -> None:
    """Read as the notifier does; it must not merely log that it could not."""

    def build(_target: object) -> NoReturn:
        raise Unset("no setting here")

    targets = Targets(build, timedelta(days=1))
    targets.take(message)
    assert targets.version == 1


def cli_letter(message: Message) -> object:
    """Read as `klingel dead-letters`."""
    letter = KeptDeadLetter(message)
    return letter.id, letter.kind, letter.origin, letter.size, letter.cut, letter.original_headers


def connector_kept(message: Message) -> None:
    """Read as the X connector asks what is kept: heard by a brand and not deleted."""
    assert message.key is not None
    entry = None if message.value is None else codec.decode(DirectoryEntry, message.value)
    there = entry is not None and bool(entry.brands) and not entry.deleted
    assert kept([(message.key, message.value)], "") == ({message.key.decode()} if there else set())


def watch_status(message: Message) -> None:
    """Read as watch follows it; records of gaps and of what was forgotten are no instance."""
    connectors = Connectors()
    connectors.take(message)
    told = message.value is not None and codec.decode(ConnectorStatus, message.value).gap is None
    assert len(connectors.known()) == told


CONSUMERS: dict[tuple[Topic, str], Consumer] = {
    (Topic.RAW_EVENTS, "understand"): stepping(understand),
    (Topic.UNTHREADED_EVENTS, "understand"): stepping(thread),
    (Topic.CONVERSATION_LINKS, "understand"): restoring(thread, LINKS),
    (Topic.UNDERSTAND_MARKS, "understand"): restoring(understand, MARKS),
    (Topic.OBJECT_DIRECTORY, "understand"): restoring(understand, DIRECTORY),
    (Topic.TRACKED_CONVERSATIONS, "understand"): follow,
    (Topic.IDENTITY_LINKS, "understand"): follow_link,
    (Topic.IDENTITY_LINKS, "cli"): follow_link,
    (Topic.BRAND_CONFIG, "understand"): follow,
    (Topic.SUPPRESSIONS, "understand"): follow,
    (Topic.SUPPRESSIONS, "care"): follow,
    (Topic.SUPPRESSIONS, "watch"): follow,
    (Topic.SUPPRESSIONS, "indexer"): follow,
    (Topic.SUPPRESSIONS, "cli"): follow,
    (Topic.SOCIAL_EVENTS, "care"): stepping(care),
    (Topic.CASE_COMMANDS, "care"): stepping(care),
    (Topic.CASES, "care"): restoring(care, CASES),
    (Topic.BRAND_CONFIG, "care"): follow,
    (Topic.BRAND_SIGNALS, "watch"): stepping(watch),
    (Topic.BRAND_CONFIG, "watch"): follow,
    (Topic.WATCH_STATE, "watch"): restoring(watch, STATE),
    (Topic.CONNECTOR_STATUS, "watch"): watch_status,
    (Topic.ROUTED_EVENTS, "indexer"): index,
    (Topic.CASES, "indexer"): index,
    (Topic.CASE_EVENTS, "indexer"): index,
    (Topic.ESCALATIONS, "indexer"): index,
    (Topic.ALERTS, "indexer"): index,
    (Topic.INCIDENTS, "indexer"): index,
    (Topic.DEAD_LETTERS, "indexer"): index,
    (Topic.CONNECTOR_STATUS, "indexer"): index,
    (Topic.BRAND_CONFIG, "connectors"): connector_brand,
    (Topic.TRACKED_CONVERSATIONS, "connectors"): connector_tracked,
    (Topic.OBJECT_DIRECTORY, "connectors"): connector_kept,
    (Topic.SUPPRESSIONS, "connectors"): connector_suppression,
    (Topic.CHAT_OUTBOX, "connectors"): connector_reply,
    (Topic.MEDIA_JOBS, "connectors"): media_job,
    (Topic.CONNECTOR_CURSORS, "connectors"): connector_cursor,
    (Topic.CONNECTOR_LEASES, "connectors"): connector_lease,
    (Topic.ESCALATIONS, "notifier"): notify,
    (Topic.ALERTS, "notifier"): notify,
    (Topic.INCIDENTS, "notifier"): notify,
    (Topic.NOTIFICATIONS, "notifier"): notifier_state,
    (Topic.BRAND_CONFIG, "notifier"): notifier_brand,
    (Topic.BRAND_CONFIG, "cli"): cli_config,
    (Topic.CONNECTOR_STATUS, "cli"): cli_status,
    (Topic.STAGE_LEDGER, "cli"): cli_ledger,
    (Topic.AUDIT_CHECKPOINTS, "cli"): cli_checkpoint,
    (Topic.DEAD_LETTERS, "cli"): cli_letter,
    # `klingel audit` looks at where each record of the chain came from; `explain` and `case log` show
    # what they can read.
    **{
        (Topic(topic), "cli"): _place
        for topics in CHAIN.values()
        for topic in topics
        if topic not in {Topic.DEAD_LETTERS, Topic.CONNECTOR_STATUS}
    },
}


def consumers_of(topic: Topic) -> list[Consumer]:
    """Return who reads a topic."""
    return [CONSUMERS[topic, name] for name in topic_specs()[topic].consumers]


def test_every_consumer_that_a_topic_names_is_here() -> None:
    """And none more: a topic file that forgets a reader would give it no rights."""
    named = {(topic, name) for topic, spec in topic_specs().items() for name in spec.consumers}
    assert named == set(CONSUMERS)


def test_an_example_passes_every_consumer_of_its_topic(example) -> None:
    """None raises."""
    for consume in consumers_of(example.topic):
        consume(as_message(example.topic, example.value))


def test_a_tombstone_passes_every_consumer_of_a_compacted_topic(topic) -> None:
    """None raises where tombstones belong; elsewhere it is an invalid message and nothing else."""
    for consume in consumers_of(topic):
        try:
            consume(as_message(topic, None))
        except InvalidMessage:
            assert not topic_specs()[topic].compacted


LONGEST = ["%" * 512, "x:" * 256, ":webhook:" * 56, "\u00e9" * 384, "\U0001f514" * 192, "a" * 512]
"""Ids of a generic event at its bounds: 512 characters, 768 bytes."""


@pytest.mark.parametrize(
    "longest", LONGEST, ids=["%", "x:", "network", "2-byte", "4-byte", "1-byte"]
)
def test_what_the_longest_ids_cause_passes_every_consumer(longest: str) -> None:
    """Whatever a mapping lets in can be decided, written, read back and indexed."""
    broker, name = InMemoryBroker(partitions=1), "b" * 60
    world = World({name: brand(name, triage={"open_indirect": True})}, {})
    first = StageInMemory(broker, lambda _partition: understand(lambda: world), lambda: NOON)
    second = StageInMemory(
        broker, lambda partition: CareLogic(partition, brands=lambda: world.brands), lambda: NOON
    )
    said = generic(
        longest,
        f"{name} does not work",
        author={"id": longest},
        conversation_id=longest,
        published_at=f"{NOON:%Y-%m-%dT%H:%M:%SZ}",
    )
    again = said | {"id": longest[:-1], "in_reply_to": longest}
    for event in (said, again):
        broker.append(ring(event, source="s" * 120, received_at=NOON))
    for stage in (first, second):
        assert [outcome.fate for outcome in stage.drain()] == [Fate.DELIVERED] * 2
    assert broker.messages(Topic.CASE_EVENTS), "no case was opened"
    for topic in (Topic.SOCIAL_EVENTS, Topic.ROUTED_EVENTS, Topic.CASES, Topic.CASE_EVENTS):
        for message in broker.messages(topic):
            for consume in consumers_of(topic):
                consume(message)


@pytest.mark.parametrize("stage", ["understand", "thread", "care"])
def test_examples_of_an_input_are_decided_not_dead_letters(stage: str) -> None:
    """The only one that may be is the mail whose original no blob store holds."""
    topic, service = {
        "understand": (Topic.RAW_EVENTS, "understand"),
        "thread": (Topic.UNTHREADED_EVENTS, "understand"),
        "care": (Topic.SOCIAL_EVENTS, "care"),
    }[stage]
    fates = [CONSUMERS[topic, service](message) for message in messages(topic)]
    dead = [each.reason for each in fates if each.fate is Fate.DEAD_LETTERED]
    assert set(dead) <= {"original_gone"}
    assert any(each.fate is Fate.DELIVERED for each in fates)
