"""From rows of a brand's signals to alerts: one open alert for a matter, with evidence and an end.

    watch = BrandWatch("nordlicht")
    for row in rows:
        alerts = watch.add(row, now)        # opened or updated, in the moment the row makes it so
    alerts = watch.advance(now, until=now)  # intervals that are over: updates and ends

A brand's rows are counted in event time, in intervals of five minutes, for the brand as a whole and
for each topic, once for all tones and once for negative and positive posts; an author counts once an
interval. Each of these series has the detector of `klingel.domain.early_warning`; negative ones have
a lower bar, positive ones a higher one, and enough different authors must have spoken.

**Matter.** A topic (or the brand as a whole) and a kind: `negative`, `positive` (virality) or `volume`
(all tones). One alert stands for it from its opening to its end. Talk that turns negative turns a
volume alert negative; the same posts do not alert twice, as topic and as whole brand.

**Time.** An interval is over once the newest row, or `until`, is `lateness_seconds` past its end. Rows
that come later are counted and change nothing. An alert opens while its interval is still running, as
soon as what was counted suffices: counts only grow. Nothing opens for what is older than
`stale_seconds`, so that catching up does not ring for what is long over; `until` is the time up to
which everything is known to be read, never the wall clock of a reader that lags behind. Gaps are told
by `note_gap`; what is not told is a zero, and zeros never alert.

**Order.** Rows of one interval may come in any order: which alerts open, their ids and the evidence at
the end of the interval are the same. Repeated event ids within the open intervals change nothing.

**History.** What an import or a backfill tells is no news: `learn` counts it apart, and once nothing
more of it comes, what was usual then is usual now; a brand that is new need not learn for a day first.

State is bounded: a quiet series is some numbers; texts, authors and ids are kept only for intervals
that are open and matters that are unusual, and of a brand that is much spoken of a fair sample of the
texts (posts and authors are counted all the same). `to_plain` and `from_plain` carry it over a restart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from klingel.domain.alert_evidence import (
    Gathered,
    Row,
    TellingTerm,
    Texts,
    from_hex,
    telling_terms,
    to_hex,
)
from klingel.domain.early_warning import (
    START,
    Detector,
    Policy,
    State,
    from_plain,
    severity_of,
    to_plain,
)
from klingel.domain.identity import hash64, hash64_bytes
from klingel.domain.past_counts import PastCounts

Kind = Literal["negative", "positive", "volume"]
Change = Literal["opened", "updated", "ended"]

KINDS: Final[tuple[Kind, ...]] = ("negative", "positive", "volume")
WHOLE_BRAND: Final = ""
"""The topic that stands for all of a brand's posts."""

