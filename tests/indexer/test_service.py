"""The loop: what is committed, when, and that its books add up, whatever fails."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from klingel.contracts.codec import decode
from klingel.contracts.envelope import Message, SourcePosition
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.errors import InvariantViolation, SourceUnavailable
from klingel.metrics import Metrics
from klingel.model import LedgerLine
from klingel_indexer.bulk import Answer, BulkLimits
from klingel_indexer.service import Indexer, IndexerOptions, Position

POSTS = Topic.ROUTED_EVENTS
KEY = Key("a key of this test's own")
STRICT = "strict_dynamic_mapping_exception"


class Log:
    """One input partition and its group's position, as Kafka would keep them."""

    def __init__(self, clock):
        self.clock = clock
        self.records = defaultdict(list)
        self.ends = Counter()
        self.committed = {}
        self.commits = []
        self.failing_commits = 0
        self.positions = {}
        self.paused = set()
        self.new = {}
        self.failing_look_ups = 0

    def append(self, made: Message):
        """Append at the next free offset."""
        slot = (made.topic, made.partition)
        offset = self.ends[slot]
        self.records[slot].append(
            Message(made.topic, made.partition, offset, made.key, made.value, made.headers, 1)
        )
        self.ends[slot] += 1
        self.committed.setdefault(slot, Position(0))
        return offset

    def marker(self, slot=(POSTS, 0)):
        """Let a transaction end: an offset without a record."""
        self.ends[slot] += 1


class LogSource:
    """The indexer's port over a Log; a new one begins where the log was committed."""

    def __init__(self, log):
        self.log = log
        log.paused = set()
        log.positions = {slot: held.offset for slot, held in log.committed.items()}

    async def look_up(self):
        """Say where new partitions begin, unless a failure is planted."""
        if self.log.failing_look_ups:
            self.log.failing_look_ups -= 1
            raise SourceUnavailable("planted")
        found, self.log.new = self.log.new, {}
        return found

    def assignment(self):
        """Return every partition of the log."""
        return set(self.log.positions)

    async def fetch(self, max_records, wait_seconds):
        """Return what lies ahead; wait when nothing does."""
        found = []
        for slot, position in self.log.positions.items():
            if slot in self.log.paused:
                continue
            ahead = [one for one in self.log.records[slot] if one.offset >= position]
            taken = ahead[: max_records - len(found)]
            found += taken
            if len(taken) == len(ahead):
                self.log.positions[slot] = self.log.ends[slot]
            elif taken:
                self.log.positions[slot] = taken[-1].offset + 1
        if not found:
            await self.log.clock.sleep(max(wait_seconds, 0.01))
        await asyncio.sleep(0)
        return found

    async def consumed(self, slot):
        """Return the position, markers included."""
        return self.log.positions.get(slot)

    def lag(self, slot):
        """Return how many offsets lie ahead."""
        return self.log.ends[slot] - self.log.positions[slot]

    def pause(self, slots):
        """Fetch nothing of these."""
        self.log.paused |= set(slots)

    def resume(self, slots):
        """Fetch these again."""
        self.log.paused -= set(slots)

    async def commit(self, positions):
        """Commit, unless a failure is planted."""
        if self.log.failing_commits:
            self.log.failing_commits -= 1
            raise SourceUnavailable("planted")
        self.log.committed |= positions
        self.log.commits.append(dict(positions))


class Books:
    """Where lines and letters go."""

    def __init__(self):
        self.outputs = []
        self.failing = 0

    async def publish(self, outputs):
        """Keep the records, unless a failure is planted."""
        if self.failing:
            self.failing -= 1
            raise SourceUnavailable("planted")
        self.outputs += outputs

    @property
    def letters(self):
        """Dead letters."""
        return [one for one in self.outputs if one.topic is Topic.DEAD_LETTERS]

    @property
    def lines(self):
        """Ledger lines, decoded."""
        return [
            decode(LedgerLine, one.value) for one in self.outputs if one.topic is Topic.STAGE_LEDGER
        ]


