"""Business time against a wall clock that is looked at every minute, and its laws.

The oracle knows nothing of offsets, periods or sums of the code under test: for every minute of
a few weeks it asks what date and time the zone shows, and whether that is an open time.
"""

import random
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from klingel.config.calendars import WEEKDAYS, BusinessCalendar, HolidayRegion, SpecialDay
from klingel.domain.calendar import END, Calendar
from klingel.domain.sla import Clock, Pause, Promise, clock_of, explain

CALENDARS = 100
CASES = 100
CLOCKS = 12
"""Of the cases of a calendar, so many have pauses: each is a wall clock of its own."""
DAYS = 8
"""What the oracle looks at; the anchor lies in the middle."""

# A zone, the days around which something happens there (4 June 2026 is where one period of the
# calendar ends and the next begins), and a region whose holidays count.
PLACES = {
    "Europe/Berlin": (["2026-03-29", "2026-10-25", "2027-01-01", "2026-06-04"], ("DE", "NW")),
    "America/New_York": (["2026-03-08", "2026-11-01", "2026-01-01", "2026-06-04"], ("US", "NY")),
    "Australia/Lord_Howe": (["2026-04-04", "2026-10-03"], ("AU", "NSW")),
    "Asia/Kathmandu": (["1986-01-01", "2026-04-14"], None),
    "America/Sao_Paulo": (["2018-11-04", "2019-02-17", "2014-10-19"], ("BR", "SP")),
    "Pacific/Apia": (["2011-12-30"], ("WS", None)),
    "Africa/Casablanca": (["2026-02-15", "2026-03-22"], None),
    "Etc/UTC": (["2026-12-31", "2028-02-29"], None),
}
Spans = list[tuple[int, int]]


@dataclass
class Hours:
    """A calendar as the oracle reads it: minutes of the day, by weekday and by date."""

    zone: str
    week: dict[int, Spans]
    days: dict[date, Spans]
    region: tuple[str, str | None] | None

    def part(self) -> BusinessCalendar:
        """Write it as a brand file does."""
        region = self.region and HolidayRegion(country=self.region[0], state=self.region[1])
        return BusinessCalendar(
            id="drawn",
            zone=self.zone,
            hours={WEEKDAYS[day]: _written(spans) for day, spans in self.week.items()},
            holidays=region,
            closed=tuple(str(day) for day, spans in self.days.items() if not spans),
            special=tuple(
                SpecialDay(date=str(day), hours=_written(spans))
                for day, spans in self.days.items()
                if spans
            ),
        )


def _written(spans: Spans) -> tuple[str, ...]:
    return tuple(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in reversed(spans))


def draw_spans(chance: random.Random) -> Spans:
    """Draw one to four intervals; some begin or end at midnight, some touch, some are a minute."""
    marks = sorted(chance.sample(range(1441), 2 * chance.choice([1, 1, 2, 2, 3, 4])))
    if chance.random() < 0.2:
        marks[0] = 0
    if chance.random() < 0.2:
        marks[-1] = 1440
    if chance.random() < 0.3:  # what the clocks of the world jump over or show twice
        marks = sorted({chance.choice([0, 30, 60, 90, 105]), chance.choice([120, 150, 180, 210])})
    spans = [(marks[place], marks[place + 1]) for place in range(0, len(marks), 2)]
    if len(spans) > 1 and chance.random() < 0.2:
        spans[1] = (spans[0][1], spans[1][1])
    return spans


def draw_hours(chance: random.Random, around: date, zone: str, region) -> Hours:
    """Draw a calendar with own days near a date."""
    weekdays = chance.sample(range(7), chance.choice([1, 3, 5, 5, 6, 7, 7, 7]))
    near = [around + timedelta(days=chance.randint(-6, 6)) for _ in range(3)]
    days = {day: draw_spans(chance) if chance.random() < 0.6 else [] for day in near}
    return Hours(
        zone=zone,
        week={day: draw_spans(chance) for day in weekdays},
        days=days if chance.random() < 0.5 else {},
        region=region if chance.random() < 0.6 else None,
    )


