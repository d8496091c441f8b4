"""Business time: what of the time between two instants counts, exact to the second.

    calendar = Calendar.compile(BusinessCalendar(id="office", zone="Europe/Berlin", hours=...))
    deadline = calendar.add(said_at, 3_600)
    calendar.between(said_at, answered_at)

One rule settles every question about clock changes: an instant is open exactly when the clock on
the wall of the calendar's zone shows an open time of an open day. What follows from it:

- An interval over the hour that is left out in spring counts an hour less; one over the hour that
  comes twice in autumn counts an hour more: real seconds, as they go by.
- A time that the wall never shows (02:30 in spring) is never open: 02:30-03:30 is then half an
  hour, 02:00-03:00 nothing.
- A time that it shows twice is open twice: 02:00-02:30 is then half an hour, and half an hour
  again an hour later.

Counting is in whole seconds: fractions are cut off of every instant first. Time before 1970 and
from 2200 on never counts, so every answer is bounded, and every loop.

Compiled calendars are immutable. What they hold beside their definition is found again at any
time: the open intervals of at most `CHUNKS` periods of `CHUNK_DAYS` days.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Final, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import holidays
import msgspec

from klingel.config.calendars import (
    ALWAYS,
    WEEKDAYS,
    BusinessCalendar,
    HolidayRegion,
    date_of,
    days_of,
    minutes_of,
)
from klingel.errors import ConfigurationError

CHUNK_DAYS: Final = 128
CHUNKS: Final = 8
"""Periods whose intervals a calendar holds at once."""
LONGEST_CLOSED_DAYS: Final = 365
"""A calendar that is closed for longer is refused."""
CONTENT_LIMIT: Final = 16_000
"""Most characters of a calendar's definition; cases keep it."""