class Answers:
    """A transport that answers each item as told; `hold` keeps requests with that id waiting."""

    def __init__(self):
        self.items = {}
        self.held = {}
        self.written = Counter()
        self.away = False

    def hold(self, id_):
        """Keep requests with this id waiting until the event returned is set."""
        self.held[id_] = asyncio.Event()
        return self.held[id_]

    async def send(self, body):
        """Answer each item as told, 200 by default."""
        if self.away:
            raise SourceUnavailable("planted")
        metas = [json.loads(line) for line in body.split(b"\n")[0:-1:2]]
        ids = [next(iter(meta.values()))["_id"] for meta in metas]
        for id_ in ids:
            if id_ in self.held:
                await self.held[id_].wait()
        items = []
        for id_ in ids:
            status, error_type = self.items.get(id_, (200, ""))
            if status == 200:
                self.written[id_] += 1
                items.append({"index": {"status": 200}})
            else:
                items.append({"index": {"status": status, "error": {"type": error_type}}})
        return Answer(200, items=items)


class Stage:
    """An indexer over the three of them; `restart` is what a killed worker's successor is."""

    def __init__(self, clock, **limits):
        self.clock = clock
        self.log = Log(clock)
        self.books = Books()
        self.answers = Answers()
        self._limits = BulkLimits(**limits)
        self.metrics = Metrics("indexer")
        self.suppressed = Suppressed(KEY)

    def restart(self):
        """Begin anew where the log was committed."""
        source = LogSource(self.log)
        options = IndexerOptions(index_prefix="t-", holder="w1", limits=self._limits)
        self.indexer = Indexer(
            source,
            self.books,
            self.answers,
            options=options,
            clock=self.clock,
            metrics=self.metrics,
            suppressed=self.suppressed,
            sleep=self.clock.sleep,
        )
        self.indexer.assign(dict(self.log.committed))
        return self.indexer

    def rejoin(self):
        """Begin as a worker does that the group has just given the partitions."""
        indexer = self.restart()
        indexer._partitions.clear()
        self.log.new = dict(self.log.committed)
        self.log.paused = set(self.log.new)
        return indexer

    async def until(self, condition, rounds=400):
        """Run rounds of the loop until something is so."""
        for _ in range(rounds):
            if condition():
                return
            await self.indexer.tick()
        raise AssertionError("never came true")

    @property
    def committed(self):
        """Committed offset of the posts' first partition."""
        return self.log.committed[POSTS, 0].offset


@pytest.fixture
async def stage(clock):
    made = Stage(clock)
    yield made
    await made.indexer.writer.close()


def post(build, at, **fields):
    source = SourcePosition(Topic.SOCIAL_EVENTS, 0, at, 0).encode()
    return build.routed(
        build.social_event(f"n:s:{at}", **fields), headers=[("klingel-source", source)]
    )


async def test_everything_is_indexed_and_committed(stage, build):
    for at in range(5):
        stage.log.append(post(build, at))
    stage.restart()
    await stage.until(lambda: stage.committed == 5)
    assert stage.answers.written == {f"n:s:{at}": 1 for at in range(5)}
    assert stage.indexer.ready


async def test_an_idle_worker_commits_nothing(stage, build):
    stage.log.append(post(build, 0))
    stage.restart()
    await stage.until(lambda: stage.books.lines)
    commits = len(stage.log.commits)
    for _ in range(50):
        await stage.indexer.tick()
    assert len(stage.log.commits) == commits


async def test_nothing_is_committed_past_a_message_in_the_air(build, clock):
    """One request hangs; what others settled behind it waits for it (I7)."""
    stage = Stage(clock, documents=1, requests=2)
    for at in range(4):
        stage.log.append(post(build, at))
    stage.restart()
    stage.indexer.writer.concurrency.limit = 4
    release = stage.answers.hold("n:s:1")
    await stage.until(lambda: len(stage.answers.written) == 3)
    await stage.until(lambda: stage.committed == 1)
    for _ in range(20):
        await stage.indexer.tick()
    assert stage.committed == 1
    release.set()
    await stage.until(lambda: stage.committed == 4)
    await stage.indexer.writer.close()


