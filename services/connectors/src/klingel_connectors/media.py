"""The media worker: fetches what events refer to, before its addresses end, and completes the events.

It consumes `media-jobs`. Text never waits for it: the event is long on its way when its media are
fetched, and what came of them follows as a raw event of `change: completed` under the same id and
revision. A job's offset is committed once its outcome is durable; a job that is done twice stores the
same bytes under the same hash and completes the event with the same bytes.

What cannot be had now is tried again from a further job record, so that a host that is down holds up
nothing but itself; after the last attempt the medium is told as failed.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from kafka import errors as kafka_errors

from klingel.clock import Clock
from klingel.contracts import codec
from klingel.contracts.envelope import (
    TRACE_HEADER,
    Output,
    incoming_trace,
)
from klingel.contracts.outputs import media_job_output
from klingel.contracts.shown import note_shown
from klingel.contracts.topics import Topic
from klingel.domain.identity import event_id
from klingel.errors import CredentialsRejected, ErrorType, InvalidMessage, RetryableError
from klingel.metrics import Metric, Metrics
from klingel.model import MediaJob, RawEvent
from klingel.model.media_job import MediumToFetch
from klingel.model.social_event import Media
from klingel.stage.fates import Fate, Outcome
from klingel.stage.ledger import ledger_output
from klingel.stage.progress import STUCK_SECONDS
from klingel_connectors.books import Books
from klingel_connectors.fetch import Fetcher, NeverError
from klingel_connectors.job_books import Entry, JobBooks, Standing
from klingel_connectors.publisher import Publisher
from klingel_connectors.raw import raw_output
from klingel_connectors.sniff import HEAD_BYTES, content_type, fits
from klingel_connectors.standstill import Pulse, Sign
from klingel_connectors.stores import MediaStore
from klingel_networks.arrival import MediaAddress, MediaAddresses, Objects
from klingel_networks.completion import MEDIA, VIA, completion

WAITS = (10.0, 60.0, 300.0, 900.0, 900.0, 900.0, 900.0)
"""Seconds before each further attempt: about an hour, then a medium has failed."""

STORE_SECONDS = 5.0
"""Between two attempts to store; what was fetched is never given up for a store that is away."""

_FETCHED_KINDS = frozenset({"image", "video", "audio", "file", "sticker"})
_MOST_HELD = 1_000
NOTHING_TO_COMPLETE = "nothing_to_complete"
SUPPRESSED = "suppressed"

Became = Literal["stored", "failed", "later"]
_T = TypeVar("_T")


class Found(NamedTuple):
    """What came of one medium in one attempt.

    Attributes:
        medium: as the job has it, with `sha256` or `failure` when its fate is certain.
        outcome: `later` when another attempt may help.
    """

    medium: MediumToFetch
    outcome: Became


class Decided(NamedTuple):
    """What follows from an attempt: a completion, another attempt, or both."""

    completion: RawEvent | None
    again: MediaJob | None


def wanted(medium: MediumToFetch) -> bool:
    """Whether a medium is still to be fetched: pure."""
    return medium.kind in _FETCHED_KINDS and medium.sha256 is None and medium.failure is None


def decide(job: MediaJob, found: Sequence[Found], instance: str, now: datetime) -> Decided:
    """Decide what follows from an attempt: pure.

    The first attempt that settles something completes the event with it; the last one with all. In
    between nothing is told, since an event takes only a few completions.
    """
    attempt = job.attempt or 0
    last = attempt >= len(WAITS)
    media = [
        msgspec.structs.replace(each.medium, failure="unreachable")
        if last and each.outcome == "later"
        else each.medium
        for each in found
    ]
    open_now = any(wanted(medium) for medium in media)
    settled_before = any(medium.sha256 or medium.failure for medium in job.media)
    settled_now = any(medium.sha256 or medium.failure for medium in media)
    tells = settled_now and (not open_now or not settled_before)
    again = None
    if open_now:
        again = later(msgspec.structs.replace(job, media=media), now)
    return Decided(_completion(job, media, instance, now) if tells else None, again)


def later(job: MediaJob, now: datetime) -> MediaJob | None:
    """Return the next attempt at a job; None after the last one: pure."""
    attempt = job.attempt or 0
    if attempt >= len(WAITS):
        return None
    return msgspec.structs.replace(
        job, attempt=attempt + 1, not_before=now + timedelta(seconds=WAITS[attempt])
    )


def _completion(
    job: MediaJob, media: Sequence[MediumToFetch], instance: str, now: datetime
) -> RawEvent:
    return RawEvent(
        event_id=event_id(job.object_id, job.revision),
        object_id=job.object_id,
        revision=job.revision,
        network=job.network,
        connector=instance,
        kind=job.kind,
        change="completed",
        mode=job.mode,
        received_at=now,
        channel=job.channel,
        native=msgspec.Raw(completion([_told(medium) for medium in media])),
        context={VIA: MEDIA},
    )


def _told(medium: MediumToFetch) -> Media:
    status: Literal["remote", "stored", "failed"] = "remote"
    if medium.sha256 is not None:
        status = "stored"
    elif medium.failure is not None:
        status = "failed"
    return Media(
        kind=medium.kind,
        id=medium.id,
        url=medium.url,
        sha256=medium.sha256,
        status=status,
        alt=medium.alt,
    )


def _checked_type(medium: MediumToFetch, content: bytes) -> str:
    """Return the type of a medium's content; raises NeverError when it is no such medium."""
    found = content_type(content[:HEAD_BYTES])
    if not fits(medium.kind, found):
        raise NeverError("other_type")
    return found


