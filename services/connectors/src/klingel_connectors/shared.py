"""What processes of one network's app tell each other: spending, presence, ends of replays.

Connector, gateway and media worker of an app spend the same money and miss the same deliveries, each
in a process of its own. Each writes what it knows under keys of its own to `connector-cursors`, which
is compacted and which each reads whole; nobody writes another's key, so nothing is lost to a race and
the sum is the truth, behind by what the others have not written yet (ADR 0016).

    spent/<app> | <instance>/<holder>/<start>   what a process has spent this month
    hook/<app>  | <instance>/<holder>           when a gateway took the app's deliveries
    hook/<app>  | replay/<job>                  how a replay ended

An app is named as the gateway's hook where it rings: `x`, or `x/<last>`.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage, SourceUnavailable
from klingel.model import ConnectorCursor
from klingel.settings import KafkaSettings
from klingel_connectors.cursor import cursor_key, cursor_output, saved_cursor
from klingel_connectors.followed import Following
from klingel_networks.arrival import Attendance, Life, ReplayEnd

SPENT, HOOK = "spent/", "hook/"
REPLAY = "replay/"
KEPT = timedelta(days=3)
"""A life that ended so long ago says nothing any more: the network replays one day at most."""

_KNOWN_SECONDS = 30.0
_SLICE_SECONDS = 0.25
"""So soon whoever waits in a thread sees that the service is to stop."""

_ITEMS = 40
_CURSOR_LENGTH = 4_096


class Spending(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one process has spent in a month.

    Attributes:
        month: such as `2026-11`, in UTC.
        units: of the network's cost.
        items: units by item, the largest.
    """

    month: str
    units: float
    items: dict[str, float] = {}


