"""All that watch remembers of one brand, what a row makes of it, and how it is stored.

Stored are pieces, so that a row costs a few hundred bytes and not the whole memory:

- `rows`: the records of `brand-signals` as they came, with the time at which they were decided; few
  rows of many brands share one `batch` (`klingel_processors.watch.shared`) until there are more;
- `snapshot`: the memory itself, now and then; the rows before it are removed;
- `posts`: what a snapshot leaves out because it does not change any more: the posts among which
  incidents are looked for, and the hashes of what was heard.

A memory is read back from its snapshot and the rows since then, decided again at the same times;
what that tells was told already.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

import cramjam
import msgspec

from klingel.config.calendars import seconds_of
from klingel.config.compiled import CompiledBrand
from klingel.domain import pile_on
from klingel.domain.alert_evidence import Row
from klingel.domain.alerting import Alert, AlertPolicy, BrandWatch
from klingel.domain.identity import hash64_bytes, object_of
from klingel.domain.incidents import (
    MEMORY_SECONDS,
    STEP,
    Happening,
    IncidentRules,
    IncidentWindow,
    Matters,
    Post,
)
from klingel.domain.pile_on import PileOnRules, PileOns, Voice
from klingel.domain.signals import (
    AnyRow,
    counted_of,
    is_dated,
    is_history,
    is_question,
    post_of,
    says_something_new,
)
from klingel.domain.silences import (
    Connector,
    Gap,
    SilenceRules,
    Silences,
    Told,
    look,
    note,
    unheard,
)
from klingel.errors import InvariantViolation
from klingel_processors.watch.rows import read

SEEN_SECONDS: Final = 6 * 3600.0
"""How long an object is known as heard, in event time of the brand; what is older is too late."""

SEEN: Final = 100_000
"""Most objects of a brand that are known as heard; the oldest half is forgotten."""

SNAPSHOT_SECONDS: Final = 3_600.0
"""Event time after which rows are folded into a snapshot."""

SNAPSHOT_BYTES: Final = 4_000_000
"""Rows of more bytes than this, and than four snapshots, are folded into a snapshot at once."""

SNAPSHOT_MOST: Final = 650_000
"""A longer one is larger, as JSON, than Kafka takes."""

ROWS_BYTES: Final = 380_000
"""From so many bytes on a piece takes no further record of rows, which has 262,144 of them."""

OWN_BYTES: Final = 16_384
"""Rows of so many bytes are a piece of the brand's own."""

LANGUAGES: Final = 8
"""Languages of a brand that have a window of their own; all others share one."""

POSTS_A_PIECE: Final = 500
_OTHER = "und"
_TIME_BYTES = 16
_ZSTD = b"\x28"
_ZLIB = b"\x78"
"""As pieces of earlier versions begin."""
_SMALL = 2_000
_LEVEL = 1
_T = TypeVar("_T")
Rows = list[tuple[float, bytes]]
"""Records of rows with the time at which each was decided; an empty one for time that passed."""

Says = Alert | Happening | Told | pile_on.Told
Heard = Literal["new", "repeated", "late"]


class Rules(NamedTuple):
    """What a brand's configuration says of watching it."""

    version: str
    alerts: AlertPolicy
    incidents: IncidentRules
    silences: SilenceRules
    pile_ons: PileOnRules = PileOnRules()

    @classmethod
    def of(cls, brand: CompiledBrand) -> "Rules":
        """Return the rules of a brand."""
        alerts = brand.alerts
        return cls(
            brand.version,
            AlertPolicy(
                least_authors=alerts.min_authors,
                cool_down_seconds=float(seconds_of(alerts.cool_down)),
            ),
            IncidentRules(alerts.incident_from, float(seconds_of(alerts.incident_window))),
            SilenceRules.of(alerts),
            PileOnRules(alerts.pile_on_from),
        )


class _Piece(msgspec.Struct, array_like=True):
    """What a piece of posts holds."""

    newest: float
    posts: dict[str, list[Post]]
    seen: bytes
    """Hashes of objects, 8 bytes each."""


class _Snapshot(msgspec.Struct, array_like=True):
    watermark: float
    watch: dict[str, object]
    matters: dict[str, Matters]
    silences: Silences
    pile_ons: PileOns = msgspec.field(default_factory=PileOns)


class Stored(NamedTuple):
    """A piece to be written; `data` None to be removed."""

    kind: str
    number: int
    data: bytes | None