_VOLUME: Final[tuple[Kind, ...]] = ("volume",)
_KINDS_OF: Final[Mapping[str | None, tuple[Kind, ...]]] = MappingProxyType(
    {"negative": ("negative", "volume"), "positive": ("positive", "volume")}
)
_WHOLE_ALONE: Final = (WHOLE_BRAND,)
_WEEK_SECONDS = 7 * 86_400.0
_DAY_SECONDS = 86_400.0
_IDS = 200_000
_TOPICS = 100
_GAPS = 256
_HISTORY = 24
_USUAL_TEXTS = 96
_NEVER = -(1 << 60)
_FOR_EVER = 1 << 60
# Hardly any interval is ever asked for what its rows say; so many that wait are gathered all the same.
_WAITING = 128
_CELLS = 512
# With those that wait fewer than AUTHORS: their number is exact, whether gathered or not.
_VOICES = 448
_OLDEST_SECONDS = 8 * 86_400.0
_EXACT = 64
_SHOWN = 48
_WHOLE_SHOWN = _SHOWN << 64
_LEAST_POSTS = 2
_VERSION = 1


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When a matter is worth an alert; the same for every brand unless it asks for another.

    Args:
        detection: of the detector; its own cool-down is not used here.
        interval_seconds: length of the intervals in which posts are counted.
        bars: by kind: what the detector's threshold is multiplied with.
        least_authors: fewer different authors alert nobody.
        cool_down_seconds: how long after its end a matter opens no new alert, unless it is `worse` times as surprising.
        worse: see above.
        calm_seconds: how long a matter is calm before its alert ends.
        lateness_seconds: how long after its end an interval still takes rows.
        stale_seconds: nothing opens for an interval that ended longer ago.
        ahead_seconds: rows dated further than this into the future are counted and not used.
    """

    detection: Policy = field(default_factory=Policy)
    interval_seconds: float = 300.0
    bars: Mapping[Kind, float] = field(
        default_factory=lambda: MappingProxyType(
            {"negative": 0.85, "volume": 1.0, "positive": 1.15}
        )
    )
    least_authors: int = 5
    cool_down_seconds: float = _DAY_SECONDS
    worse: float = 1.25
    calm_seconds: float = 3_600.0
    lateness_seconds: float = 600.0
    stale_seconds: float = 3_600.0
    ahead_seconds: float = 60.0

    def __post_init__(self) -> None:
        if set(self.bars) != set(KINDS) or not all(bar > 0 for bar in self.bars.values()):
            raise ValueError("Each kind of alert has a bar above zero.")
        if self.least_authors < 1 or not self.worse >= 1:
            raise ValueError("An alert has an author, and worse is not better.")


class Evidence(NamedTuple):
    """What an alert shows for itself.

    Args:
        terms: what its posts say and the brand's usual ones do not, the most telling first.
        examples: ids of the events with the largest reach.
        unique_authors: exact up to some hundreds, estimated above.
        reach: sum over the posts.
        negative_share: of the posts since it began, 0..1.
        copies: how often the most repeated text was said.
        networks: posts by network.
        topics: posts by topic.
    """

    terms: tuple[TellingTerm, ...]
    examples: tuple[str, ...]
    unique_authors: int
    reach: float
    negative_share: float
    copies: int
    networks: Mapping[str, int]
    topics: Mapping[str, int]


class Alert(NamedTuple):
    """A record of a matter; the newest one of an `alert_id` holds all there is to know.

    Args:
        alert_id: the same from opening to end, and in every replay.
        brand: whom it concerns.
        topic: what it is about; WHOLE_BRAND for all posts.
        kind: negative, positive or volume.
        change: opened, updated or ended.
        revision: counts the records of one alert, from 1.
        began_at: when the first interval began that was unusual, seconds since 1970.
        opened_at: when the interval began that opened it.
        updated_at: event time of this record.
        ended_at: when it became calm; None while it stands.
        severity: 1..10, the highest so far.
        longevity_seconds: from its beginning to this record, or to its end.
        baseline: posts of an interval that are usual at its peaks.
        posts: of the matter so far.
        evidence: see there.
    """

    alert_id: str
    brand: str
    topic: str
    kind: Kind
    change: Change
    revision: int
    began_at: float
    opened_at: float
    updated_at: float
    ended_at: float | None
    severity: int
    longevity_seconds: float
    baseline: float
    posts: int
    evidence: Evidence


@dataclass(slots=True)
class Counters:
    """What became of the rows.

    Args:
        rows: all that came.
        repeated: event ids that were counted before.
        late: their interval was over.
        ahead: dated into the future, or into no time at all.
        unlisted_topics: topics above the bound, counted for the brand alone.
        stale: openings withheld because they were long over.
    """

    rows: int = 0
    repeated: int = 0
    late: int = 0
    ahead: int = 0
    unlisted_topics: int = 0
    stale: int = 0


@dataclass(slots=True)
class _Standing:
    """An alert that is open."""

    alert_id: str
    kind: Kind
    began: int
    opened: int
    peak: float
    severity: int
    revision: int
    posts: int
    told_posts: int
    told_at: float
    calm: int
    last_unusual: int


class _Running(msgspec.Struct):
    """An interval of a series that still takes rows; most are thrown away unread.

    A Struct: a quiet brand's every row makes some, in a quarter of the time of another class.

    Attributes:
        posts: rows so far.
        ask: with fewer posts there is nothing to look at; a lower bound.
        waiting: rows that are not gathered yet.
        voices: authors of the rows of which nothing else is kept, not gathered yet.
        cells: what else heard rows of it.
        known: what was gathered.
    """

    posts: int = 0
    ask: float = _LEAST_POSTS
    waiting: list[tuple[int, Row]] | None = None
    voices: "list[int | None] | None" = None
    cells: "list[_Cell] | None" = None
    known: Gathered | None = None

    def add(self, entry: tuple[int, Row]) -> None:
        self.posts += 1
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(entry)
        if len(self.waiting) >= _WAITING:
            self.gathered()

    def add_rows(self, entries: Sequence[tuple[int, Row]]) -> None:
        """Hear rows that are counted already."""
        if self.waiting is None:
            self.waiting = []
        self.waiting += entries
        if len(self.waiting) >= _WAITING:
            self._gather()

    def add_voices(self, voices: Sequence[int | None]) -> None:
        """Hear authors of rows that are counted already."""
        if self.voices is None:
            self.voices = []
        self.voices.extend(voices)
        if len(self.voices) >= _VOICES:
            self._gather()

    def counted(self) -> int:
        """Return how many posts count: an author's second in an interval is the same voice."""
        if self.posts == 1:
            return 1
        self._listen()
        if self.known is None:
            spoke = [row.author for _, row in self.waiting or ()]
            spoke += self.voices or ()
            authors = set(spoke)
            voices = len(authors)
            if None in authors:
                voices += spoke.count(None) - 1
        else:
            voices = self.gathered().voices
        return min(self.posts, voices)

    def gathered(self) -> Gathered:
        """Return what the rows say; not to be changed."""
        self._listen()
        return self._gather()

    def _listen(self) -> None:
        for cell in self.cells or ():
            if cell.rows or cell.voices:
                cell.tell()

    def _gather(self) -> Gathered:
        known = self.known
        if known is None:
            known = self.known = Gathered()
        if self.waiting:
            known.add_rows(self.waiting)
            self.waiting = None
        if self.voices:
            known.add_voices(self.voices)
            self.voices = None
        return known


