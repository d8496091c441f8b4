"""The Jetstream protocol as pure functions: filters, cursors, frames, the log.

Two wires of one log, as the public service has them since its second version: ``/subscribe`` (the
frozen first wire) and ``/xrpc/network.bsky.jetstream.subscribeEvents`` (the second). What was taken
from where stands in ``simulator/README.md``.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from klingel_simulator.truth import to_rfc3339

NSID: Final = "network.bsky.jetstream.subscribeEvents"
SUBPROTOCOL: Final = "xrpc.v1.json"
SEQ_LIMIT: Final = 1_000_000_000_000_000
"""A cursor below is a seq, one at or above is a time in epoch microseconds."""
MAX_COLLECTIONS: Final = 100
MAX_DIDS: Final = 10_000
KINDS: Final = ("commit", "identity", "account", "sync")

_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_COLLECTION = re.compile(
    r"[a-zA-Z][a-zA-Z0-9-]*(\.[a-zA-Z0-9][a-zA-Z0-9-]*)+\.[a-zA-Z][a-zA-Z0-9]*"
)
_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*(\.[a-zA-Z0-9][a-zA-Z0-9-]*)+")

Query = Sequence[tuple[str, str]]


class RefusedError(Exception):
    """The subscription is refused before the upgrade: HTTP status, error name, one sentence."""

    def __init__(self, name: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the log; ``body`` holds the JSON members that both wires share."""

    seq: int
    time_us: int
    kind: str
    did: str
    collection: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a subscriber wants; empty means all."""

    kinds: frozenset[str] = frozenset()
    dids: frozenset[str] = frozenset()
    collections: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    max_bytes: int = 0

    def wants(self, entry: Entry) -> bool:
        """Decide on everything but size; collections constrain commits alone."""
        if self.kinds and entry.kind not in self.kinds:
            return False
        if self.dids and entry.did not in self.dids:
            return False
        if entry.kind != "commit" or not (self.collections or self.prefixes):
            return True
        return entry.collection in self.collections or entry.collection.startswith(self.prefixes)


def _all(query: Query, name: str) -> list[str]:
    return [value for key, value in query if key == name]


def _dids(values: Sequence[str]) -> frozenset[str]:
    for value in values:
        if not _DID.fullmatch(value):
            raise RefusedError("InvalidRequest", f"invalid DID: {value}")
    dids = frozenset(values)
    if len(dids) > MAX_DIDS:
        raise RefusedError("InvalidRequest", f"too many wanted DIDs: {len(dids)} > {MAX_DIDS}")
    return dids


def _collections(values: Sequence[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    prefixes = tuple(sorted({value[:-1] for value in values if value.endswith(".*")}))
    full = frozenset(value for value in values if not value.endswith(".*"))
    for value in full:
        if not _COLLECTION.fullmatch(value):
            raise RefusedError("InvalidRequest", f"invalid collection: {value}")
    if len(full) + len(prefixes) > MAX_COLLECTIONS:
        raise RefusedError("InvalidRequest", f"too many wanted collections: > {MAX_COLLECTIONS}")
    return full, prefixes


def _size(value: str) -> int:
    # the first wire turns nonsense and negative values into "no limit"
    return int(value) if re.fullmatch(r"\d{1,10}", value) and int(value) < 2**32 else 0


def parse_filter_v1(query: Query) -> Filter:
    """Read wantedCollections, wantedDids and maxMessageSizeBytes of ``/subscribe``."""
    full, prefixes = _collections(_all(query, "wantedCollections"))
    sizes = _all(query, "maxMessageSizeBytes") or [""]
    return Filter(
        dids=_dids(_all(query, "wantedDids")),
        collections=full,
        prefixes=prefixes,
        max_bytes=_size(sizes[0]),
    )


def parse_filter_v2(query: Query) -> Filter:
    """Read kinds, dids, collections and maxMessageSizeBytes; the first wire's names are refused."""
    names = {key for key, _ in query}
    for old, advice in (
        ("wantedDids", "use dids"),
        ("wantedCollections", "use collections"),
        ("requireHello", "this endpoint is server-push only"),
        ("compress", "use zstdDictionary"),
    ):
        if old in names:
            raise RefusedError("InvalidRequest", f"{old} belongs to /subscribe: {advice}")
    kinds = frozenset(_all(query, "kinds"))
    for kind in kinds:
        if kind not in KINDS:
            raise RefusedError("InvalidRequest", f"unknown kind: {kind}")
    values = _all(query, "collections")
    for value in values:
        if value.endswith(".*") and not _PREFIX.fullmatch(value[:-2]):
            raise RefusedError("InvalidRequest", f"invalid collection wildcard: {value}")
    full, prefixes = _collections(values)
    if values and kinds and "commit" not in kinds:
        raise RefusedError("InvalidRequest", "collections can never apply: kinds excludes commit")
    sizes = _all(query, "maxMessageSizeBytes") or [""]
    return Filter(kinds, _dids(_all(query, "dids")), full, prefixes, _size(sizes[0]))


