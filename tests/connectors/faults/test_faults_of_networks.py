"""Every stand-in under every fault: nothing lost, nothing overtakes, gaps true, state and alert right.

The clients, their deadlines, the back-off tables and the runner are those of production; the sockets
are real; time is skipped where everybody waits (`warp.py`). The same table stands in
docs/reference/network-faults.md.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metric
from klingel_networks.registry import installed

from .listening import Entry, Listening
from .standins import EXPIRING, HALF, LIMITED, NARROWED, REVOKED, STALL, STAND_INS, StandIn
from .warp import LoopClock, run

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "network-faults.md"
CONVERSATIONS = (1, 2)
EXPIRES_IN_DAYS = 5.0
ALERT_BELOW_DAYS = 7.0
"""Of the rule CredentialEnds in deploy/prometheus/rules/connectors.yaml."""


class Scene:
    """A network, the processes that listened to it one after the other, and what was said."""

    def __init__(self, standin: StandIn, blobs: BlobStore) -> None:
        self.standin = standin
        self._blobs = blobs
        self.processes: list[Listening] = []
        self.said: dict[int, list[int]] = {each: [] for each in CONVERSATIONS}
        self.missed: set[int] = set()
        """Numbers of what was said while nothing could be heard."""
        self._number = 0

    @property
    def now(self) -> Listening:
        """The process that runs."""
        return self.processes[-1]

    def start(self) -> Listening:
        """Start a process; it resumes where those before it came to."""
        process = Listening(self.standin, self.standin.clock, self._blobs, self.processes)
        self.processes.append(process)
        return process

    async def begin(self) -> None:
        """Start the first process and see that it listens."""
        process = self.start()
        await process.until(lambda: process.health.state == "running")
        for _ in range(100):
            # what began just now hears nothing older: so somebody speaks until he is heard
            await self._speak(9)
            try:
                await process.until(_passed(self.standin.clock, 20.0, process.heard))
            except TimeoutError:
                continue
            break
        await process.until(process.cursors)

    async def _speak(self, conversation: int) -> int:
        self._number += 1
        await self.standin.say(f"c{conversation}n{self._number}e", conversation)
        return self._number

    async def say(self, count: int = 2, *, unheard: bool = False) -> None:
        """Let customers say something in every conversation, a second apart.

        Args:
            count: how often.
            unheard: nothing of it can be heard when it is said.
        """
        for _ in range(count):
            for conversation in CONVERSATIONS:
                number = await self._speak(conversation)
                self.said[conversation].append(number)
                self.missed |= {number} if unheard else set()
                await asyncio.sleep(1.0)

    def heard(self) -> dict[int, list[int]]:
        """Return what is durable, by conversation, each at its first place."""
        found: dict[int, list[int]] = {each: [] for each in CONVERSATIONS}
        for process in self.processes:
            for conversation, number, _ in process.heard():
                if conversation in found and number not in found[conversation]:
                    found[conversation].append(number)
        return found

    async def all_heard(self) -> None:
        """Wait until everything that was said is durable, then see that nothing overtook."""
        await self.now.until(
            lambda: all(set(self.said[each]) <= set(self.heard()[each]) for each in CONVERSATIONS)
        )
        assert self.heard() == self.said

    async def ledger_is_true(self, *, interrupted: bool) -> None:
        """What the ledger tells is what was missed, by the network's manifest, and nothing else."""
        await self.now.until(lambda: not self.now.health.gaps_open)
        outcome = self.standin.missed.outcome if interrupted else None
        told = [process.ledger() for process in self.processes]
        closed = sum(process.counted(Metric.GAPS_CLOSED) for process in self.processes)
        assert self.now.measured(Metric.GAPS_OPEN) == 0.0
        if outcome is None:
            assert not any(told)
            assert not closed
            return
        for entries in filter(None, told):
            self._gap_is_true(entries, outcome)
        assert len({each.name for entries in told for each in entries}) == 1
        assert told[-1], "what was missed was never told to be"
        assert closed == len([each for each in told if each])
        seconds = sum(process.counted(Metric.GAP_SECONDS) for process in self.processes)
        assert (seconds > 0) == (outcome != "filled")

    def _gap_is_true(self, entries: list[Entry], outcome: str) -> None:
        """One process opened one gap, filled it with all that was missed, and closed it."""
        assert [each.gap.outcome for each in entries] == ["open", outcome]
        before, after = entries
        assert before.gap.start
        assert before.gap.recovered is None
        assert not before.filling
        assert self.missed
        assert self.missed <= {each.number for each in after.filling}
        assert after.gap.recovered == len(after.filling)
        assert after.gap.end
        assert after.gap.closed_at is not None

    def health_is_true(self, process: Listening, fault: str) -> None:
        """While a fault lasted the state was told with its reason, and nothing that is not so."""
        state, reason = self.standin.health[fault]
        turns = [each for each in process.health.turns if each[1]]
        assert any(each == state and re.fullmatch(reason, why) for each, why in turns), turns

    def ended_well(self, *, interrupted: bool) -> None:
        """It runs; of the fault nothing is told any more, but the gap that was closed."""
        health = self.now.health
        assert health.state == "running"
        gap = interrupted and self.standin.missed.outcome is not None
        allowed = r"(after gap (disconnected|stalled))?" if gap else ""
        assert re.fullmatch(allowed, health.reason), health.reason
        assert health.channels_waiting in {None, 0}

    def states(self) -> list[str]:
        """Return the states that the present process told, in order."""
        return [each.state for each in self.now.statuses() if "/gap/" not in each.instance]