class BrandMemory:
    """What is known of one brand; deterministic, given rows and times.

    Args:
        brand: name of the brand.
        rules: of its configuration.
    """

    def __init__(self, brand: str, rules: Rules) -> None:
        self.brand = brand
        self.rules = rules
        self.watermark = 0.0
        self.ticked_at = 0.0
        self._watch = BrandWatch(brand, rules.alerts)
        self._windows: dict[str, IncidentWindow] = {}
        self._silences = Silences()
        self._pile_ons = PileOns()
        self._seen: dict[bytes, float] = {}
        self._step = 0.0
        self.number = 0
        self._rows: list[int] = []
        self._snapshot_at = 0.0
        self._pieces: dict[int, float] = {}
        self._new_seen: list[bytes] = []
        self._new_posts: dict[str, list[Post]] = {}
        self._unwritten: list[tuple[float, bytes]] = []
        self._shared = 0
        self._waiting = 0
        self._written = 0
        self._folded = 0
        self._must_fold = True

    # -- what happens ----------------------------------------------------------------------

    def follow(self, rules: Rules) -> None:
        """Go on under another configuration."""
        if rules.version == self.rules.version:
            return
        if rules.alerts != self.rules.alerts:
            self._watch = BrandWatch.from_plain(self._watch.to_plain(), rules.alerts)
        for window in self._windows.values():
            window.rules = rules.incidents
        self.rules = rules
        self._must_fold = True  # rows from before are not decided again under these rules

    def hear(self, value: bytes, rows: Iterable[AnyRow], now: float) -> tuple[list[Says], Heard]:
        """Take a record of rows; return what they say, and what became of them.

        Args:
            value: the record, to be stored.
            rows: what it holds.
            now: seconds since 1970.
        """
        says: list[Says] = []
        hear = self._hear
        found = {hear(row, now, says) for row in rows}
        heard: Heard = "repeated"
        if "new" in found:
            heard = "new"
        elif "late" in found:
            heard = "late"
        if heard == "new":
            self._unwritten.append((now, value))
            self._written += len(value)
            self._waiting += len(value)
        return says, heard

    def _hear(self, row: AnyRow, now: float, says: list[Says]) -> Heard:
        if not says_something_new(row):
            note(self._silences, row)
            if is_history(row):
                self._watch.learn(counted_of(row, object_of(row.event_id), row.at.timestamp()), now)
            return "new"
        at = row.at.timestamp()
        object_id = object_of(row.event_id)
        key = hash64_bytes(object_id)
        if key in self._seen:
            return "repeated"
        if at <= self.watermark - SEEN_SECONDS:
            # Whether it is a repeat is not known any more, and nothing would come of it.
            return "late"
        self._seen[key] = at
        self._new_seen.append(key)
        note(self._silences, row, at)
        if row.direction == "inbound" and is_dated(row):
            counted = counted_of(row, object_id, at)
            said = self._watch.add(counted, now, int.from_bytes(key, "big"))
            if said:
                says.extend(said)
            self._look_closer(row, counted, now, says)
        if at > self.watermark:
            self.watermark = at
            step = at // STEP
            if step > self._step:
                self._step = step
                self._pass_steps(says)
        return "new"

    def _look_closer(self, row: AnyRow, counted: Row, now: float, says: list[Says]) -> None:
        """Look for what is more than a count: many with one question, or in one thread."""
        if is_question(row):
            self._ask(row, counted.at)
        is_negative = row.tone == "negative"
        if not is_negative and row.conversation_id not in self._pile_ons.threads:
            return
        if self.rules.pile_ons.authors is None:
            return
        voice = Voice(
            row.conversation_id,
            row.event_id,
            counted.at,
            counted.author,
            row.network,
            counted.reach,
            is_negative,
        )
        told = pile_on.hear(self._pile_ons, self.rules.pile_ons, self.brand, voice, now)
        if told is not None:
            says.append(told)

    def _ask(self, row: AnyRow, at: float) -> None:
        lang = (row.lang or _OTHER).partition("-")[0]
        window = self._windows.get(lang)
        if window is None:
            if len(self._windows) >= LANGUAGES:
                lang = _OTHER
            window = self._windows.get(lang)
            if window is None:
                window = IncidentWindow(self.brand, lang, self.rules.incidents)
                self._windows[lang] = window
        post = window.hear(post_of(row, at, window.boundary))
        self._new_posts.setdefault(lang, []).append(post)

    def _pass_steps(self, says: list[Says]) -> None:
        for lang in sorted(self._windows):
            says.extend(self._windows[lang].advance(self.watermark))
        if len(self._seen) > SEEN or self._step % 80 == 0:
            least = self.watermark - SEEN_SECONDS
            newest = list(self._seen.items())[-SEEN // 2 :] if len(self._seen) > SEEN else None
            self._seen = {key: at for key, at in (newest or self._seen.items()) if at > least}

    def pass_time(
        self,
        now: float,
        read_to: float,
        connectors: Sequence[Connector] = (),
        gaps: Sequence[Gap] = (),
    ) -> list[Says]:
        """Return what time alone makes of it.

        Args:
            now: seconds since 1970.
            read_to: seconds since 1970 up to which every row is heard.
            connectors: what those that listen say of themselves.
            gaps: what their ledger says they did not hear.
        """
        blind = unheard(self._silences, connectors, gaps, read_to) if gaps else []
        if self._watch.follow_gaps(blind, read_to):
            self._must_fold = True
        says: list[Says] = list(self._watch.advance(now, until=read_to))
        waits = any(each.waits for each in self._windows.values())
        silent = read_to - self.watermark >= SNAPSHOT_SECONDS and self._holds(
            read_to - MEMORY_SECONDS
        )
        if read_to > self.watermark and (waits or silent):
            self._note_time(read_to, says)
            # Of a brand that nobody speaks of any more, too, what was said is forgotten in time.
            self._must_fold |= silent
        says.extend(look(self._silences, self.rules.silences, self.brand, read_to, connectors))
        says.extend(pile_on.pass_time(self._pile_ons, read_to))
        if says:
            self._must_fold = True
        return says

    def _holds(self, horizon: float) -> bool:
        """Whether what is older is stored still: as posts, or as rows since the snapshot."""
        rows = bool(self._rows or self._unwritten) and self.watermark <= horizon
        return rows or any(newest <= horizon for newest in self._pieces.values())

    def _note_time(self, read_to: float, says: list[Says]) -> None:
        self._unwritten.append((read_to, b""))
        self._waiting += _TIME_BYTES
        self._pass_to(read_to, says)

    def _pass_to(self, read_to: float, says: list[Says]) -> None:
        self.watermark = read_to
        self._step = read_to // STEP
        self._pass_steps(says)

    # -- state -----------------------------------------------------------------------------

    def store(self, number: int = 0) -> list[Stored]:
        """Return the pieces that bring what is stored up to date; empty when it is.

        Args:
            number: the least that a piece may have; `number` is behind them all afterwards.
        """
        self.number = max(self.number, number)
        pieces = self._fold() if self._is_to_fold() else []
        while self._unwritten:
            some = self._next_rows()
            pieces.append(Stored("rows", self.number, pack(some)))
            self._rows.append(self.number)
            self.number += 1
        self._shared = self._waiting = 0
        return pieces

    def _next_rows(self) -> Rows:
        """Take what happened and is not written, as much as goes into a record."""
        length = 0
        at = 0
        for at, (_, value) in enumerate(self._unwritten, 1):  # noqa: B007 - read behind the loop
            length += len(value)
            if length >= ROWS_BYTES:
                break
        some, self._unwritten = self._unwritten[:at], self._unwritten[at:]
        return some

    def is_due(self) -> bool:
        """Whether what happened is worth pieces of its own; else it may share a batch with others."""
        return self._waiting >= OWN_BYTES or self._is_to_fold()

    def share(self) -> list[tuple[float, bytes]]:
        """Return what happened, with its times, and was not shared before; `store` stores it again."""
        new = self._unwritten[self._shared :]
        self._shared = len(self._unwritten)
        return new

    def _is_to_fold(self) -> bool:
        old = self.watermark - self._snapshot_at >= SNAPSHOT_SECONDS
        return self._must_fold or old or self._written > max(SNAPSHOT_BYTES, 4 * self._folded)

    @property
    def has_news(self) -> bool:
        """Whether anything is to be stored."""
        return len(self._unwritten) > self._shared or self._is_to_fold()

    def _fold(self) -> list[Stored]:
        """Return a new snapshot, the posts that belong to it, and what it makes superfluous.

        One that no record can hold is not written: the rows stay, and it is tried again later.
        """
        snapshot = _Snapshot(
            self.watermark,
            self._watch.to_plain(),
            {lang: window.matters() for lang, window in self._windows.items()},
            self._silences,
            self._pile_ons,
        )
        packed = pack(snapshot)
        self._folded = len(packed)
        self._snapshot_at = self.watermark
        self._written = 0
        self._must_fold = False
        if len(packed) > SNAPSHOT_MOST:
            return []
        pieces = [Stored("rows", each, None) for each in self._rows]
        horizon = self.watermark - MEMORY_SECONDS
        for number in [each for each, newest in self._pieces.items() if newest <= horizon]:
            del self._pieces[number]
            pieces.append(Stored("posts", number, None))
        for piece in self._posts(horizon):
            self._pieces[self.number] = piece.newest
            pieces.append(Stored("posts", self.number, pack(piece)))
            self.number += 1
        pieces.append(Stored("snapshot", self.number, packed))
        self._rows = []
        self._unwritten = []
        return pieces

    def _posts(self, horizon: float) -> Iterable[_Piece]:
        """Yield what was heard since the last snapshot and is not forgotten yet, in pieces."""
        posts = [
            (lang, post)
            for lang, each in self._new_posts.items()
            for post in each
            if post.at > horizon
        ]
        seen = [key for key in self._new_seen if self._seen.get(key, 0.0) > horizon]
        self._new_posts, self._new_seen = {}, []
        while posts or seen:
            of_lang: dict[str, list[Post]] = {}
            for lang, post in posts[:POSTS_A_PIECE]:
                of_lang.setdefault(lang, []).append(post)
            hashes = b"".join(seen[: 20 * POSTS_A_PIECE])
            yield _Piece(self.watermark, of_lang, hashes)
            posts, seen = posts[POSTS_A_PIECE:], seen[20 * POSTS_A_PIECE :]

    @classmethod
    def restore(
        cls,
        brand: str,
        rules: Rules,
        snapshot: tuple[int, bytes],
        posts: Iterable[tuple[int, bytes]],
        rows: Sequence[tuple[int, bytes]],
        shared: Iterable[tuple[int, float, bytes]] = (),
    ) -> "BrandMemory":
        """Return the memory that was stored.

        Args:
            brand: name of the brand.
            rules: of its configuration.
            snapshot: number and data.
            posts: number and data of each piece of posts.
            rows: number and data of each piece of rows since the snapshot, by number.
            shared: number of the batch, time and record of what shares one with others, by number.

        Raises:
            InvariantViolation: torn, or written by another version.
        """
        memory = cls(brand, rules)
        number, data = snapshot
        memory._folded = len(data)
        try:
            memory._take(unpack(data, _Snapshot), posts)
            memory.number = number
            for number, data in rows:
                for now, value in unpack(data, Rows):
                    memory._hear_again(now, value)
                memory._rows.append(number)
                memory.number = number + 1
            memory._unwritten = []
            memory._waiting = 0
            for number, now, value in shared:
                if number >= memory.number:
                    memory._hear_again(now, value)
            memory._shared = len(memory._unwritten)
        except (msgspec.MsgspecError, zlib.error, cramjam.DecompressionError, ValueError) as error:
            raise InvariantViolation("what watch remembers of a brand cannot be read") from error
        memory._must_fold = False
        return memory

    @property
    def shares(self) -> bool:
        """Whether some of what is remembered is stored in batches alone."""
        return self._shared > 0

    def _hear_again(self, now: float, value: bytes) -> None:
        if value:
            self.hear(value, read(value).rows, now)
        else:
            self._note_time(now, [])

    def _take(self, snapshot: _Snapshot, pieces: Iterable[tuple[int, bytes]]) -> None:
        self.watermark = self._snapshot_at = snapshot.watermark
        self._step = self.watermark // STEP
        self._silences = snapshot.silences
        self._pile_ons = snapshot.pile_ons
        self._watch = BrandWatch.from_plain(snapshot.watch, self.rules.alerts)
        posts: dict[str, list[Post]] = {}
        for number, data in pieces:
            piece = unpack(data, _Piece)
            self._pieces[number] = piece.newest
            for lang, each in piece.posts.items():
                posts.setdefault(lang, []).extend(each)
            for at in range(0, len(piece.seen), 8):
                self._seen[piece.seen[at : at + 8]] = piece.newest
        for lang, matters in snapshot.matters.items():
            self._windows[lang] = IncidentWindow.restore(
                self.brand, lang, self.rules.incidents, matters, posts.get(lang, ())
            )


def pack(value: object) -> bytes:
    """Return what is stored, compressed where it is long."""
    data = msgspec.msgpack.encode(value)
    return data if len(data) < _SMALL else bytes(cramjam.zstd.compress(data, _LEVEL))


def unpack(data: bytes, shape: type[_T]) -> _T:
    """Return what `pack` has packed; raises what msgspec and the decompressors raise."""
    # Every piece is an array, and none of those begins as what was compressed does.
    if data[:1] == _ZSTD:
        data = bytes(cramjam.zstd.decompress(data))
    elif data[:1] == _ZLIB:
        data = zlib.decompress(data)
    return msgspec.msgpack.decode(data, type=shape)