@dataclass(slots=True)
class _Series:
    """One topic and kind; `gathered` holds the intervals from `began` on that are over."""

    state: State
    upto: int
    open: dict[int, _Running] = field(default_factory=dict)
    history: list[int] = field(default_factory=list)
    gathered: Gathered | None = None
    began: int = _NEVER
    standing: _Standing | None = None
    barred_until: int = _NEVER
    last_peak: float = 0.0
    bar: float = math.inf
    bar_of: int = _NEVER
    asked_at: float = 0.0

    def held(self) -> int:
        """Return how many posts the open intervals and what was gathered hold."""
        held = 0 if self.gathered is None else self.gathered.posts
        for running in self.open.values():
            held += running.posts
        return held

    def forget_bar(self) -> None:
        """Reckon the bar anew when somebody asks."""
        self.bar_of = _NEVER
        for running in self.open.values():
            running.ask = 0.0

    def keep(self, interval: int, running: _Running | None) -> None:
        """Remember what was said in an interval that is over."""
        if self.began == _NEVER:
            self.began = interval
        if self.gathered is None:
            self.gathered = Gathered()
        if running is not None:
            self.gathered.add_all(running.gathered())


Key = tuple[str, Kind]
_Counted = tuple[Key, _Series, _Running]


class _Cell:
    """What rows of one tone and the same topics count in, within the newest interval.

    It keeps them for whoever asks, until the interval is over: of quiet brands hardly anybody does.

    Attributes:
        counted: the intervals of its series.
        rows: what these have counted, and not heard yet.
        voices: authors of such rows of which nothing else is kept.
        unlisted: topics of each row that are not listed.
    """

    __slots__ = ("counted", "rows", "unlisted", "voices")

    def __init__(self, counted: list[_Counted], unlisted: int) -> None:
        self.counted = counted
        self.unlisted = unlisted
        self.rows: list[tuple[int, Row]] = []
        self.voices: list[int | None] = []
        for _, _, running in counted:
            if running.cells is None:
                running.cells = [self]
            else:
                running.cells.append(self)

    def tell(self) -> None:
        """Let all of them hear the rows and the voices."""
        if self.rows:
            for _, _, running in self.counted:
                running.add_rows(self.rows)
            self.rows = []
        if self.voices:
            for _, _, running in self.counted:
                running.add_voices(self.voices)
            self.voices = []