def _passed(clock: LoopClock, seconds: float, holds: Callable[[], object]) -> Callable[[], bool]:
    """Return a condition that raises TimeoutError when it does not hold in time."""
    end = clock.monotonic() + seconds

    def check() -> bool:
        if holds():
            return True
        if clock.monotonic() > end:
            raise TimeoutError
        return False

    return check


# --- the faults -----------------------------------------------------------------------------------


async def stall(scene: Scene) -> None:
    """Not a byte comes and nothing is closed: noticed by the network's own deadline."""
    assert not scene.now.counted(Metric.RECONNECTS)
    scene.standin.wire.stall()
    await scene.say(unheard=True)
    await scene.now.until(lambda: scene.now.counted(Metric.RECONNECTS))
    await scene.now.until(lambda: scene.now.health.state == "waiting")
    scene.health_is_true(scene.now, STALL)
    scene.standin.wire.mend()
    scene.standin.wire.cut()


async def half_close(scene: Scene) -> None:
    """An answer ends in its middle, and the connection with it."""
    scene.standin.wire.half = 2  # an idle connection's first loss is made good by the HTTP client
    await scene.say()
    await scene.now.until(lambda: not scene.standin.wire.half)
    scene.missed.add(scene.said[CONVERSATIONS[0]][-2])  # the first of them: its bytes were cut
    await scene.now.until(lambda: scene.now.counted(Metric.RECONNECTS))
    scene.health_is_true(scene.now, HALF)


async def storm(scene: Scene) -> None:
    """Six calls in a row are refused: it waits as it is told to, and says so."""
    scene.standin.limit(6)
    await scene.say(unheard=True)
    await scene.now.until(lambda: "waiting" in scene.states())
    await scene.now.until(lambda: scene.now.measured(Metric.RECONNECTS, reason="RateLimited"))
    scene.health_is_true(scene.now, LIMITED)
    scene.standin.relieve()


async def expiring(scene: Scene) -> None:
    """The token ends in five days: told in the status and to the alert, and listening goes on."""
    await scene.now.finish()
    scene.standin.expire_in(EXPIRES_IN_DAYS)
    process = scene.start()
    await scene.say()
    await process.until(lambda: process.health.credential == "expiring")
    await process.until(lambda: process.measured(Metric.CREDENTIAL_DAYS) is not None)
    days = process.measured(Metric.CREDENTIAL_DAYS)
    assert days is not None
    assert EXPIRES_IN_DAYS - 1 < days <= EXPIRES_IN_DAYS < ALERT_BELOW_DAYS
    assert process.measured(Metric.CREDENTIAL, state="expiring") == 1.0


async def revoked(scene: Scene) -> None:
    """The token is taken back: it stops, says what to do, and resumes with a new one."""
    await _rejected(scene, scene.standin.revoke, REVOKED)


async def narrowed(scene: Scene) -> None:
    """A scope is taken away: as a revoked token."""
    await _rejected(scene, scene.standin.narrow, NARROWED)


async def _rejected(scene: Scene, take: Callable[[], None], fault: str) -> None:
    take()
    scene.standin.wire.cut()
    await scene.say(unheard=True)
    process = scene.now
    await process.until(lambda: process.measured(Metric.CREDENTIAL, state="revoked") == 1.0)
    await process.until(lambda: process.statuses()[-1].credential == "revoked")
    scene.health_is_true(process, fault)
    told, (state, reason) = process.statuses()[-1], scene.standin.health[fault]
    assert told.state == process.health.state == state
    assert re.fullmatch(reason, told.reason or "")
    await process.finish()
    scene.standin.restore()
    scene.start()


async def kafka_away(scene: Scene) -> None:
    """Nothing is acknowledged for two minutes: no cursor passes it, and nothing is lost."""
    process = scene.now
    saved = len(process.cursors())
    process.producer.automatic = False
    await scene.say()
    await process.until(lambda: process.publisher.oldest_seconds() > 120.0)
    assert process.publisher.waiting_for() == "Kafka"
    assert "waiting for Kafka" in {each.reason for each in process.statuses()}
    assert process.measured(Metric.OLDEST_SECONDS) is not None
    assert len(process.cursors()) == saved
    process.producer.automatic = True
    process.producer.acknowledge()
    await process.until(lambda: not process.publisher.waiting_for())