def job_output(job: MediaJob, instance: str, now: datetime, trace: str | None = None) -> Output:
    """Return the record of a job; its trace is that of the job before, or the object's own."""
    return media_job_output(job, f"klingel/connector/{instance}", time=now, trace=trace)


class Jobs(Protocol):
    """What the worker uses of a KafkaConsumer; every method blocks and is called in a thread."""

    def poll(self, timeout_ms: int = 0) -> Mapping[Any, Sequence[Any]]:
        """Return records by partition."""
        ...

    def assignment(self) -> set[Any]:
        """Return the partitions that are ours."""
        ...

    def pause(self, *partitions: Any) -> None:
        """Fetch nothing of them for now."""
        ...

    def resume(self, *partitions: Any) -> None:
        """Fetch of them again."""
        ...

    def commit(self, offsets: Mapping[Any, Any]) -> None:
        """Commit."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class Erasures(Protocol):
    """Knows whose media must not be fetched any more."""

    async def known(self) -> None:
        """Return once all is known that was erased before the start."""
        ...

    def stops(self, job: MediaJob) -> bool:
        """Whether what a job is for was erased."""
        ...


@dataclass(frozen=True, slots=True)
class MediaPlan:
    """How the worker works.

    Attributes:
        at_once: media fetched at the same time; each may take `most_bytes` of memory.
        poll_ms: a poll may take.
        commit_seconds: between two commits.
        line_seconds: between two lines of the ledger, a partition.
    """

    at_once: int = 8
    poll_ms: int = 500
    commit_seconds: float = 1.0
    line_seconds: float = 60.0


class MediaWorker:
    """Does jobs until `stop`.

    Args:
        instance: name of this worker.
        jobs: consumer of `media-jobs`, subscribed.
        fetcher: fetches.
        store: keeps.
        addresses: by network, who knows the present address of its media.
        publisher: started.
        books: counts of fates.
        metrics: Prometheus.
        clock: time.
        plan: how it works.
        stop: set by SIGTERM.
        offset: makes what `commit` takes of an offset and its metadata.
        standing: tells where the group stands in a place of `jobs`; blocks.
        holder: name of this process, in the ledger.
        suppressions: who and what was erased; nothing is fetched before that is known.
        sleep: waits.
    """

    def __init__(
        self,
        *,
        instance: str,
        jobs: Jobs,
        fetcher: Fetcher,
        store: MediaStore,
        addresses: Mapping[str, MediaAddresses],
        publisher: Publisher,
        books: Books,
        metrics: Metrics,
        clock: Clock,
        plan: MediaPlan,
        stop: asyncio.Event,
        offset: Callable[[int, str], Any],
        standing: Callable[[Any], Standing],
        holder: str,
        suppressions: Erasures,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._instance = instance
        self._jobs = jobs
        self._fetcher = fetcher
        self._store = store
        self._addresses = addresses
        self._publisher = publisher
        self._books = books
        self._metrics = metrics
        self._clock = clock
        self._plan = plan
        self._stop = stop
        self._offset = offset
        self._standing = standing
        self._holder = holder
        self._suppressions = suppressions
        self._sleep = sleep
        self._slots = asyncio.Semaphore(plan.at_once)
        self._log = structlog.get_logger()
        self._readings: dict[Any, JobBooks] = {}
        self._line_due = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self._pulse = Pulse(clock)
        self._active = 0
        self._moved_at = 0.0
        self._commits_fail_since: float | None = None
        self.waiting_for = ""

    def signs(self, fetch_seconds: float) -> list[Sign]:
        """Return by what a standstill of this worker is seen.

        Args:
            fetch_seconds: that one medium may take.
        """
        return [
            Sign("its loop does not come round", self._pulse.still),
            Sign("its offsets cannot be committed", self._uncommitted),
            Sign("none of its jobs ends", self._idle, STUCK_SECONDS + 4 * fetch_seconds),
        ]

    def _uncommitted(self) -> float:
        since = self._commits_fail_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def _idle(self) -> float:
        """Return the seconds for which no job has ended although some are done; a store may be away."""
        if not self._active or self.waiting_for:
            return 0.0
        return self._clock.monotonic() - self._moved_at

    async def run(self) -> None:
        """Run to the stop; jobs that are not done then are done by whoever comes next."""
        last_commit = self._clock.monotonic()
        try:
            while not self._stop.is_set():
                self._pulse.beat()
                batches = await asyncio.to_thread(self._jobs.poll, timeout_ms=self._plan.poll_ms)
                for place, records in batches.items():
                    for record in records:
                        await self._begin(place, record)
                await self._regulate()
                if self._clock.monotonic() - last_commit >= self._plan.commit_seconds:
                    last_commit = self._clock.monotonic()
                    await self._commit()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with contextlib.suppress(kafka_errors.KafkaError):
                await self._commit()
            await asyncio.to_thread(self._jobs.close)
            await self._fetcher.close()
            await self._store.close()

    async def _begin(self, place: Any, record: Any) -> None:
        reading = self._readings.get(place)
        if reading is None or record.offset < reading.next:
            # New, or given away and come back: whoever had it meanwhile has counted on.
            standing = await asyncio.to_thread(self._standing, place)
            reading = self._readings[place] = JobBooks(standing, self._holder)
        entry = reading.read(record.offset, tuple(record.headers or ()))
        trace = incoming_trace(dict(record.headers or ()).get(TRACE_HEADER))
        task = asyncio.create_task(self._done(entry, record.value, trace))
        self._tasks.add(task)

        def finished(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            if error is not None:
                # Whatever we did not foresee stops the worker: its offset must not be passed.
                self._log.error("media_worker_broken", error_class=type(error).__name__)
                self._stop.set()

        task.add_done_callback(finished)

    async def _regulate(self) -> None:
        full = len(self._tasks) >= _MOST_HELD
        if full != self._paused:
            places = self._jobs.assignment()
            (self._jobs.pause if full else self._jobs.resume)(*places)
            self._paused = full

    async def _commit(self) -> None:
        ours = self._jobs.assignment()
        self._readings = {place: each for place, each in self._readings.items() if place in ours}
        now = self._clock.monotonic()
        line_due = now >= self._line_due
        if line_due:
            self._line_due = now + self._plan.line_seconds
        moved, lines = {}, []
        for place, reading in self._readings.items():
            progress = reading.progress(self._clock.now(), line_due=line_due)
            if progress is not None:
                moved[place] = self._offset(progress.offset, progress.metadata)
                lines += [] if progress.line is None else [ledger_output(progress.line)]
        if not moved:
            return
        if lines:
            # Before the commit: of two lines that begin alike the later one counts.
            await self._publisher.deliver(lines)
        try:
            await asyncio.to_thread(self._jobs.commit, moved)
        except kafka_errors.KafkaError as error:
            self._log.warning("commit_failed", error_class=type(error).__name__)
            if self._commits_fail_since is None:
                self._commits_fail_since = self._clock.monotonic()
        else:
            self._commits_fail_since = None
            for place in moved:
                self._readings[place].committed()

    # --- one job -------------------------------------------------------------------------------

    async def _done(self, entry: Entry, value: bytes | None, trace: str | None) -> None:
        """Do a job to its end: on return what came of it is durable."""
        try:
            job = codec.decode(MediaJob, None if value is None else bytes(value))
        except InvalidMessage as error:
            self._metrics.count(Metric.REFUSED, reason=str(error.error_type))
            self._books.note(Fate.DISCARDED, MEDIA, reason="unreadable_job")
            entry.outcome = Outcome(Fate.DISCARDED, reason="unreadable_job")
            return
        if job.not_before is not None:
            wait = (job.not_before - self._clock.now()).total_seconds()
            if wait > 0:
                await self._sleep(wait)
        await self._suppressions.known()
        if self._suppressions.stops(job):
            # Whatever it was to complete is erased by whoever carries the erasure out.
            self._books.note(Fate.DISCARDED, job.network, reason=SUPPRESSED)
            entry.outcome = Outcome(Fate.DISCARDED, SUPPRESSED, job.network)
            return
        with self._at_work():
            entry.outcome = await (self._whole(job) if job.whole else self._media(job, trace))

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Count a job that is being done, and note when one ended."""
        if not self._active:
            self._moved_at = self._clock.monotonic()
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            self._moved_at = self._clock.monotonic()

    async def _media(self, job: MediaJob, trace: str | None) -> Outcome:
        """Fetch an event's media; on return what came of it is durable."""
        found = await asyncio.gather(*(self._attempt(job, medium) for medium in job.media))
        held = [each.medium.sha256 for each in found if each.medium.sha256 is not None]
        if held:  # before anybody is told: a deletion of the object has to find them
            await self._awaited(lambda: note_shown(self._store, job.object_id, held))
        now = self._clock.now()
        decided = decide(job, found, self._instance, now)
        outputs = []
        if decided.completion is not None:
            outputs.append(raw_output(decided.completion, trace))
        if decided.again is not None:
            outputs.append(job_output(decided.again, self._instance, now, trace))
        if outputs:
            await self._publisher.deliver(outputs)
        self._note(job, found, decided, now)
        told = decided.completion is not None
        return Outcome(
            Fate.DELIVERED if told else Fate.DISCARDED,
            reason="" if told else NOTHING_TO_COMPLETE,
            network=job.network,
            outputs=tuple(outputs),
        )

    async def _whole(self, job: MediaJob) -> Outcome:
        """Fetch an event itself; on return what came of it is durable."""
        outputs: tuple[Output, ...] = ()
        reason = "gone"
        try:
            raw = await self._object(job)
        except InvalidMessage:
            pass
        except (RetryableError, CredentialsRejected) as error:
            if isinstance(error, CredentialsRejected):
                self._log.error("credential_refused", network=job.network, sentence=str(error))
            now = self._clock.now()
            again = later(job, now)
            reason = "unreachable" if again is None else "tried_again"
            outputs = () if again is None else (job_output(again, self._instance, now),)
        else:
            reason, outputs = "", (raw_output(raw),)
        if outputs:
            await self._publisher.deliver(outputs)
        if reason:
            self._books.note(Fate.DISCARDED, job.network, reason=reason)
            return Outcome(Fate.DISCARDED, reason, job.network, outputs)
        self._books.note(Fate.DELIVERED, job.network, topic=Topic.RAW_EVENTS)
        return Outcome(Fate.DELIVERED, network=job.network, outputs=outputs)

    async def _object(self, job: MediaJob) -> RawEvent:
        """Return the event as its network tells it by id.

        Raises:
            InvalidMessage, RetryableError, CredentialsRejected: as `Objects.whole`.
        """
        network: object = self._addresses.get(job.network)
        if not isinstance(network, Objects) or job.channel is None:
            raise InvalidMessage(ErrorType.ORIGINAL_GONE, "nobody here may ask for the event")
        told = await network.whole(job.object_id, job.kind, job.channel)
        return RawEvent(
            event_id=event_id(job.object_id, job.revision),
            object_id=job.object_id,
            revision=job.revision,
            network=job.network,
            connector=self._instance,
            kind=job.kind,
            change="created",
            mode=job.mode,
            received_at=self._clock.now(),
            channel=job.channel,
            native=msgspec.Raw(told.native),
            context=dict(told.context),
        )

    def _note(self, job: MediaJob, found: Sequence[Found], decided: Decided, now: datetime) -> None:
        for before, each in zip(job.media, found, strict=True):
            if not wanted(before):
                continue
            outcome = each.outcome
            if outcome == "later" and decided.again is None:
                outcome = "failed"
            self._metrics.count(Metric.MEDIA, outcome=outcome)
            if outcome == "stored":
                late = max(0.0, (now - job.requested_at).total_seconds())
                self._metrics.observe(Metric.MEDIA_SECONDS, late)
        if decided.completion is not None:
            self._books.note(Fate.DELIVERED, job.network, topic=Topic.RAW_EVENTS)
        else:
            self._books.note(Fate.DISCARDED, job.network, reason=NOTHING_TO_COMPLETE)

    async def _attempt(self, job: MediaJob, medium: MediumToFetch) -> Found:
        if not wanted(medium):
            return Found(medium, "stored")
        async with self._slots:
            try:
                content = await self._content(job, medium)
                digest = await self._kept(content, _checked_type(medium, content))
            except (NeverError, InvalidMessage) as error:
                failure = error.failure if isinstance(error, NeverError) else "gone"
                return Found(msgspec.structs.replace(medium, failure=failure), "failed")
            except RetryableError:
                return Found(medium, "later")
            except CredentialsRejected as error:
                self._log.error("credential_refused", network=job.network, sentence=str(error))
                return Found(medium, "later")
        return Found(msgspec.structs.replace(medium, sha256=digest), "stored")

    async def _content(self, job: MediaJob, medium: MediumToFetch) -> bytes:
        """Fetch a medium, at a fresh address where the one at hand is stale.

        Raises:
            NeverError, InvalidMessage, RetryableError, CredentialsRejected: as fetcher and network.
        """
        fresh = self._addresses.get(job.network)
        if medium.url is not None and not job.attempt:
            try:
                return (await self._fetcher.fetch(MediaAddress(medium.url))).content
            except NeverError as error:
                if fresh is None or not error.stale:
                    raise
        if fresh is not None:
            address = await fresh.address(job.object_id, medium.id, medium.url)
        elif medium.url is not None:
            address = MediaAddress(medium.url)
        else:
            raise NeverError("no_address")
        return (await self._fetcher.fetch(address)).content

    async def _kept(self, content: bytes, found: str) -> str:
        """Store; waits for a store that is away."""
        return await self._awaited(lambda: self._store.put(content, found))

    async def _awaited(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the store until it answers."""
        while True:
            try:
                answer = await ask()
            except (RetryableError, CredentialsRejected) as error:
                if not self.waiting_for:
                    self._log.error("media_store_awaited", sentence=str(error))
                self.waiting_for = str(error)
                await self._sleep(STORE_SECONDS)
            else:
                self.waiting_for = ""
                return answer