_DAY: Final = 86_400
_WIDTH: Final = CHUNK_DAYS * _DAY
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY: Final = date(1970, 1, 1).weekday()
_SECOND: Final = timedelta(seconds=1)
END: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""From here on no time counts; the deadline of what is not reached before."""
_END: Final = (END - _EPOCH) // _SECOND

Path = tuple[str | int, ...]
_Spans = tuple[tuple[int, int], ...]


class Problem(NamedTuple):
    """What is wrong in a configuration.

    Attributes:
        path: where, such as ("calendars", 0, "hours", "mon").
        sentence: what is wrong, and what would be right; begins with a small letter, no full stop.
    """

    path: Path
    sentence: str


class CalendarError(ConfigurationError, ValueError):
    """A calendar or an SLA policy has a shape and no meaning.

    Also a ValueError, as is everything that compiling a brand raises.

    Args:
        path: where in the file.
        sentence: what is wrong, and what would be right.
    """

    def __init__(self, path: Path, sentence: str) -> None:
        super().__init__(f"{'.'.join(map(str, path))}: {sentence}")
        self.path = path
        self.sentence = sentence


class Interval(NamedTuple):
    """An open interval: its start belongs to it, its end does not; both are UTC."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """Its length."""
        return (self.end - self.start) // _SECOND


class _Chunk(NamedTuple):
    """The open intervals of one period, in seconds since 1970.

    Attributes:
        starts: of the intervals, ascending.
        ends: of the intervals.
        before: open seconds of the period before each interval.
        total: open seconds of the period.
    """

    starts: "array[int]"
    ends: "array[int]"
    before: "array[int]"
    total: int

    def counted(self, second: int) -> int:
        """Return the open seconds of the period before an instant of it."""
        place = bisect_right(self.starts, second) - 1
        if place < 0:
            return 0
        return self.before[place] + min(second, self.ends[place]) - self.starts[place]


@dataclass(frozen=True, slots=True)
class Calendar:
    """When somebody is there; immutable, equal where the definition is.

    Args:
        id: name of the calendar.
        content: its definition as JSON, keys sorted; `Calendar.of` compiles it again.
        version: 64 bits over the content, in hex.
        zone: time zone of its hours.
    """

    id: str
    content: str
    version: str = field(compare=False)
    zone: ZoneInfo = field(compare=False)
    _week: tuple[_Spans, ...] = field(repr=False, compare=False)
    _days: Mapping[int, _Spans] = field(repr=False, compare=False)
    _holidays: tuple[str, str | None] | None = field(repr=False, compare=False)
    _chunks: dict[int, _Chunk] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def compile(cls, part: BusinessCalendar) -> "Calendar":
        """Compile a calendar; equal ones are the same object while they are remembered.

        Raises:
            CalendarError: it has no meaning; the first of `calendar_problems`.
        """
        for problem in calendar_problems(part):
            raise CalendarError(*problem)
        return _calendar_of(_content(part))

    @classmethod
    def of(cls, content: str) -> "Calendar":
        """Compile what was the `content` of a calendar, perhaps under other libraries.

        A state whose holidays are not known any more has none: a running clock cannot be refused.

        Raises:
            ValueError: it is no calendar, or its time zone is not known.
        """
        return _calendar_of(content)

    @classmethod
    def _of_part(cls, part: BusinessCalendar) -> Self:
        """Compile a calendar whose parts are known to have a meaning each."""
        content = _content(part)
        week: list[_Spans] = [()] * 7
        for days, intervals in part.hours.items():
            for day in days_of(days):
                week[day] = _spans(intervals)
        exceptions: dict[int, _Spans] = {_number(date_of(day)): () for day in part.closed}
        exceptions |= {_number(date_of(day.date)): _spans(day.hours) for day in part.special}
        region = part.holidays
        return cls(
            id=part.id,
            content=content,
            version=blake2b(content.encode(), digest_size=8).hexdigest(),
            zone=ZoneInfo(part.zone),
            _week=tuple(week),
            _days=exceptions,
            _holidays=None if region is None else (region.country, region.state),
        )

    def is_open(self, at: datetime) -> bool:
        """Whether time counts at this instant.

        Args:
            at: aware datetime.
        """
        second = _seconds(at)
        chunk = self._chunk(second // _WIDTH)
        place = bisect_right(chunk.starts, second) - 1
        return place >= 0 and second < chunk.ends[place]

    def next_open(self, at: datetime) -> datetime:
        """Return the first open instant from `at` on: `at` itself where it is open, else UTC."""
        second = _clamped(at)
        number = second // _WIDTH
        while number * _WIDTH < _END:
            chunk = self._chunk(number)
            place = bisect_right(chunk.ends, second)
            if place < len(chunk.ends):
                start = max(chunk.starts[place], second)
                return at if start == _seconds(at) else _instant(start)
            number += 1
        return END

    def between(self, start: datetime, end: datetime) -> int:
        """Return the open seconds from `start` on until `end`; 0 where `end` is not later."""
        first, last = _clamped(start), _clamped(end)
        if last <= first:
            return 0
        number, final = first // _WIDTH, last // _WIDTH
        chunk = self._chunk(number)
        counted = -chunk.counted(first)
        while number < final:
            counted += chunk.total
            number += 1
            chunk = self._chunk(number)
        return counted + chunk.counted(last)

    def add(self, at: datetime, seconds: int) -> datetime:
        """Return the earliest instant until which so many open seconds have gone by since `at`.

        Where they are over at closing time it is that, not the next opening.

        Args:
            at: aware datetime.
            seconds: open seconds, not negative.

        Returns:
            The instant in UTC, a whole second; `at` for 0 seconds, `END` where time ends before.
        """
        if seconds < 0:
            raise ValueError("time is added, not taken away")
        if seconds == 0:
            return at
        first = _clamped(at)
        number = first // _WIDTH
        chunk = self._chunks.get(number) or self._chunk(number)
        wanted = chunk.counted(first) + seconds
        while wanted > chunk.total:
            wanted -= chunk.total
            number += 1
            if number * _WIDTH >= _END:
                return END
            chunk = self._chunk(number)
        place = bisect_left(chunk.before, wanted) - 1
        return _instant(chunk.starts[place] + wanted - chunk.before[place])

    def intervals(self, start: datetime, end: datetime) -> list[Interval]:
        """Return the open intervals from `start` on until `end`; touching ones are one."""
        first, last = _clamped(start), _clamped(end)
        found: list[list[int]] = []
        for number in range(first // _WIDTH, last // _WIDTH + 1) if first < last else ():
            chunk = self._chunk(number)
            place = bisect_right(chunk.ends, first)
            for begin, close in zip(chunk.starts[place:], chunk.ends[place:], strict=True):
                if begin >= last:
                    break
                if found and found[-1][1] == begin:
                    found[-1][1] = min(close, last)
                else:
                    found.append([max(begin, first), min(close, last)])
        return [Interval(_instant(begin), _instant(close)) for begin, close in found]

    def _chunk(self, number: int) -> _Chunk:
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = self._counted_out(number)
            for oldest in [*self._chunks][:-CHUNKS]:
                self._chunks.pop(oldest, None)
        return chunk

    def _counted_out(self, number: int) -> _Chunk:
        starts, ends, before, total = array("q"), array("q"), array("q"), 0
        first, last = max(0, number * _WIDTH), min(_END, (number + 1) * _WIDTH)
        closed = self._holidays_between(first, last)
        for begin, close, offset in _offsets(self.zone, first, last):
            for day in range((begin + offset) // _DAY, (close + offset - 1) // _DAY + 1):
                midnight = day * _DAY - offset
                for opens, closes in self._spans_of(day, closed):
                    start, end = max(midnight + opens, begin), min(midnight + closes, close)
                    if start >= end:
                        continue
                    if ends and ends[-1] == start:
                        ends[-1] = end
                    else:
                        starts.append(start)
                        ends.append(end)
                        before.append(total)
                    total += end - start
        return _Chunk(starts, ends, before, total)

    def _spans_of(self, day: int, closed: frozenset[int]) -> _Spans:
        """Return the open seconds of a day, given by its number since 1970."""
        own = self._days.get(day)
        if own is not None:
            return own
        return () if day in closed else self._week[(day + _EPOCH_WEEKDAY) % 7]

    def _holidays_between(self, first: int, last: int) -> frozenset[int]:
        """Return the holidays of all years that the instants touch, in any zone."""
        if self._holidays is None:
            return frozenset()
        years = range(_date(first // _DAY - 1).year, _date(last // _DAY + 1).year + 1)
        return frozenset().union(*(_holidays_of(*self._holidays, year) for year in years))


@lru_cache(maxsize=4096)
def _calendar_of(content: str) -> Calendar:
    part = BusinessCalendar.model_validate_json(content)
    for problem in _zone_problems(part.zone):
        raise CalendarError(*problem)
    return Calendar._of_part(part)  # noqa: SLF001  # of this module


ALWAYS_OPEN: Final = BusinessCalendar(
    id=ALWAYS, zone="Etc/UTC", hours={"mon-sun": ("00:00-24:00",)}
)
"""Day and night."""


def calendar_problems(part: BusinessCalendar) -> list[Problem]:
    """Return all that is wrong with a calendar, paths from the calendar on; none: it compiles."""
    return [*_problems_of(part.model_dump_json())]


@lru_cache(maxsize=1024)
def _problems_of(written: str) -> tuple[Problem, ...]:
    """Check a calendar as it is written: of two days the one that comes later is wrong."""
    part = BusinessCalendar.model_validate_json(written)
    problems = [
        *_zone_problems(part.zone),
        *_hours_problems(part),
        *_holiday_problems(part.holidays),
        *_day_problems(part),
    ]
    if not problems:
        problems += _closed_problems(part)
    if not problems and len(_content(part)) > CONTENT_LIMIT:
        sentence = f"longer than {CONTENT_LIMIT} characters; leave out days that are over"
        problems.append(Problem((), sentence))
    return tuple(problems)


def _zone_problems(zone: str) -> Iterator[Problem]:
    try:
        named = zone == "UTC" or "/" in zone
        known = named and not zone.startswith(("posix/", "right/")) and bool(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = False
    if not known:
        names = sorted(name for name in available_timezones() if "/" in name)
        near = get_close_matches(zone, names, 1)
        right = f"did you mean '{near[0]}'?" if near else "write area and city: Europe/Berlin"
        yield Problem(("zone",), f"there is no time zone {zone!r}; {right}")


def _hours_problems(part: BusinessCalendar) -> Iterator[Problem]:
    named: dict[int, str] = {}
    for days, intervals in part.hours.items():
        for day in days_of(days):
            if day in named:
                sentence = f"{WEEKDAYS[day]} stands also in {named[day]!r}; name each day once"
                yield Problem(("hours", days), sentence)
            named.setdefault(day, days)
        yield from _overlaps(("hours", days), intervals)
    if not any(part.hours.values()):
        yield Problem(("hours",), 'no day has an open minute; write an interval: "08:00-20:00"')


def _overlaps(path: Path, intervals: Iterable[str]) -> Iterator[Problem]:
    ordered = sorted((minutes_of(text), place, text) for place, text in enumerate(intervals))
    for (one, _, earlier), (other, place, text) in pairwise(ordered):
        if other[0] < one[1]:
            sentence = f"'{text}' overlaps with '{earlier}'; let one end where the other begins"
            yield Problem((*path, place), sentence)


def _holiday_problems(region: HolidayRegion | None) -> Iterator[Problem]:
    if region is None:
        return
    try:
        country = holidays.country_holidays(region.country)
    except NotImplementedError:
        yield Problem(
            ("holidays", "country"),
            f"the holidays of '{region.country}' are not known; write the country's two letters "
            "after ISO 3166-1, such as DE, or list the days under `closed:`",
        )
        return
    if region.state is None or region.state in country.subdivisions:
        return
    known = ", ".join(country.subdivisions[:70])
    right = f"known are {known}" if known else "leave it out: the country has none"
    yield Problem(
        ("holidays", "state"), f"'{region.country}' has no state {region.state!r}; {right}"
    )


def _day_problems(part: BusinessCalendar) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for place, day in enumerate(part.closed):
        if day in seen:
            yield Problem(("closed", place), f"'{day}' stands twice; keep one of them")
        seen[day] = "closed"
    for place, special in enumerate(part.special):
        if special.date in seen:
            sentence = f"'{special.date}' stands also under `{seen[special.date]}:`; keep one"
            yield Problem(("special", place, "date"), sentence)
        seen.setdefault(special.date, "special")
        yield from _overlaps(("special", place, "hours"), special.hours)


def _closed_problems(part: BusinessCalendar) -> Iterator[Problem]:
    """Find a year without an open minute; that takes closed days, no country has enough holidays."""
    calendar = Calendar._of_part(part)  # noqa: SLF001  # of this module
    seen = _EPOCH
    for day in sorted(_number(date_of(day)) for day in part.closed):
        at = _instant(max(0, day * _DAY + _DAY // 2))
        if at < seen:
            continue
        opened, shut = calendar.next_open(at), _shut_since(calendar, at)
        if (opened - shut).days > LONGEST_CLOSED_DAYS and opened < END:
            yield Problem(
                ("closed",),
                f"no minute is open from {shut.date()} to {opened.date()}; "
                f"a calendar is closed for at most {LONGEST_CLOSED_DAYS} days",
            )
            return
        seen = opened


def _shut_since(calendar: Calendar, at: datetime) -> datetime:
    """Return the end of the last open interval before `at`, at the earliest a year and more ago."""
    for days in (14, LONGEST_CLOSED_DAYS + 1):  # most are closed for a weekend only
        open_before = calendar.intervals(at - timedelta(days=days), at)
        if open_before:
            return open_before[-1].end
    return at - timedelta(days=LONGEST_CLOSED_DAYS + 1)


def _content(part: BusinessCalendar) -> str:
    plain = part.model_dump(mode="json", exclude_none=True)
    return msgspec.json.encode(plain, order="sorted").decode()


def _spans(intervals: Iterable[str]) -> _Spans:
    """Return intervals in seconds since midnight, ascending."""
    return tuple((begin * 60, end * 60) for begin, end in sorted(map(minutes_of, intervals)))


def _seconds(at: datetime) -> int:
    since = at - _EPOCH  # refuses an instant without a zone, as `timestamp` does not
    return since.days * _DAY + since.seconds


def _clamped(at: datetime) -> int:
    second = _seconds(at)
    return 0 if second < 0 else min(second, _END)


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def _number(day: date) -> int:
    return day.toordinal() - _EPOCH_ORDINAL


def _date(number: int) -> date:
    return date.fromordinal(number + _EPOCH_ORDINAL)


def _offsets(zone: ZoneInfo, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Cut a period where the zone's offset changes: begin, end and offset, in seconds.

    One look a day finds all: since 1970 no zone has changed twice within six days.
    """

    def offset(second: int) -> int:
        found = datetime.fromtimestamp(second, zone).utcoffset()
        return 0 if found is None else found // _SECOND

    begin, known = first, offset(first) if first < last else 0
    for day in range(first, last, _DAY):
        later = min(day + _DAY, last - 1)
        if offset(later) == known:
            continue
        same, other = day, later
        while other - same > 1:
            middle = (same + other) // 2
            same, other = (middle, other) if offset(middle) == known else (same, middle)
        yield begin, other, known
        begin, known = other, offset(other)
    if begin < last:
        yield begin, last, known


@lru_cache(maxsize=4096)
def _holidays_of(country: str, state: str | None, year: int) -> frozenset[int]:
    """Return the public holidays of a year as numbers of days since 1970; none where unknown."""
    try:
        found = holidays.country_holidays(country, subdiv=state, years=year)
    except NotImplementedError:
        return frozenset()
    return frozenset(map(_number, found))