async def cut_over(scene: Scene) -> None:
    """Killed between the replay of what was missed and the live end, with one event acknowledged."""
    await scene.now.kill()
    scene.standin.wire.cut()
    await scene.say(3, unheard=True)
    process = scene.start()
    process.producer.automatic = False

    def acknowledge() -> bool:
        # all that is small is durable, and of the events the first: no cursor may pass it
        process.producer.acknowledge_all_but(Topic.RAW_EVENTS, 1)
        return bool(process.durable(Topic.RAW_EVENTS))

    await process.until(acknowledge)
    end = scene.standin.clock.monotonic() + 3 * scene.standin.plan.tick_seconds
    await process.until(lambda: acknowledge() and scene.standin.clock.monotonic() > end)
    await process.kill()
    scene.standin.wire.cut()
    scene.start()


Fault = Callable[[Scene], Awaitable[None]]
FAULTS: dict[str, tuple[Fault, str]] = {
    "stall": (stall, ""),
    "half-close": (half_close, ""),
    "429 storm": (storm, LIMITED),
    "token ends in 5 days": (expiring, EXPIRING),
    "token revoked": (revoked, REVOKED),
    "scope removed": (narrowed, NARROWED),
    "Kafka away 2 minutes": (kafka_away, ""),
    "killed at the cut-over": (cut_over, ""),
}
CASES = [
    pytest.param(standin, fault, id=f"{standin.shown}: {name}")
    for standin in STAND_INS
    for name, (fault, needs) in FAULTS.items()
    if needs not in standin.cannot
]


@pytest.mark.faults
@pytest.mark.parametrize(("standin", "fault"), CASES)
def test_nothing_is_lost_and_nothing_overtakes(standin, fault, tmp_path) -> None:
    """Everything said before, during and after the fault is heard, in the order of each conversation."""

    async def scenario() -> None:
        network = standin(LoopClock())
        await network.open()
        scene = Scene(network, BlobStore(tmp_path / "blobs"))
        try:
            await scene.begin()
            await scene.say()
            await scene.all_heard()
            await fault(scene)
            await scene.say()
            await scene.all_heard()
            await scene.now.until(lambda: scene.now.health.state == "running")
            interrupted = fault is not kafka_away
            await scene.ledger_is_true(interrupted=interrupted)
            await scene.now.until(lambda: not scene.now.publisher.waiting_for())
            scene.ended_well(interrupted=interrupted)
            await scene.now.finish()
        finally:
            await network.close()

    run(scenario())


def as_table() -> str:
    """Return the table as the page shows it: what is proved, and what a network does not know."""
    notes: list[str] = []
    lines = [f"| network | {' | '.join(FAULTS)} |", "|---" * (len(FAULTS) + 1) + "|"]
    for standin in STAND_INS:
        cells = []
        for _, needs in FAULTS.values():
            reason = standin.cannot.get(needs)
            if reason is not None and reason not in notes:
                notes.append(reason)
            cells.append("yes" if reason is None else f"none ({notes.index(reason) + 1})")
        lines.append(f"| {standin.shown} | {' | '.join(cells)} |")
    said = [f"{number}. {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", *said])


def ledgers() -> str:
    """Return the second table of the page: what the gap ledger must tell of what was missed."""
    lines = ["| network | gap ledger | because of its manifest |", "|---|---|---|"]
    for standin in STAND_INS:
        outcome, words = standin.missed
        told = "none is opened" if outcome is None else f"one is opened, and `{outcome}`"
        lines.append(f"| {standin.shown} | {told} | {words} |")
    return "\n".join(lines)


@pytest.mark.parametrize("standin", STAND_INS, ids=lambda each: each.shown)
def test_what_is_asked_of_the_ledger_stands_in_the_manifest(standin) -> None:
    """Whether a gap must be opened follows from what the network promises to keep."""
    manifest = installed().manifest(standin.network)
    assert standin.missed.manifest in manifest.model_dump_json()
    told = set(standin.health) | set(standin.cannot)
    assert told == {STALL, HALF, EXPIRING, LIMITED, REVOKED, NARROWED} - (
        {EXPIRING} - standin.cannot.keys()
    )


def test_the_page_shows_the_table() -> None:
    """What the page promises is what is run here, and the other way round."""
    page = PAGE.read_text(encoding="utf-8")
    assert as_table() in page, f"put this table into {PAGE.name}:\n{as_table()}"
    assert ledgers() in page, f"put this table into {PAGE.name}:\n{ledgers()}"
    for name, (fault, _) in FAULTS.items():
        row = f"| {name} | {' '.join((fault.__doc__ or '').split())} |"
        assert row in page, f"put this row into {PAGE.name}: {row}"