class Wall:
    """What the clock on the wall shows, minute by minute; instants are seconds from its first."""

    def __init__(self, first: datetime, is_open: bytes) -> None:
        self.first = first
        self.is_open = is_open
        self.sums = [0, *accumulate(60 * each for each in is_open)]
        self.turns = [60 * at for at, (a, b) in enumerate(pairwise(is_open), 1) if a != b]
        self.seconds = 60 * len(is_open)

    @classmethod
    def of(cls, hours: Hours, first: datetime, days: int) -> "Wall":
        """Look at a calendar for so many days."""
        zone = ZoneInfo(hours.zone)
        off = holidays.country_holidays(hours.region[0], hours.region[1]) if hours.region else {}
        days_shown: dict[date, list[bool]] = {}
        begin = int(first.timestamp())
        shown = bytearray()
        for second in range(begin, begin + days * 86_400, 60):
            local = datetime.fromtimestamp(second, zone)
            day = local.date()
            if day not in days_shown:
                usual = [] if day in off else hours.week.get(day.weekday(), [])
                spans = hours.days.get(day, usual)
                days_shown[day] = [any(a <= at < b for a, b in spans) for at in range(1440)]
            shown.append(days_shown[day][local.hour * 60 + local.minute])
        return cls(first, bytes(shown))

    def at(self, second: int, micro: int = 0) -> datetime:
        """Return an instant, with a fraction that must not matter."""
        return self.first + timedelta(seconds=second, microseconds=micro)

    def counted(self, second: int) -> int:
        """Return the open seconds before an instant."""
        minute, rest = divmod(second, 60)
        return self.sums[minute] + (rest if rest and self.is_open[minute] else 0)

    def reached(self, counted: int) -> int | None:
        """Return when so many have been counted, None where later than it looks."""
        if counted > self.sums[-1]:
            return None
        minute = bisect_left(self.sums, counted)
        return 60 * (minute - 1) + counted - self.sums[minute - 1]

    def next_open(self, second: int) -> int | None:
        """Return the first open instant from here on."""
        minute = self.is_open.find(1, second // 60)
        return None if minute < 0 else max(second, 60 * minute)

    def without(self, pauses: Iterable[tuple[int, int]]) -> "Wall":
        """Return a wall on which nothing is open in some minutes."""
        shown = bytearray(self.is_open)
        for begin, end in pauses:
            shown[begin // 60 : end // 60] = bytes(end // 60 - begin // 60)
        return Wall(self.first, bytes(shown))

    def draw(self, chance: random.Random) -> int:
        """Draw an instant of the first three quarters, often one where it opens or closes."""
        if self.turns and chance.random() < 0.4:
            near = chance.choice(self.turns) + chance.randint(-2, 2)
            if near < self.seconds * 3 // 4:
                return near
        return chance.randrange(self.seconds * 3 // 4)


def check_times(calendar: Calendar, wall: Wall, chance: random.Random, told: str) -> bool:
    """Compare everything a calendar says of two instants; return whether a deadline was."""
    first, last = sorted((wall.draw(chance), wall.draw(chance)))
    start, end = (wall.at(each, chance.randrange(1_000_000)) for each in (first, last))
    between = wall.counted(last) - wall.counted(first)
    assert calendar.between(start, end) == between, told
    assert calendar.is_open(start) == bool(wall.is_open[first // 60]), told
    intervals = calendar.intervals(start, end)
    assert sum(each.seconds for each in intervals) == between, told
    assert all(one.end < other.start for one, other in pairwise(intervals)), told
    assert all(each.start < each.end for each in intervals), told
    opening = wall.next_open(first)
    if opening is not None:
        found = calendar.next_open(start)
        assert found == (start if opening == first else wall.at(opening)), told
    seconds = chance.choice([1, 60, 900, 3600, chance.randint(1, 50_000), max(1, between)])
    deadline = wall.reached(wall.counted(first) + seconds)
    if deadline is not None:
        assert calendar.add(start, seconds) == wall.at(deadline), told
    return deadline is not None


def check_clock(calendar: Calendar, wall: Wall, chance: random.Random, told: str) -> bool:
    """Compare a clock that stood now and then with a wall that is closed then."""
    started = wall.draw(chance)
    stood = []
    for _ in range(chance.randint(1, 3)):
        begin = chance.randrange(max(0, started - 9_000), wall.seconds) // 60 * 60
        stood.append((begin, min(begin + 60 * chance.randint(1, 2_000), wall.seconds)))
    paused = wall.without(stood)
    target = chance.choice([900, 3600, chance.randint(1, 30_000)])
    deadline = paused.reached(paused.counted(started) + target)
    met = chance.randrange(started, wall.seconds)
    clock = clock_of(
        Promise("drawn", "1", calendar, resolution_seconds=target, warn_share=0.5),
        "resolution",
        wall.at(started, chance.randrange(1_000_000)),
        pauses=[(wall.at(begin), wall.at(end)) for begin, end in stood],
        met_at=wall.at(met, chance.randrange(1_000_000)),
    )
    assert clock is not None
    assert clock.business_seconds == paused.counted(met) - paused.counted(started), told
    assert clock.wall_seconds == met - started, told
    explanation = explain(clock, calendar)
    assert sum(each.seconds for each in explanation.to_end) == clock.business_seconds, told
    if deadline is not None:
        assert clock.deadline == wall.at(deadline), told
        assert clock.state == ("met_late" if met > deadline else "met"), told
        assert sum(each.seconds for each in explanation.to_deadline) == target, told
    return deadline is not None


@pytest.mark.exhaustive
def test_every_minute_is_counted_as_the_wall_shows_it() -> None:
    """10,000 cases a run, over clock changes, year ends, holidays and own days, to the second."""
    seed = random.randrange(2**32)  # pytest-randomly prints what it comes from, and repeats it
    print(f"\nseed of business time {seed}")  # noqa: T201 - a failing run must be repeatable
    chance = random.Random(seed)
    deadlines = 0
    for number in range(CALENDARS):
        zone = [*PLACES][number % len(PLACES)]
        anchors, region = PLACES[zone]
        anchor = date.fromisoformat(chance.choice(anchors))
        hours = draw_hours(chance, anchor, zone, region)
        first = datetime(anchor.year, anchor.month, anchor.day, tzinfo=UTC)
        wall = Wall.of(hours, first - timedelta(days=DAYS // 2), DAYS)
        calendar = Calendar.compile(hours.part())
        for case in range(CASES):
            told = f"seed {seed}, calendar {number}, case {case}: {calendar.content}"
            check = check_clock if case < CLOCKS else check_times
            deadlines += check(calendar, wall, chance, told)
    assert deadlines > CALENDARS * CASES / 2  # the oracle sees most of them come


spans = (
    st.lists(st.integers(0, 1440), min_size=2, max_size=6, unique=True)
    .map(sorted)
    .map(lambda marks: [*zip(marks[::2], marks[1::2], strict=False)])
)
instants = st.integers(946_684_800, 2_208_988_800).map(
    lambda second: datetime.fromtimestamp(second, UTC)
)
"""2000 to 2039; what lies farther apart costs the same for each year."""
near = st.integers(0, 60 * 86_400).map(lambda second: timedelta(seconds=second))
seconds = st.integers(1, 200_000)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    """Draw a calendar that is open for at least an hour a week: targets end within years."""
    zone = draw(st.sampled_from(list(PLACES)))
    week = draw(st.dictionaries(st.integers(0, 6), spans, min_size=1, max_size=7))
    assume(sum(b - a for day in week.values() for a, b in day) >= 60)
    region = PLACES[zone][1] if draw(st.booleans()) else None
    return Calendar.compile(Hours(zone, week, {}, region).part())


@st.composite
def pauses(draw: st.DrawFn, started: datetime) -> list[Pause]:
    """Draw pauses around a start, overlapping or not."""
    begins = draw(st.lists(near, max_size=4))
    return [
        (started - timedelta(days=5) + begin, started - timedelta(days=5) + begin + draw(near))
        for begin in begins
    ]


@given(calendars(), instants, near, near)
def test_parts_add_up_to_the_whole(calendar, start, first, second) -> None:
    """However a time is cut, its parts are as long as the whole."""
    middle, end = start + first, start + first + second
    parts = calendar.between(start, middle) + calendar.between(middle, end)
    assert parts == calendar.between(start, end)
    assert 0 <= parts <= (end - start).total_seconds()
    assert calendar.between(end, start) == 0


@given(calendars(), instants, seconds)
def test_what_is_added_lies_between(calendar, start, added) -> None:
    """The deadline is the earliest instant until which the target is counted."""
    deadline = calendar.add(start, added)
    assert calendar.between(start, deadline) == added
    assert calendar.between(start, deadline - timedelta(seconds=1)) == added - 1
    assert calendar.add(start, calendar.between(start, deadline)) == deadline


@given(calendars(), instants, near, seconds, seconds)
def test_later_is_never_earlier(calendar, start, later, added, more) -> None:
    """A later start and a longer target never give an earlier deadline or opening."""
    assert calendar.add(start, added) <= calendar.add(start + later, added)
    assert calendar.add(start, added) < calendar.add(start, added + more)
    assert calendar.next_open(start) <= calendar.next_open(start + later)


@given(calendars(), instants)
def test_it_opens_at_the_next_opening(calendar, start) -> None:
    """Nothing counts before it, and from it on everything does."""
    opening = calendar.next_open(start)
    assert opening >= start
    assert opening < END
    assert calendar.is_open(opening)
    assert calendar.between(start, opening) == 0
    assert calendar.between(start, opening + timedelta(seconds=1)) == 1


def derived(calendar, start, target, stood, **facts) -> Clock:
    """Derive a resolution clock that warns at half of its target."""
    promise = Promise("p", "1", calendar, resolution_seconds=target, warn_share=0.5)
    clock = clock_of(promise, "resolution", start, pauses=stood, **facts)
    assert clock is not None
    return clock


@given(st.data(), calendars(), instants, seconds)
def test_pauses_move_the_deadline_by_what_they_hold(data, calendar, start, target) -> None:
    """Exactly the open time of the pauses before the deadline is added, in whatever order told."""
    stood = data.draw(pauses(start))
    clock = derived(calendar, start, target, stood)
    held = sum(
        calendar.between(begin, min(end, clock.deadline))
        for begin, end in clock.pauses
        if end is not None
    )
    assert clock.deadline == calendar.add(start, target + held)
    assert clock == derived(calendar, start, target, data.draw(st.permutations(stood)))
    halves = [(begin, begin + (end - begin) / 2) for begin, end in stood]
    rest = [(begin + (end - begin) / 2, end) for begin, end in stood]
    assert clock == derived(calendar, start, target, [*rest, *halves, *stood])


@given(st.data(), calendars(), instants, near, seconds)
def test_a_later_start_is_never_due_earlier(data, calendar, start, later, target) -> None:
    """SLA time is monotone, with pauses too."""
    stood = data.draw(pauses(start))
    one = derived(calendar, start, target, stood)
    other = derived(calendar, start + later, target, stood)
    assert one.deadline <= other.deadline
    assert one.warn_at <= other.warn_at
    assert one.warn_at <= one.deadline


@pytest.mark.exhaustive
@settings(max_examples=200)
@given(st.data(), calendars(), instants, near, seconds)
def test_explanations_add_up(data, calendar, start, later, target) -> None:
    """To the target up to the deadline, to what was counted up to the end; nothing is paused."""
    stood = data.draw(pauses(start))
    endless = [(start + data.draw(near), None)] if data.draw(st.booleans()) else []
    ending = data.draw(st.sampled_from(["met_at", "cancelled_at", "now"]))
    clock = derived(calendar, start, target, [*stood, *endless], **{ending: start + later})
    to_deadline, to_end = explain(clock, calendar)
    assert sum(each.seconds for each in to_deadline) == target
    assert sum(each.seconds for each in to_end) == clock.business_seconds
    for begin, end in clock.pauses:
        assert all(each.end <= begin or each.start >= (end or END) for each in to_end)
    assert clock.business_seconds <= clock.wall_seconds


RANKS = {"running": 0, "warned": 1, "breached": 2}


@given(calendars(), instants, seconds, st.lists(near, min_size=2, max_size=6))
def test_a_clock_that_nobody_meets_only_gets_worse(calendar, start, target, later) -> None:
    """Running, warned, breached, whatever is looked at first."""
    states = [derived(calendar, start, target, [], now=start + each).state for each in later]
    ranks = [RANKS[state] for _, state in sorted(zip(later, states, strict=True))]
    assert ranks == sorted(ranks)
    clock = derived(calendar, start, target, [])
    for at, state in ((clock.warn_at, "warned"), (clock.deadline, "breached")):
        assert derived(calendar, start, target, [], now=at).state in (state, "breached")
        just_before = derived(calendar, start, target, [], now=at - timedelta(seconds=1)).state
        assert RANKS[just_before] < RANKS[state] or clock.warn_at == clock.deadline