class BrandWatch:
    """Counts, detection and alerts of one brand.

    Args:
        brand: its id.
        policy: when a matter is worth an alert.
    """

    def __init__(self, brand: str, policy: AlertPolicy | None = None) -> None:
        self.brand = brand
        self.policy = AlertPolicy() if policy is None else policy
        self.counters = Counters()
        seconds = self.policy.interval_seconds
        self._detector = Detector(seconds, self.policy.detection)
        self._late = math.ceil(self.policy.lateness_seconds / seconds)
        self._calm = max(1, math.ceil(self.policy.calm_seconds / seconds))
        self._cool = math.ceil(self.policy.cool_down_seconds / seconds)
        self._week = math.ceil(_WEEK_SECONDS / seconds)
        self._day = max(1, round(_DAY_SECONDS / seconds))
        self._unusual = 0.5 * self.policy.detection.threshold
        self._series: dict[Key, _Series] = {}
        self._topics: set[str] = {WHOLE_BRAND}
        self._due: dict[int, dict[Key, None]] = {}
        self._unusual_keys: dict[Key, None] = {}
        self._ids: dict[int, set[int]] = {}
        self._first = _NEVER
        self._closed = _NEVER
        self._head = _NEVER
        self._gaps: list[tuple[int, int, bool]] = []
        self._usual = (Texts(_USUAL_TEXTS), Texts(_USUAL_TEXTS))
        self._usual_day = self._usual_until = _NEVER
        self._cells: dict[tuple[Any, ...], _Cell] = {}
        self._past: PastCounts[Key] = PastCounts()

    # ------------------------------------------------------------------ what comes in

    def add(self, row: Row, now: float, event: int | None = None) -> Sequence[Alert]:
        """Count a row; return the alerts that it opens or brings up to date.

        Args:
            row: one post.
            now: the reader's clock, seconds since 1970.
            event: 64-bit hash of the row's `event_id` (`hash64_bytes`, the first byte the highest),
                where it is known.
        """
        counters = self.counters
        counters.rows += 1
        at = row.at
        policy = self.policy
        if not 0.0 <= at <= now + policy.ahead_seconds:
            counters.ahead += 1
            return ()
        interval = int(at // policy.interval_seconds)
        if interval <= self._closed or (self._first == _NEVER and at < now - _OLDEST_SECONDS):
            counters.late += 1
            return ()
        if not 0.0 <= row.reach < math.inf:
            row = row._replace(reach=0.0)
        if event is None:
            event = int.from_bytes(hash64_bytes(row.event_id), "big")
        ids = self._ids.get(interval) or self._ids.setdefault(interval, set())
        if event in ids:
            counters.repeated += 1
            return ()
        if len(ids) < _IDS:
            ids.add(event)
        found: list[Alert] = []
        if interval > self._head:
            self._turn_to(interval, now, found)
            if self._past.settled(now):
                self._learn_past()
        counted = self._count(row, event, interval, len(ids))
        if not counted or not self._ask(counted, at, interval, now, found):
            self._remember_usual(event, row.text, interval)
        return found

    def advance(self, now: float, *, until: float) -> Sequence[Alert]:
        """Close the intervals that are over; return the alerts that opened, were updated or have ended.

        Args:
            now: the reader's clock, seconds since 1970.
            until: event time up to which all rows are read; `now` for a reader that has caught up,
                the time of its newest row for one that has not.
        """
        found: list[Alert] = []
        if self._first != _NEVER:
            over = int(min(until, now) // self.policy.interval_seconds) - 1 - self._late
            self._close(over, now, found)
            if self._past.settled(now):
                self._learn_past()
        return found

    def learn(self, row: Row, now: float) -> None:
        """Count a row of history, in any order: it alerts nobody, and teaches what is usual.

        What lies further back than the detector remembers, in the future, or in a time that was
        watched changes nothing.
        """
        seconds = self.policy.interval_seconds
        oldest = now - self.policy.detection.memory_seconds
        if not max(0.0, oldest) <= row.at <= now:
            return
        interval = int(row.at // seconds)
        if self._first != _NEVER and interval >= self._first:
            return
        kinds = _KINDS_OF.get(row.tone, _VOLUME)
        topics = (*filter(self._is_listed, dict.fromkeys(row.topics)), WHOLE_BRAND)
        event = int.from_bytes(hash64_bytes(row.event_id), "big")
        voice = event
        if row.author is not None:
            voice = int(hash64(f"{row.author:x}", row.tone or "", *row.topics), 16)
        self._past.add([(topic, kind) for topic in topics for kind in kinds], interval, voice, now)
        self._usual[1].add(event, row.text)

    def _learn_past(self) -> None:
        """Take what was usual in the history into all series."""
        found = self._past.before(self._first)
        self._past = PastCounts()
        if found is None:
            return
        earliest, counts = found
        last = max(at for each in counts.values() for at in each)
        silent = self._detector.after_zeros(min(last + 1 - earliest, self._week))
        for key in {**dict.fromkeys(self._series), **dict.fromkeys(counts)}:
            series = self._of(key)
            known = counts.get(key)
            past = self._detector.after(known, earliest, last) if known else silent
            series.state = self._detector.with_past(series.state, past)
            series.forget_bar()
        self._first = min(self._first, earliest)

    def note_gap(self, begin: float, end: float | None, *, piles_up: bool = True) -> None:
        """Tell that nothing is known of a time, because the sources were away.

        Args:
            begin: seconds since 1970.
            end: the same; None while it lasts: tell it again, with the same beginning, when it ends.
            piles_up: whether what was said in the meantime may be dated to its arrival; then as long
                a time after the gap is left alone as well.
        """
        seconds = self.policy.interval_seconds
        first = int(begin // seconds)
        last = _FOR_EVER if end is None else max(first, math.ceil(end / seconds) - 1)
        self._gaps = [gap for gap in self._gaps if gap[0] != first]
        self._gaps.append((first, last, piles_up))
        self._gaps.sort()
        del self._gaps[:-_GAPS]
        for series in self._series.values():  # what was reckoned without the gap
            series.forget_bar()

    def follow_gaps(self, gaps: Sequence[tuple[float, float | None]], now: float) -> bool:
        """Follow the ledger of gaps; return whether anything is new.

        A gap counts once it is longer than an interval takes rows, and goes on until it is told with
        an end, or is not told any more. Gaps of this kind pile nothing up: what fills them carries
        the time at which it was said.

        Args:
            gaps: times of which nothing is known, seconds since 1970; None while one lasts.
            now: seconds since 1970 up to which everything was read.
        """
        seconds = self.policy.interval_seconds
        known = {first: last for first, last, _ in self._gaps}
        told = {int(begin // seconds): (begin, end) for begin, end in gaps}
        found = False
        for first, (begin, end) in told.items():
            is_open = known.get(first) == _FOR_EVER
            is_long = (now if end is None else end) - begin > self.policy.lateness_seconds
            is_late = end is not None and int(end // seconds) <= self._closed
            if (is_open and end is not None) or (first not in known and is_long and not is_late):
                self.note_gap(begin, end, piles_up=False)
                found = True
        for first, last in known.items():
            if last == _FOR_EVER and first not in told:
                self.note_gap(first * seconds, now, piles_up=False)
                found = True
        return found

    def open_alerts(self) -> Sequence[str]:
        """Return the ids of the alerts that stand."""
        return [each.standing.alert_id for each in self._series.values() if each.standing]

    # ------------------------------------------------------------------ counting

    def _count(self, row: Row, event: int, interval: int, heard: int) -> Sequence[_Counted]:
        """Count a row; return where it may be worth to ask.

        Args:
            row: one post.
            event: 64-bit hash of its id.
            interval: when it was said.
            heard: rows of the interval.
        """
        head = interval == self._head
        # Of a busy brand a fair sample is kept as evidence until there is something to show.
        shown = heard <= _SHOWN or event * heard < _WHOLE_SHOWN
        if head and not self._unusual_keys:
            return self._count_in_cell(row, event, shown=shown)
        counted = self._counted_of(row, interval)
        entry = event, row
        asking: list[_Counted] = []
        for each in counted:
            _, series, running = each
            standing = series.standing is not None
            if shown or standing:
                running.add(entry)
            else:
                running.posts += 1
                running.add_voices([row.author])
            if not head and self._head in series.open:
                series.open[self._head].ask = 0.0  # it holds more than was reckoned with
            if standing or running.posts >= running.ask:
                asking.append(each)
        return asking

    def _count_in_cell(self, row: Row, event: int, *, shown: bool) -> Sequence[_Counted]:
        """Count a row of the newest interval while nothing is unusual: nearly all; see `_count`."""
        name = (row.tone, *row.topics)
        cell = self._cells.get(name) or self._cell_of(name, row)
        if cell.unlisted:
            self.counters.unlisted_topics += cell.unlisted
        if shown:
            cell.rows.append((event, row))
        else:
            cell.voices.append(row.author)
            if len(cell.voices) >= _VOICES:
                cell.tell()
        asking: list[_Counted] = []
        for each in cell.counted:
            running = each[2]
            running.posts = posts = running.posts + 1
            if posts >= running.ask:
                asking.append(each)
        return asking

    def _is_to_ask(self, series: _Series, running: _Running, interval: int) -> bool:
        """Whether an interval may be worth an alert; notes from how many posts on it can be."""
        if series.standing is not None:
            return True
        if interval != self._head:
            return False
        posts = running.posts
        if series.bar_of == interval:
            running.ask = max(_LEAST_POSTS, series.bar, series.asked_at)
        else:
            lacking = self.policy.least_authors - series.held()
            running.ask = max(_LEAST_POSTS, posts + lacking)
        return posts >= running.ask

    def _cell_of(self, name: tuple[Any, ...], row: Row) -> _Cell:
        """Return what counts rows of this tone and these topics in the newest interval."""
        if len(self._cells) >= _CELLS:
            self._empty_cells()
        unlisted = -self.counters.unlisted_topics
        counted = self._counted_of(row, self._head)
        unlisted += self.counters.unlisted_topics
        self.counters.unlisted_topics -= unlisted  # counted with every row
        cell = self._cells[name] = _Cell(counted, unlisted)
        return cell

    def _empty_cells(self) -> None:
        """Let go of all cells, because they are too many."""
        for cell in self._cells.values():
            cell.tell()
            for _, _, running in cell.counted:
                running.cells = None
        self._cells.clear()

    def _counted_of(self, row: Row, interval: int) -> list[_Counted]:
        """Return what a row counts in, brought up to the newest interval that is over."""
        kinds = _KINDS_OF.get(row.tone, _VOLUME)
        topics: Sequence[str] = _WHOLE_ALONE
        if len(row.topics) == 1:
            if self._is_listed(row.topics[0]):
                topics = row.topics[0], WHOLE_BRAND
        elif row.topics:
            topics = (*filter(self._is_listed, dict.fromkeys(row.topics)), WHOLE_BRAND)
        due, closed = self._due.get(interval), self._closed
        if due is None:
            due = self._due[interval] = {}
        known = self._series
        counted: list[_Counted] = []
        for topic in topics:
            for kind in kinds:
                key = topic, kind
                series = known.get(key)
                if series is None or series.upto < closed:
                    series = self._of(key)
                running = series.open.get(interval)
                if running is None:
                    running = series.open[interval] = _Running()
                    due[key] = None
                counted.append((key, series, running))
        return counted

    def _ask(
        self,
        counted: Sequence[_Counted],
        at: float,
        interval: int,
        now: float,
        found: list[Alert],
    ) -> bool:
        """Open what has reached its bar; return whether the row belongs to an open alert.

        The row that opens one belongs to it: were it usual, what is telling would depend on which of
        an alert's rows came when.
        """
        unusual = False
        for key, series, running in counted:
            if not self._is_to_ask(series, running, interval):
                continue
            standing = series.standing
            if standing is not None:
                unusual = True
                standing.posts += 1
                if standing.posts >= 2 * standing.told_posts:
                    self._tell(key, series, standing, "updated", at, found)
            elif (
                running.posts >= self._bar(key, series, interval)
                and running.posts >= series.asked_at
            ):
                self._try_to_open(key, series, interval, now, at, found)
                unusual |= series.standing is not None
        return unusual

    def _is_listed(self, topic: str) -> bool:
        if topic in self._topics:
            return topic != WHOLE_BRAND
        if len(self._topics) >= _TOPICS:
            self.counters.unlisted_topics += 1
            return False
        self._topics.add(topic)
        return True

    def _of(self, key: Key) -> _Series:
        """Return a series, brought up to the newest interval that is over."""
        series = self._series.get(key)
        if series is None:
            # What was never spoken of had zeros since the brand is watched.
            zeros = self._closed - self._first + 1
            state = self._detector.after_zeros(min(zeros, self._week)) if zeros > 0 else START
            series = self._series[key] = _Series(state, self._closed)
        elif series.upto < self._closed:
            self._catch_up(series, self._closed)
        return series

    def _catch_up(self, series: _Series, upto: int) -> None:
        """Take the intervals into a series in which nobody spoke of it."""
        silent = upto - series.upto
        if silent > self._week:
            series.state = self._detector.after_zeros(self._week)
            series.history.clear()
        elif self._gaps and any(
            first <= upto and last > series.upto for first, last, _ in self._gaps
        ):
            for each in range(series.upto + 1, upto + 1):
                series.state, _ = self._observed(series.state, each, 0)
        else:
            series.state = self._detector.rest(series.state, silent)
        series.upto = upto
        series.history.extend([0] * min(silent, _HISTORY))
        if len(series.history) > 2 * _HISTORY:
            del series.history[:-_HISTORY]

    def _settle(self, series: _Series, interval: int) -> tuple[float, _Running | None]:
        """Take an interval that is over into a series; return its surprise and its rows."""
        running = series.open.pop(interval, None)
        counted = 0
        if running is not None:
            counted = running.counted()
        series.state, surprise = self._observed(series.state, interval, counted)
        series.upto = interval
        series.history.append(0 if running is None else running.posts)
        if len(series.history) > 2 * _HISTORY:
            del series.history[:-_HISTORY]
        return surprise, running

    def _observed(self, state: State, interval: int, posts: int) -> tuple[State, float]:
        """Return the state and the surprise after an interval."""
        if self._gaps and self._in_gap(interval):
            missed = self._detector.miss(state, 1)
            if not any(piles for first, last, piles in self._gaps if first <= interval <= last):
                missed = missed._replace(missing=state.missing)
            return missed, 0.0
        if state.missing or state.settling:
            return self._detector.observe(state, posts)[0], 0.0
        return self._detector.step(state, posts)

    def _before(self, series: _Series, interval: int) -> tuple[State, int]:
        """Return the state before a running interval, and since when all was unusual, it included."""
        state, began = series.state, series.began
        for each in range(series.upto + 1, interval):
            running = series.open.get(each)
            counted = 0 if running is None else running.counted()
            state, surprise = self._observed(state, each, counted)
            if surprise < self._unusual:
                began = _NEVER
            elif began == _NEVER:
                began = each
        return state, interval if began == _NEVER else began

    def _bar(self, key: Key, series: _Series, interval: int) -> float:
        """Return the count from which on the running interval is worth an alert."""
        if series.bar_of != interval:
            if series.held() < self.policy.least_authors:
                return math.inf
            series.bar_of = interval
            series.bar = math.inf
            series.asked_at = 0.0
            if not self._in_gap(interval):
                wanted = self._wanted(key, series, interval)
                state, _ = self._before(series, interval)
                series.bar = self._detector.least_surprising(state, wanted)
        return series.bar

    def _wanted(self, key: Key, series: _Series, interval: int) -> float:
        """Return the least surprise that opens an alert."""
        wanted = self.policy.bars[key[1]] * self.policy.detection.threshold
        if interval <= series.barred_until:
            wanted = max(wanted, self.policy.worse * series.last_peak)
        return wanted

    # ------------------------------------------------------------------ time

    def _turn_to(self, interval: int, now: float, found: list[Alert]) -> None:
        """Begin an interval that is newer than all before it."""
        if self._first == _NEVER:
            self._first = interval
            self._closed = interval - self._late - 1
        self._cells.clear()
        self._head = interval
        self._close(interval - self._late - 1, now, found)

    def _close(self, over: int, now: float, found: list[Alert]) -> None:
        """Close all intervals up to one; quiet series follow when they are next spoken of."""
        if over <= self._closed:
            return
        for interval in [each for each in self._ids if each <= over]:
            del self._ids[interval]
        interval = self._closed
        while interval < over and (self._due or self._unusual_keys):
            # Intervals in which nobody spoke are walked through only while something is unusual.
            interval = interval + 1 if self._unusual_keys else min(self._due)
            if interval > over:
                break
            self._closed = interval
            for key in {**self._unusual_keys, **self._due.pop(interval, {})}:
                self._close_one(key, interval, now, found)
        self._closed = over
        if over > self._head:
            self._cells.clear()
            self._head = over

    def _close_one(self, key: Key, interval: int, now: float, found: list[Alert]) -> None:
        series = self._series[key]
        if series.upto < interval - 1:
            self._catch_up(series, interval - 1)
        surprise, running = self._settle(series, interval)
        end = (interval + 1) * self.policy.interval_seconds
        unusual = surprise >= self._unusual
        standing = series.standing
        if unusual or standing is not None:
            series.keep(interval, running)
            self._unusual_keys[key] = None
        if standing is not None:
            if not self._in_gap(interval):
                standing.calm = 0 if unusual else standing.calm + 1
            if unusual:
                standing.last_unusual = interval
            self._follow(key, series, standing, surprise, end, found)
        elif unusual and surprise >= self._wanted(key, series, interval):
            self._open(key, series, interval, series.began, surprise, now, end, found)
        if series.standing is None and not unusual:
            series.gathered = None
            series.began = _NEVER
            self._unusual_keys.pop(key, None)
        if running is not None:
            running.cells = None  # which hold it, too

    # ------------------------------------------------------------------ alerts

    def _try_to_open(
        self,
        key: Key,
        series: _Series,
        interval: int,
        now: float,
        at: float,
        found: list[Alert],
    ) -> None:
        """Open an alert for an interval that is still running, and has reached its bar."""
        running = series.open[interval]
        posts, opened = running.posts, False
        if running.counted() >= series.bar:
            state, began = self._before(series, interval)
            surprise = self._detector.surprise(state, running.counted())
            opened = self._open(key, series, interval, began, surprise, now, at, found)
        if not opened:
            # Asked again soon: at every row while they are few, at a fourth more when they are many.
            series.asked_at = posts + 1 if posts < _EXACT else posts * 1.25

    def _open(
        self,
        key: Key,
        series: _Series,
        interval: int,
        began: int,
        surprise: float,
        now: float,
        at: float,
        found: list[Alert],
    ) -> bool:
        """Open an alert unless something speaks against it; return whether one was opened."""
        gathered = self._gathered(series, began)
        if gathered.authors.count() < self.policy.least_authors:
            return False
        if now - (interval + 1) * self.policy.interval_seconds > self.policy.stale_seconds:
            self.counters.stale += 1
            return False
        if self._is_told_already(key, gathered.posts):
            # Nor is it a matter of its own when that alert has ended.
            series.barred_until = interval + self._cool
            series.last_peak = max(series.last_peak, surprise)
            return False
        topic, kind = key
        severity = severity_of(surprise, self._threshold(kind))
        volume = self._series.get((topic, "volume"))
        standing = None if volume is None else volume.standing
        if kind == "negative" and volume is not None and standing is not None:
            # The same matter has found its tone.
            self._bar_again(volume, standing)
            volume.standing = None
            standing.kind = kind
            standing.severity = max(standing.severity, severity)
            standing.peak = max(standing.peak, surprise)
            change: Change = "updated"
        else:
            change = "opened"
            standing = _Standing(
                alert_id=hash64(self.brand, topic, kind, str(interval)),
                kind=kind,
                began=began,
                opened=interval,
                peak=surprise,
                severity=severity,
                revision=0,
                posts=0,
                told_posts=0,
                told_at=at,
                calm=0,
                last_unusual=interval,
            )
        standing.posts = gathered.posts
        self._unusual_keys[key] = None
        series.standing = standing
        series.began = began
        self._tell(key, series, standing, change, at, found)
        return True

    def _gathered(self, series: _Series, since: int) -> Gathered:
        """Return what was gathered since an interval, running ones included."""
        whole = Gathered()
        if series.gathered is not None and series.began >= since:
            whole.add_all(series.gathered)
        for at, running in series.open.items():
            if at >= since:
                whole.add_all(running.gathered())
        return whole

    def _threshold(self, kind: Kind) -> float:
        return self.policy.detection.threshold * self.policy.bars[kind]

    def _is_told_already(self, key: Key, posts: int) -> bool:
        """Whether an open alert stands for the same posts: of another kind, or of whole and part."""
        topic, kind = key
        if kind == "volume":
            for toned in ("negative", "positive"):
                other = self._series.get((topic, toned))
                if other is not None and other.standing is not None:
                    return True
        for (other_topic, other_kind), other in self._series.items():
            standing = other.standing
            if standing is None or other_topic == topic or kind not in {other_kind, "volume"}:
                continue
            # Two topics are two matters. All topics together are the whole brand, and one topic is
            # when it has most of what is said.
            if other_topic == WHOLE_BRAND or (topic == WHOLE_BRAND and 2 * standing.posts >= posts):
                return True
        return False

    def _follow(
        self,
        key: Key,
        series: _Series,
        standing: _Standing,
        surprise: float,
        end: float,
        found: list[Alert],
    ) -> None:
        """Bring an open alert up to date at the end of an interval, or end it."""
        standing.peak = max(standing.peak, surprise)
        severity = severity_of(surprise, self._threshold(standing.kind))
        if standing.calm >= self._calm:
            self._tell(key, series, standing, "ended", end, found)
            self._bar_again(series, standing)
            self._bar_echoes(key, standing)
            series.standing = None
        elif severity > standing.severity:
            standing.severity = severity
            self._tell(key, series, standing, "updated", end, found)

    def _bar_again(self, series: _Series, standing: _Standing) -> None:
        series.barred_until = standing.last_unusual + self._cool
        series.last_peak = standing.peak
        series.forget_bar()

    def _bar_echoes(self, key: Key, standing: _Standing) -> None:
        """Bar those as long that the alert was told for: see `_is_told_already`."""
        least = standing.opened + self._cool
        for (topic, _), other in self._series.items():
            related = topic == key[0] or WHOLE_BRAND in {topic, key[0]}
            if related and other.standing is None and other.barred_until >= least:
                other.barred_until = max(other.barred_until, standing.last_unusual + self._cool)

    def _tell(
        self,
        key: Key,
        series: _Series,
        standing: _Standing,
        change: Change,
        at: float,
        found: list[Alert],
    ) -> None:
        gathered = self._gathered(series, standing.began)
        seconds = self.policy.interval_seconds
        # An interval is closed after rows of later ones have come.
        at = standing.told_at = max(at, standing.told_at)
        standing.revision += 1
        standing.posts = standing.told_posts = gathered.posts
        ended = (standing.last_unusual + 1) * seconds if change == "ended" else None
        began = standing.began * seconds
        found.append(
            Alert(
                alert_id=standing.alert_id,
                brand=self.brand,
                topic=key[0],
                kind=standing.kind,
                change=change,
                revision=standing.revision,
                began_at=began,
                opened_at=standing.opened * seconds,
                updated_at=at,
                ended_at=ended,
                severity=standing.severity,
                longevity_seconds=max(0.0, (at if ended is None else ended) - began),
                baseline=self._detector.baseline(series.state),
                posts=gathered.posts,
                evidence=self._evidence(key[0], standing, gathered),
            )
        )

    def _evidence(self, topic: str, standing: _Standing, gathered: Gathered) -> Evidence:
        usual = [text for texts in self._usual for text in texts.texts()]
        return Evidence(
            terms=tuple(telling_terms(gathered.texts(), usual)),
            examples=tuple(gathered.examples),
            unique_authors=gathered.authors.count(),
            reach=gathered.reach,
            negative_share=self._negative_share(topic, standing.began),
            copies=gathered.most_repeated,
            networks=gathered.networks,
            topics=gathered.topics,
        )

    def _negative_share(self, topic: str, since: int) -> float:
        """Return the share of negative posts since an interval, as far back as counts are kept."""
        negative = self._posts_since((topic, "negative"), since)
        posts = self._posts_since((topic, "volume"), since)
        return round(negative / posts, 4) if posts else 0.0

    def _posts_since(self, key: Key, since: int) -> int:
        series = self._series.get(key)
        if series is None:
            return 0
        since = max(since, self._closed - _HISTORY + 1)
        past = min(max(0, series.upto - since + 1), len(series.history))
        closed = sum(series.history[len(series.history) - past :])
        return closed + sum(each.posts for at, each in series.open.items() if at >= since)

    # ------------------------------------------------------------------ what is usual, gaps

    def _remember_usual(self, event: int, text: str, interval: int) -> None:
        if interval >= self._usual_until:
            self._usual_day = interval // self._day
            self._usual_until = (self._usual_day + 1) * self._day
            self._usual = (Texts(_USUAL_TEXTS), self._usual[0])
        usual = self._usual[0]
        if event < usual.limit:
            usual.add(event, text)

    def _in_gap(self, interval: int) -> bool:
        return any(first <= interval <= last for first, last, _ in self._gaps)

    # ------------------------------------------------------------------ restart

    def to_plain(self) -> dict[str, Any]:
        """Return everything that is remembered, as plain data that JSON can hold."""
        return {
            "version": _VERSION,
            "brand": self.brand,
            "counters": [getattr(self.counters, name) for name in Counters.__slots__],
            "first": self._first,
            "closed": self._closed,
            "head": self._head,
            "gaps": [list(gap) for gap in self._gaps],
            "usual_day": self._usual_day,
            "usual": [texts.to_plain() for texts in self._usual],
            "ids": {str(at): to_hex(sorted(ids)) for at, ids in self._ids.items()},
            "unusual": [list(key) for key in self._unusual_keys],
            "past": self._past.to_plain(),
            "series": [[*key, _series_to_plain(series)] for key, series in self._series.items()],
        }

    @classmethod
    def from_plain(
        cls, plain: Mapping[str, Any], policy: AlertPolicy | None = None
    ) -> "BrandWatch":
        """Return the watch that `to_plain` has written.

        Raises:
            ValueError: it is nothing that this version has written.
        """
        try:
            if plain["version"] != _VERSION:
                raise ValueError("This watch was written by another version.")
            made = cls(plain["brand"], policy)
            made.counters = Counters(*plain["counters"])
            made._first, made._closed, made._head = plain["first"], plain["closed"], plain["head"]
            # Earlier versions wrote two numbers.
            made._gaps = [(gap[0], gap[1], bool((*gap, True)[2])) for gap in plain["gaps"]]
            made._usual_day = plain["usual_day"]
            made._usual_until = (made._usual_day + 1) * made._day
            today, before = (Texts.from_plain(texts) for texts in plain["usual"])
            made._usual = (today, before)
            made._ids = {int(at): set(from_hex(ids)) for at, ids in plain["ids"].items()}
            made._unusual_keys = dict.fromkeys((topic, kind) for topic, kind in plain["unusual"])
            made._series = {
                (topic, kind): _series_from_plain(series) for topic, kind, series in plain["series"]
            }
            for key, series in made._series.items():
                for interval in series.open:
                    made._due.setdefault(interval, {})[key] = None
            if "past" in plain:
                made._past = PastCounts.from_plain(plain["past"], _key_of)
            made._topics = {topic for topic, _ in [*made._series, *made._past.counts]} | {
                WHOLE_BRAND
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("This is no state of a watch.") from error
        return made


def _key_of(plain: Sequence[Any]) -> Key:
    topic, kind = plain
    return topic, kind


def _series_to_plain(series: _Series) -> dict[str, Any]:
    standing = series.standing
    return {
        "state": to_plain(series.state),
        "upto": series.upto,
        "open": {str(at): each.gathered().to_plain() for at, each in series.open.items()},
        "history": list(series.history),
        "gathered": None if series.gathered is None else series.gathered.to_plain(),
        "began": series.began,
        "standing": None
        if standing is None
        else [getattr(standing, name) for name in _Standing.__slots__],
        "barred_until": series.barred_until,
        "last_peak": series.last_peak,
        "bar": None if series.bar == math.inf else series.bar,
        "bar_of": series.bar_of,
        "asked_at": series.asked_at,
    }


def _series_from_plain(plain: Mapping[str, Any]) -> _Series:
    gathered, standing = plain["gathered"], plain["standing"]
    return _Series(
        state=from_plain(plain["state"]),
        upto=plain["upto"],
        open={
            int(at): _Running(posts=gathered["posts"], known=Gathered.from_plain(gathered))
            for at, gathered in plain["open"].items()
        },
        history=list(plain["history"]),
        gathered=None if gathered is None else Gathered.from_plain(gathered),
        began=plain["began"],
        standing=None if standing is None else _Standing(*standing),
        barred_until=plain["barred_until"],
        last_peak=plain["last_peak"],
        bar=math.inf if plain["bar"] is None else plain["bar"],
        bar_of=plain["bar_of"],
        asked_at=plain["asked_at"],
    )


def watched(rows: Sequence[Row], watch: BrandWatch) -> Iterator[Alert]:
    """Yield the alerts of recorded rows in event time, as a backtest sees them.

    The clock is the time of the newest row; the end of the rows is not the end of anything.
    """
    now = 0.0
    for row in rows:
        now = max(now, row.at)
        yield from watch.add(row, now)
        yield from watch.advance(now, until=now)