async def test_dead_letter_is_acknowledged_before_the_commit(stage, build):
    """Kafka refuses the letter three times: the offset stays where it is until it is written."""
    stage.log.append(build.message(b"{broken"))
    stage.books.failing = 3
    seen = []

    async def look():
        seen.append(stage.committed)

    stage.clock.on_sleep = look
    stage.restart()
    await stage.until(lambda: stage.committed == 1)
    assert len(stage.books.letters) == 1
    letter = stage.books.letters[0]
    headers = dict(letter.headers)
    assert letter.value == b"{broken"
    assert headers["x-dlq-kind"] == b"malformed_json"
    assert headers["__connect.errors.topic"] == b"routed-events"
    assert set(seen[:3]) == {0}


async def test_refused_document_is_a_dead_letter_and_its_neighbours_are_not(stage, build):
    for at in range(3):
        stage.log.append(post(build, at))
    stage.answers.items["n:s:1"] = (400, "document_parsing_exception")
    stage.restart()
    await stage.until(lambda: stage.committed == 3)
    (letter,) = stage.books.letters
    headers = dict(letter.headers)
    assert headers["x-dlq-kind"] == b"sink_refused"
    assert headers["__connect.errors.offset"] == b"1"
    assert set(stage.answers.written) == {"n:s:0", "n:s:2"}


async def test_letter_that_cannot_be_indexed_makes_no_letter_of_itself(stage, build):
    stage.log.append(build.message(b"x", Topic.DEAD_LETTERS))
    stage.answers.items["dead-letters/0/0/1"] = (400, "document_parsing_exception")
    stage.restart()
    slot = (Topic.DEAD_LETTERS, 0)
    await stage.until(lambda: stage.log.committed[slot].offset == 1)
    assert stage.books.letters == []
    await stage.until(lambda: stage.books.lines)
    assert stage.books.lines[0].reasons == {"discarded:letter_not_indexed": 1}


async def test_code_that_raises_on_many_stops_its_partition_alone(stage, build):
    """Fifty of them: a bad deploy must not empty the input into the dead letters (I8)."""
    for at in range(200):
        stage.log.append(build.message(b"{}", Topic.RAW_EVENTS))
        stage.log.append(post(build, at))
    stage.restart()
    await stage.until(lambda: stage.committed == 200)
    assert not stage.indexer.ready
    assert len(stage.books.letters) == 49
    assert stage.log.committed[Topic.RAW_EVENTS, 0].offset == 49
    assert (Topic.RAW_EVENTS, 0) in stage.log.paused
    assert stage.indexer.progress()["raw-events/0"]["stopped"]


async def test_templates_that_do_not_fit_stop_the_partition(stage, build):
    """Unknown fields are ours, never a network's: they are read again once templates are applied."""
    for at in range(100):
        stage.log.append(post(build, at))
        stage.answers.items[f"n:s:{at}"] = (400, STRICT)
    stage.restart()
    await stage.until(lambda: stage.indexer.progress()["routed-events/0"]["stopped"])
    await stage.until(lambda: stage.committed == 49)
    stage.answers.items.clear()
    stage.restart()
    await stage.until(lambda: stage.committed == 100)
    assert len(stage.books.letters) == 49
    assert len(stage.answers.written) == 51


async def test_without_room_the_partitions_pause_and_polling_goes_on(build, clock):
    stage = Stage(clock, documents=5, outstanding_documents=10)
    for at in range(100):
        stage.log.append(post(build, at))
    indexer = stage.restart()
    indexer._options = IndexerOptions(fetch_messages=7, limits=stage._limits)
    stage.answers.away = True
    await stage.until(lambda: stage.log.paused)
    assert indexer.writer.outstanding <= 10 + 7
    assert not indexer.ready
    before = indexer.ticked_at
    await indexer.tick()
    assert indexer.ticked_at >= before
    assert indexer.writer.outstanding <= 10 + 7
    stage.answers.away = False
    await stage.until(lambda: stage.committed == 100)
    assert not stage.log.paused
    assert indexer.ready
    await indexer.writer.close()