def parse_options_update(text: str) -> Filter | None:
    """Read a subscriber's message of ``/subscribe``; ``None`` for a type that is not ours.

    Raises ``ValueError`` when it is not a message, ``RefusedError`` when its options are invalid.
    """
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("bad message envelope")  # noqa: TRY004 callers tell JSON from options
    if message.get("type") != "options_update":
        return None
    payload = message.get("payload")
    if not isinstance(payload, dict):
        raise ValueError("bad options_update payload")  # noqa: TRY004 as above
    full, prefixes = _collections(_texts(payload, "wantedCollections"))
    size = payload.get("maxMessageSizeBytes") or 0
    return Filter(
        dids=_dids(_texts(payload, "wantedDids")),
        collections=full,
        prefixes=prefixes,
        max_bytes=max(0, size) if isinstance(size, int) else 0,
    )


def _texts(payload: Mapping[str, Any], name: str) -> list[str]:
    values = payload.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} must be a list of texts")
    return values


class EventLog:
    """What was published, oldest first, bounded by count and by age.

    ``floor`` is the seq of the oldest event that can still be replayed, ``next_seq`` the one that
    the next event gets. The first seq is 1.
    """

    def __init__(self, *, max_events: int, look_back_seconds: float) -> None:
        self._entries: list[Entry] = []
        self._max_events = max_events
        self._look_back_us = int(look_back_seconds * 1_000_000)
        self._next_seq = 1
        self._last_us = 0

    @property
    def next_seq(self) -> int:
        """The seq of the next event."""
        return self._next_seq

    @property
    def last_us(self) -> int:
        """The time of the newest event in epoch microseconds, 0 before the first."""
        return self._last_us

    def floor(self, now_us: int) -> int:
        """The oldest seq within the look-back."""
        oldest = bisect_left(self._entries, now_us - self._look_back_us, key=_time_us)
        return self._next_seq - len(self._entries) + oldest

    def append(self, kind: str, did: str, collection: str, body: bytes, now_us: int) -> Entry:
        """Add an event at ``now_us``, or a microsecond after the last one if that is later."""
        self._last_us = max(now_us, self._last_us + 1)
        entry = Entry(self._next_seq, self._last_us, kind, did, collection, body)
        self._next_seq += 1
        self._entries.append(entry)
        if len(self._entries) > self._max_events:
            # a tenth at a time, so that appending stays cheap
            del self._entries[: max(1, self._max_events // 10)]
        return entry

    def read(self, seq: int, limit: int) -> list[Entry] | None:
        """Return up to ``limit`` events from ``seq`` on; ``None`` when they are no longer kept."""
        start = seq - (self._next_seq - len(self._entries))
        return None if start < 0 else self._entries[start : start + limit]

    def seq_at(self, time_us: int) -> int:
        """The first seq at or after a time."""
        index = bisect_left(self._entries, time_us, key=_time_us)
        return self._next_seq - len(self._entries) + index


def _time_us(entry: Entry) -> int:
    return entry.time_us


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins; ``notice`` is (name, message) of an info frame, or ``None``."""

    seq: int
    replays: bool
    notice: tuple[str, str] | None = None


def resolve_cursor(
    raw: str, log: EventLog, now_us: int, *, refuse_old: bool, refuse_old_times: bool = False
) -> Start:
    """Decide where to begin, the cursor being inclusive.

    Raises ``RefusedError``: ``InvalidRequest``, or ``CursorTooOld`` for a seq below the floor when
    ``refuse_old`` (the second wire; the first one silently begins at the floor). A time below the
    floor begins there with the notice ``OutdatedCursor``, unless ``refuse_old_times``. A cursor in
    the future begins live.
    """
    if not raw:
        return Start(log.next_seq, replays=False)
    if not re.fullmatch(r"\d{1,18}", raw):
        raise RefusedError("InvalidRequest", "invalid cursor: it must be a non-negative integer")
    cursor, floor = int(raw), log.floor(now_us)
    if cursor < SEQ_LIMIT:
        if cursor >= log.next_seq:
            notice = ("FutureCursor", f"seq {cursor} is beyond the next seq; starting live")
            return Start(log.next_seq, replays=False, notice=notice)
        cursor = max(cursor, 1)
        if cursor < floor and refuse_old:
            raise RefusedError(
                "CursorTooOld",
                f"cursor too old: cursor {cursor} below lookback floor {floor}; "
                "re-backfill from your last seq",
            )
        return Start(max(cursor, floor), replays=True)
    if cursor > now_us:
        return Start(log.next_seq, replays=False)
    seq = log.seq_at(cursor)
    if seq <= floor and floor > 1:
        if refuse_old_times and seq <= floor and cursor < _floor_time(log, floor):
            raise RefusedError("CursorTooOld", f"cursor too old: time below lookback floor {floor}")
        message = f"requested timestamp cursor below retention floor; starting at seq {floor}"
        return Start(floor, replays=True, notice=("OutdatedCursor", message))
    return Start(seq, replays=True)


def _floor_time(log: EventLog, floor: int) -> int:
    oldest = log.read(floor, 1)
    return oldest[0].time_us if oldest else log.last_us


def _witnessed(time_us: int) -> bytes:
    return f"{to_rfc3339(time_us)[:-1]}{time_us % 1000:03d}Z".encode("ascii")


def to_frame_v1(entry: Entry) -> bytes:
    """Write an event for ``/subscribe``."""
    did = entry.did.encode("ascii")
    if entry.kind == "commit":
        return b'{"did":"%b","time_us":%d,"cursor":%d,"kind":"commit","commit":{%b}}' % (
            *(did, entry.time_us, entry.seq, entry.body),
        )
    kind = entry.kind.encode("ascii")
    return b'{"did":"%b","time_us":%d,"cursor":%d,"kind":"%b",%b}' % (
        *(did, entry.time_us, entry.seq, kind, entry.body),
    )


def to_frame_v2(entry: Entry) -> bytes:
    """Write an event for ``subscribeEvents``, in its message frame."""
    time = _witnessed(entry.time_us)
    return (
        b'{"$type":"message","payload":{"$type":"%b#%b","seq":%d,"did":"%b",'
        b'"time":"%b","witnessedAt":"%b",%b}}'
    ) % (
        NSID.encode("ascii"),
        entry.kind.encode("ascii"),
        entry.seq,
        entry.did.encode("ascii"),
        *(time, time, entry.body),
    )


def to_error_frame(name: str, message: str) -> bytes:
    """Write the error frame after which the second wire closes."""
    return json.dumps({"$type": "error", "error": name, "message": message}).encode("utf-8")


def to_info_frame(name: str, message: str) -> bytes:
    """Write the second wire's advisory about a cursor."""
    payload = {"$type": f"{NSID}#info", "name": name, "message": message}
    return json.dumps({"$type": "message", "payload": payload}).encode("utf-8")


class SlowReader:
    """Finds a subscriber that is far behind and reads below the floor rate for a whole window."""

    def __init__(self, *, max_lag: int, min_rate: float, window_seconds: float) -> None:
        self._max_lag = max_lag
        self._min_rate = min_rate
        self._window = window_seconds
        self._since: tuple[float, int] | None = None

    def observe(self, position: int, lag: int, now: float) -> bool:
        """Say whether to drop it; ``position`` is the next seq it reads, ``now`` monotonic."""
        if lag <= self._max_lag:
            self._since = None
            return False
        if self._since is None:
            self._since = (now, position)
            return False
        elapsed = now - self._since[0]
        if elapsed < self._window:
            return False
        slow = (position - self._since[1]) / elapsed < self._min_rate
        self._since = (now, position)
        return slow
