"""I10: what people say, and who they are, appears in no log line, metric, header or sentence.

The real loop runs over an in-memory broker. A canary stands wherever an author's words, names,
handles or secrets can stand: in events that are told, refused, and on which our own code raises.
"""

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Mapping

import msgspec
import pytest
import structlog

from klingel.clock import SystemClock
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.domain.draft import SocialDraft
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.model import RawEvent
from klingel.stage.dead_letters import Component
from klingel.stage.in_memory import InMemoryTable
from klingel.stage.ports import Logic, StateTable
from klingel.testing.broker import (
    InMemoryBroker,
    InMemoryInput,
    InMemoryLog,
    InMemoryTransactions,
)
from klingel_networks.contract import Network
from klingel_networks.registry import installed_network
from klingel_processors.batch_service import BatchLoop, BatchSettings
from klingel_processors.care.logic import CareLogic
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import brand, generic, gone, ring

CANARY = "canary-4b1d"
BRANDS = {"nordlicht": brand()}
PATIENCE_SECONDS = 20.0


@pytest.fixture
def printed(monkeypatch):
    """Everything that is logged."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stderr", buffer)
    configure_logs("suite", "debug")
    yield buffer
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def with_canaries() -> list[Output]:
    """Return raw events of every fate, a canary in each field that people can fill."""
    person = {"id": CANARY, "handle": CANARY, "name": CANARY}
    said = generic(
        "told",
        f"nordlicht {CANARY}",
        author=person,
        url=f"https://x.example/{CANARY}?token={CANARY}",
        media=[{"kind": "image", "id": CANARY, "alt": CANARY}],
        target=CANARY,
    )
    edited = {**said, "text": f"edited {CANARY}", "change": "updated", "revision": 1}
    other = {**said, "text": f"nordlicht, and {CANARY}"}
    told = [
        said,
        said,
        other,
        edited,
        gone("told"),
        generic("unheard", CANARY, author=person),
        generic("raising", f"nordlicht raise {CANARY}", author=person),
    ]
    return [*map(ring, told), *broken(ring(said))]


def broken(good: Output) -> list[Output]:
    """Return records that the mapping or the codec refuses, each in a way of its own."""
    raw = msgspec.json.decode(good.value or b"")

    def with_native(**changes: object) -> bytes:
        return msgspec.json.encode({**raw, "native": {**raw["native"], **changes}})

    values = [
        with_native(kind=CANARY),
        with_native(author=CANARY),
        with_native(author={"id": [CANARY]}),
        with_native(text={CANARY: CANARY}),
        with_native(published_at=CANARY),
        with_native(media=[{"kind": CANARY}]),
        with_native(metrics={CANARY: CANARY}),
        with_native(lang=CANARY + "!"),
        msgspec.json.encode({**raw, "kind": CANARY}),
        msgspec.json.encode({**raw, "context": {CANARY: 1}}),
        msgspec.json.encode({**raw, "network": "nowhere"}),
        b'{"text": "' + CANARY.encode(),
        CANARY.encode(),
    ]
    return [Output(good.topic, good.key, value, ()) for value in values]


def raising(name: str) -> Network:
    """Return the network, with a mapping that raises on some texts and quotes them."""
    network = installed_network(name)

    def to_social_event(raw: RawEvent) -> SocialDraft:
        draft = network.to_social_event(raw)
        if draft.text is not None and "raise" in draft.text:
            raise ValueError(draft.text)
        return draft

    return Network(network.name, network.explode, network.identify, to_social_event)


def understand(partition: int) -> Logic:
    """Build understand."""
    return UnderstandLogic(
        partition,
        networks=raising,
        detect=lambda _text: ("de", 0.9),
        readers=lambda _model: None,
        originals=lambda _reference: b"",
        world=lambda: World(BRANDS, {}),
    )


def care(partition: int) -> Logic:
    """Build care."""
    return CareLogic(partition, brands=lambda: BRANDS)


def loop(broker: InMemoryBroker, build: Callable[[int], Logic], metrics: Metrics) -> BatchLoop:
    """Build the real loop over the broker."""
    logic = build(0)
    tables: dict[int, Mapping[str, StateTable]] = {}
    return BatchLoop(
        logic=build,
        source=InMemoryInput(broker, logic.inputs, logic.name),
        log=InMemoryLog(broker),
        writer=lambda partition: InMemoryTransactions(broker, group=logic.name, number=partition),
        tables=lambda partition: tables.setdefault(
            partition, {name: InMemoryTable() for name in logic.tables}
        ),
        component=Component(service=f"klingel-{logic.name}/1", stage=logic.name, holder="suite"),
        clock=SystemClock(),
        metrics=metrics,
        settings=BatchSettings(batch_messages=5, batch_wait_seconds=0.02),
    )


async def run(broker: InMemoryBroker, build: Callable[[int], Logic], metrics: Metrics) -> None:
    """Run a stage until its input is read."""
    worker = loop(broker, build, metrics)
    name, topic = build(0).name, build(0).inputs[0]
    task = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not _finished(broker, name, topic):
                await broker.changed.wait()
    finally:
        worker.stop()
        await asyncio.wait_for(task, PATIENCE_SECONDS)


def _finished(broker: InMemoryBroker, group: str, topic: Topic) -> bool:
    for partition in range(broker.partitions):
        unread = [message.offset for message in broker.messages(topic, partition)]
        done = broker.committed(group, topic, partition)
        if unread and (done is None or done.offset <= unread[-1]):
            return False
    return True


async def test_no_canary_sings(printed: io.StringIO) -> None:
    """Logs, metrics, headers of dead letters and ledger lines hold reasons, never words."""
    broker = InMemoryBroker(partitions=2)
    metrics = Metrics("suite")
    for output in with_canaries():
        broker.append(output)
    broker.fail_next_commit("before")
    await run(broker, understand, metrics)
    for message in broker.messages(Topic.SOCIAL_EVENTS)[:2]:
        event = msgspec.json.decode(message.value or b"")
        broken_event = msgspec.json.encode({**event, "kind": CANARY, "text": CANARY})
        broker.append(Output(Topic.SOCIAL_EVENTS, b"k", broken_event, partition=message.partition))
    await run(broker, care, metrics)

    letters = broker.messages(Topic.DEAD_LETTERS)
    assert len(letters) == len(broken(ring(generic("x")))) + 1 + 2
    assert {dead.header("x-dlq-kind") for dead in letters} >= {
        b"unhandled:ValueError",
        b"unknown_network",
        b"schema",
        b"malformed_json",
    }
    assert len(broker.messages(Topic.ROUTED_EVENTS)) >= 3
    assert "partition_opened" in printed.getvalue()
    assert "batch_not_committed" in printed.getvalue()

    assert CANARY not in printed.getvalue()
    assert CANARY.encode() not in metrics.render()
    for message in letters:
        assert CANARY not in _own_headers(message)
    for message in broker.messages(Topic.STAGE_LEDGER):
        assert CANARY.encode() not in (message.value or b"")


def _own_headers(message: Message) -> str:
    """Return what the dead letter adds; the message's own headers are its own."""
    return " ".join(
        f"{name}={value.decode()}"
        for name, value in message.headers
        if name.startswith(("__connect", "x-dlq", "klingel"))
    )


def test_a_canary_sits_in_every_record_but_the_deletion() -> None:
    """The test above can only notice what is there."""
    silent = [output for output in with_canaries() if CANARY.encode() not in (output.value or b"")]
    assert [output.key for output in silent] == [b"webhook:forum:told"]
    assert b'"deleted"' in (silent[0].value or b"")