async def test_one_document_that_waits_for_ever_does_not_fill_the_memory(build, clock):
    """Everything behind it is written and held: fetching stops at a bound, and goes on after."""
    stage = Stage(clock, documents=5, outstanding_documents=20)
    for at in range(300):
        stage.log.append(post(build, at))
    stage.answers.items["n:s:0"] = (503, "unavailable_shards_exception")
    indexer = stage.restart()
    indexer._options = IndexerOptions(fetch_messages=7, limits=stage._limits)
    for _ in range(200):
        await indexer.tick()
    assert indexer.progress()["routed-events/0"]["waiting"] <= 2 * 20 + 7
    assert stage.committed == 0
    stage.answers.items.clear()
    await stage.until(lambda: stage.committed == 300)
    await indexer.writer.close()


async def test_failed_commit_is_tried_again(stage, build):
    stage.log.append(post(build, 0))
    stage.log.failing_commits = 2
    stage.restart()
    await stage.until(lambda: stage.committed == 1)
    assert len(stage.log.commits) == 1


async def test_position_passes_over_transaction_markers(stage, build):
    stage.log.append(post(build, 0))
    stage.log.marker()
    stage.restart()
    await stage.until(lambda: stage.committed == 2)


async def test_message_of_a_partition_that_was_not_taken_over_ends_the_worker(stage, build):
    """Dropped, it would be lost: the consumer's position is behind it already."""
    stage.log.append(post(build, 0))
    indexer = stage.restart()
    await indexer.revoke()
    with pytest.raises(InvariantViolation, match="routed-events/0: fetched before"):
        await indexer.run()
    assert stage.committed == 0
    assert not stage.answers.written


async def test_positions_that_kafka_does_not_say_yet_are_asked_for_again(stage, build):
    """A coordinator that loads after a restart: not ready, waiting longer each time, then all."""
    for at in range(3):
        stage.log.append(post(build, at))
    stage.log.failing_look_ups = 7
    indexer = stage.rejoin()
    assert not indexer.ready
    began = stage.clock.monotonic()
    await stage.until(lambda: stage.log.failing_look_ups == 0)
    assert stage.clock.monotonic() - began >= 0.2 + 0.5 + 1 + 2 + 5 + 5
    assert (indexer.ready, indexer.waiting_for) == (False, "kafka")
    assert not stage.answers.written
    await stage.until(lambda: stage.committed == 3)
    assert (indexer.ready, indexer.waiting_for) == (True, None)
    assert stage.answers.written == {f"n:s:{at}": 1 for at in range(3)}


async def test_ready_is_false_while_one_assigned_partition_is_not_taken_over(stage, build):
    stage.log.append(post(build, 0))
    indexer = stage.restart()
    assert indexer.ready
    stage.log.positions[Topic.CASES, 0] = 0
    assert not indexer.ready


async def test_foreign_metadata_end_the_worker(stage, build):
    """Somebody else commits into the group: no position can be trusted, and it must be heard."""
    stage.log.append(post(build, 0))
    indexer = stage.rejoin()
    stage.log.new[POSTS, 0] = Position(0, "not ours")
    with pytest.raises(InvariantViolation, match="not ours"):
        await indexer.run()


async def test_new_partitions_stay_paused_while_there_is_no_room(build, clock):
    stage = Stage(clock, documents=5, outstanding_documents=5)
    for at in range(30):
        stage.log.append(post(build, at))
    indexer = stage.restart()
    stage.answers.away = True
    await stage.until(lambda: stage.log.paused)
    new = (Topic.CASES, 0)
    stage.log.positions[new] = 0
    stage.log.paused.add(new)
    stage.log.new = {new: Position(0)}
    await indexer.tick()
    assert "cases/0" in indexer.progress()
    assert new in stage.log.paused
    stage.answers.away = False
    await stage.until(lambda: stage.committed == 30 and not stage.log.paused)
    await indexer.writer.close()