class Lived(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A `Life` as it is written, in milliseconds since 1970."""

    since: int
    at: int
    refused: list[tuple[int, int]] = []
    told: list[int] = []


_SPENDING = msgspec.json.Decoder(Spending)
_LIVED = msgspec.json.Decoder(Lived)


def spending_output(
    app: str, writer: str, spending: Spending, holder: str, now: datetime
) -> Output:
    """Return the record of what a process has spent; the largest items alone go along."""
    ranked = sorted(spending.items.items(), key=lambda each: (-each[1], each[0]))
    told = msgspec.structs.replace(spending, items=dict(ranked[:_ITEMS]))
    text = msgspec.json.encode(told).decode()
    if len(text) > _CURSOR_LENGTH:
        text = msgspec.json.encode(msgspec.structs.replace(told, items={})).decode()
    return _output(f"{SPENT}{app}", writer, text, holder, now)


def life_output(app: str, writer: str, life: Life, now: datetime) -> Output:
    """Return the record of when a gateway took an app's deliveries."""
    lived = Lived(
        _milliseconds(life.since),
        _milliseconds(life.at),
        [(_milliseconds(begin), _milliseconds(end)) for begin, end in life.refused],
        [_milliseconds(each) for each in life.told],
    )
    return _output(f"{HOOK}{app}", writer, msgspec.json.encode(lived).decode(), writer, now)


def replay_output(app: str, job: str, state: str, holder: str, now: datetime) -> Output:
    """Return the record of how a replay ended."""
    return _output(f"{HOOK}{app}", f"{REPLAY}{job}", state, holder, now)


def _output(instance: str, source: str, text: str, holder: str, now: datetime) -> Output:
    return cursor_output(saved_cursor(instance, source, text, holder, 0, now, finished=False))


class Shared:
    """What was told about some apps; read by a thread, asked by anybody.

    Args:
        apps: names of the apps; of all others nothing is kept.
    """

    def __init__(self, apps: Collection[str]) -> None:
        self._instances = {f"{kind}{app}" for kind in (SPENT, HOOK) for app in apps}
        self._lock = threading.Lock()
        self._known = threading.Event()
        self._stopped = threading.Event()
        self._spent: dict[tuple[str, str], Spending] = {}
        self._lives: dict[tuple[str, str], Life] = {}
        self._replays: dict[tuple[str, str], ReplayEnd] = {}
        self._following: Following | None = None

    def start(
        self, kafka: KafkaSettings, client_id: str, renew: Callable[[], None] = lambda: None
    ) -> None:
        """Begin to follow; without an app there is nothing to."""

        def read() -> None:
            self.renew()
            renew()

        if not self._instances:
            self._known.set()
            return
        self._following = Following(
            kafka,
            (Topic.CONNECTOR_CURSORS,),
            name=f"{client_id}-shared",
            take=self.take,
            renew=read,
        )
        self._following.start()

    def stop(self) -> None:
        """Stop following, and let nobody wait for what is told; blocks a moment."""
        self._stopped.set()
        if self._following is not None:
            self._following.stop()

    def waiting_for(self) -> str:
        """Say what keeps it waiting; empty once it knows."""
        return "" if self._known.is_set() else "topic connector-cursors"

    def known(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Return once all was read that had been told before the start; blocks.

        Args:
            stopping: whether nobody needs to know any more.

        Raises:
            SourceUnavailable: not within half a minute, or it stops.
        """
        for _ in range(round(_KNOWN_SECONDS / _SLICE_SECONDS)):
            if self._known.wait(_SLICE_SECONDS):
                return
            if self._stopped.is_set() or stopping():
                break
        raise SourceUnavailable("what other processes have spent cannot be read yet")

    # --- what was told ---------------------------------------------------------------------------

    def spending(self, app: str) -> Mapping[str, Spending]:
        """Return what each process of an app has spent, by writer."""
        with self._lock:
            return _of(self._spent, f"{SPENT}{app}")

    def attendance(self, app: str) -> Attendance | None:
        """Return who took an app's deliveries when; None until that is known."""
        if not self._known.is_set():
            return None
        with self._lock:
            lives = _of(self._lives, f"{HOOK}{app}")
            replays = _of(self._replays, f"{HOOK}{app}")
        told = {source.removeprefix(REPLAY): end for source, end in replays.items()}
        return Attendance(tuple(lives.values()), told)

    def past(self, now: datetime) -> list[Output]:
        """Return what takes away records that say nothing any more."""
        ago = now - KEPT
        month = f"{ago:%Y-%m}"
        with self._lock:
            places = [place for place, each in self._spent.items() if each.month < month]
            places += [place for place, each in self._lives.items() if each.at < ago]
            places += [place for place, each in self._replays.items() if each.at < ago]
        return [Output(Topic.CONNECTOR_CURSORS, cursor_key(*place), None) for place in places]

    # --- in the thread ---------------------------------------------------------------------------

    def renew(self) -> None:
        """Say that the topic was read to the end that it had at the start."""
        self._known.set()

    def take(self, _topic: Topic, record: Any) -> bool:
        """Take one record; True when it was one of ours."""
        instance, _, source = bytes(record.key or b"").decode("utf-8", "replace").partition("|")
        if instance not in self._instances:
            return False
        place = (instance, source)
        with self._lock:
            for known in (self._spent, self._lives, self._replays):
                known.pop(place, None)
            if record.value is not None:
                self._enter(place, bytes(record.value))
        return True

    def _enter(self, place: tuple[str, str], value: bytes) -> None:
        """Keep a record; one that cannot be read is none."""
        try:
            cursor = codec.decode(ConnectorCursor, value)
            if place[0].startswith(SPENT):
                self._spent[place] = _SPENDING.decode(cursor.cursor)
            elif place[1].startswith(REPLAY):
                self._replays[place] = ReplayEnd(cursor.cursor, cursor.saved_at)
            else:
                lived = _LIVED.decode(cursor.cursor)
                refused = tuple((_moment(begin), _moment(end)) for begin, end in lived.refused)
                told = tuple(_moment(each) for each in lived.told)
                self._lives[place] = Life(_moment(lived.since), _moment(lived.at), refused, told)
        except (InvalidMessage, msgspec.DecodeError, OverflowError, ValueError):
            return


def _of(found: Mapping[tuple[str, str], Any], instance: str) -> dict[str, Any]:
    return {source: each for (name, source), each in found.items() if name == instance}


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