@pytest.mark.parametrize("header", [b"\xff\xfe", b"nowhere", b"a/b/c/d", b""])
async def test_foreign_source_header_stops_nothing(stage, build, header):
    """On a good message and on one that becomes a dead letter."""
    carried = [("klingel-source", header)]
    stage.log.append(build.routed(build.social_event("n:s:0"), headers=carried))
    stage.log.append(build.message(b"{broken", headers=carried))
    stage.log.append(post(build, 1))
    stage.restart()
    await stage.until(lambda: stage.committed == 3)
    await stage.until(lambda: stage.books.lines)
    assert stage.answers.written == {"n:s:0": 1, "n:s:1": 1}
    assert [letter.value for letter in stage.books.letters] == [b"{broken"]
    assert sum(line.received for line in stage.books.lines) == 3


async def test_revocation_finishes_what_is_in_flight_and_closes_the_books(stage, build):
    for at in range(3):
        stage.log.append(post(build, at))
    indexer = stage.restart()
    await indexer.tick()
    await indexer.revoke()
    assert stage.committed == 3
    (line,) = stage.books.lines
    assert (line.before, line.after, line.received) == (0, 3, 3)
    assert indexer.progress() == {}


def notify(event):
    async def tell():
        event.set()

    return tell


async def test_stop_finishes_what_is_in_flight(stage, build):
    for at in range(3):
        stage.log.append(post(build, at))
    indexer = stage.restart()
    started = asyncio.Event()
    stage.clock.on_sleep = notify(started)
    running = asyncio.create_task(indexer.run())
    await started.wait()
    indexer.stop()
    await running
    assert stage.committed == 3
    assert sum(line.received for line in stage.books.lines) == 3


async def test_line_is_written_when_nothing_follows(stage, build):
    """The last messages of the day are in the ledger a second later."""
    stage.log.append(post(build, 0))
    stage.restart()
    await stage.until(lambda: stage.books.lines)
    assert stage.books.lines[0].fates == {"delivered": 1}


async def test_lines_come_at_most_once_a_second(stage, build):
    stage.log.append(post(build, 0))
    stage.restart()
    started = stage.clock.monotonic()
    for at in range(1, 60):
        stage.log.append(post(build, at))
        for _ in range(3):
            await stage.indexer.tick()
    lines = stage.books.lines
    assert 1 < len(lines) <= stage.clock.monotonic() - started + 1
    assert all(earlier.after == later.before for earlier, later in pairwise(lines))


async def test_message_whose_source_was_passed_is_redone(stage, build):
    for at in (0, 1, 1, 0, 2):
        stage.log.append(post(build, at))
    stage.restart()
    await stage.until(lambda: stage.books.lines)
    assert (stage.books.lines[0].received, stage.books.lines[0].redone) == (5, 2)


async def test_latency_is_counted_from_receipt_and_publication(stage, build):
    stage.log.append(post(build, 0))
    stage.restart()
    await stage.until(lambda: stage.committed == 1)
    sums = {name: value for name, _, value in stage.metrics.samples() if name.endswith("_sum")}
    assert 30 <= sums["klingel_received_to_indexed_seconds_sum"] < 32
    assert 60 <= sums["klingel_published_to_indexed_seconds_sum"] < 62


@pytest.mark.parametrize("seed", range(12))
async def test_books_add_up_however_often_the_worker_is_killed(clock, build, seed):
    """Whatever is killed, every offset is in exactly one effective line and nothing is redone."""
    chance = random.Random(seed)
    stage = Stage(clock, documents=7)
    upstream = 0
    for _ in range(300):
        if chance.random() < 0.05:
            stage.log.append(build.message(b"{broken"))
        else:
            stage.log.append(post(build, upstream))
            upstream += 1
        if chance.random() < 0.2:
            stage.log.marker()
    end = stage.log.ends[POSTS, 0]
    received = len(stage.log.records[POSTS, 0])
    stage.restart()
    for _ in range(30):
        for _ in range(chance.randrange(8)):
            stage.indexer._options = IndexerOptions(
                "t-", "w", fetch_messages=chance.randrange(1, 20), limits=stage._limits
            )
            await stage.indexer.tick()
            clock.advance(chance.random())
        stage.log.failing_commits = chance.choice([0, 0, 1])
        await stage.indexer.writer.close()
        stage.restart()
    await stage.until(lambda: stage.committed == end)
    await stage.indexer.revoke()

    effective: list[LedgerLine] = []
    for line in stage.books.lines:
        while effective and effective[-1].before >= line.before:
            effective.pop()
        effective.append(line)
    assert effective[0].before == 0
    for earlier, later in pairwise(effective):
        assert earlier.after == later.before
    assert sum(line.received for line in effective) == received
    assert sum(line.redone for line in effective) == 0
    fates = sum((Counter(line.fates) for line in effective), Counter())
    assert fates["delivered"] == upstream == len(stage.answers.written)
    assert fates["dead_lettered"] == received - upstream
    await stage.indexer.writer.close()


def told(stage, name):
    """Return the sum of a metric's samples."""
    return sum(value for each, _, value in stage.metrics.samples() if each == name)


async def test_a_deletion_that_waits_has_an_age_and_one_that_is_done_a_duration(stage, build):
    stage.log.append(post(build, 0, change="deleted"))
    stage.log.append(post(build, 1))
    held = stage.answers.hold("n:s:0")
    stage.restart()
    await stage.until(lambda: told(stage, "klingel_deletion_oldest_seconds") > 0)
    waits = told(stage, "klingel_deletion_oldest_seconds")
    stage.clock.advance(100)
    await stage.indexer.tick()
    assert told(stage, "klingel_deletion_oldest_seconds") >= waits + 100
    assert told(stage, "klingel_deletion_seconds_count") == 0
    held.set()
    await stage.until(lambda: stage.committed == 2)
    await stage.until(lambda: told(stage, "klingel_deletion_oldest_seconds") == 0)
    assert told(stage, "klingel_deletion_seconds_count") == 1
    assert told(stage, "klingel_deletion_seconds_sum") >= waits + 100


async def test_a_deletion_of_a_partition_that_is_let_go_is_no_longer_ours(stage, build):
    stage.log.append(post(build, 0, change="deleted"))
    stage.answers.hold("n:s:0")
    stage.restart()
    await stage.until(lambda: told(stage, "klingel_deletion_oldest_seconds") > 0)
    stage.indexer._partitions.clear()
    assert stage.indexer._oldest_deletion() == 0


async def test_a_network_s_deletion_is_measured_from_when_the_network_says(stage, build):
    """The way to us counts too; a time in the future is not believed."""
    received = stage.clock.now()
    for at, hours in enumerate((-3, 5)):
        made = (received + timedelta(hours=hours)).isoformat()
        told_at = {"received_at": received.isoformat(), "changed_at": made}
        stage.log.append(post(build, at, change="deleted", **told_at))
    stage.restart()
    await stage.until(lambda: stage.committed == 2)
    assert 3 * 3600 <= told(stage, "klingel_deletion_seconds_sum") < 3 * 3600 + 60


async def test_an_erasure_is_late_until_it_is_told_that_it_is_carried_out(stage, build):
    stage.log.append(post(build, 0))
    begun = stage.clock.now() - timedelta(hours=21)
    record = KEY.suppression("author", "x:1", begun)
    stage.suppressed.take(record.subject.encode(), record)
    stage.restart()
    await stage.until(lambda: told(stage, "klingel_deletion_oldest_seconds") >= 21 * 3600)
    assert told(stage, "klingel_deletion_seconds_count") == 0
    done = msgspec.structs.replace(record, done_at=begun + timedelta(hours=21))
    stage.suppressed.take(b"done", done)
    stage.clock.advance(10)
    await stage.until(lambda: told(stage, "klingel_deletion_oldest_seconds") == 0)
    assert told(stage, "klingel_deletion_seconds_sum") == 21 * 3600


async def test_what_was_erased_is_counted_and_not_written(stage, build):
    for at, author in enumerate(("anna", "bert")):
        stage.log.append(post(build, at, author={"id": author}))
    record = KEY.suppression("author", "bluesky:anna", stage.clock.now())
    stage.suppressed.take(record.subject.encode(), record)
    stage.restart()
    await stage.until(lambda: stage.committed == 2)
    assert stage.answers.written == {"n:s:1": 1}
    stage.clock.advance(10)
    await stage.until(lambda: stage.books.lines)
    reasons = Counter()
    for line in stage.books.lines:
        reasons.update(line.reasons)
    assert reasons["discarded:erased"] == 1
