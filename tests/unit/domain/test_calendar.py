"""Business time: known answers, what is refused and with which words, what stays bounded."""

from datetime import UTC, date, datetime, timedelta, timezone

import msgspec
import pytest
from pydantic import ValidationError

from klingel.config.calendars import (
    DEFAULT_CALENDAR,
    BusinessCalendar,
    HolidayRegion,
    SpecialDay,
    date_of,
    days_of,
    minutes_of,
    seconds_of,
)
from klingel.domain.calendar import (
    ALWAYS_OPEN,
    CHUNK_DAYS,
    CHUNKS,
    END,
    Calendar,
    CalendarError,
    calendar_problems,
)
from klingel.errors import ConfigurationError

HOUR = 3600


def part(**fields) -> BusinessCalendar:
    """Return a calendar of Berlin, Monday to Friday 8 to 20 unless told otherwise."""
    usual = {"id": "office", "zone": "Europe/Berlin", "hours": {"mon-fri": ("08:00-20:00",)}}
    return BusinessCalendar(**usual | fields)


def compiled(**fields) -> Calendar:
    """Compile that."""
    return Calendar.compile(part(**fields))


def at(text: str) -> datetime:
    """Read an instant of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spans(calendar: Calendar, start: str, end: str) -> list[tuple[str, str]]:
    """Return the open intervals as day, hour and minute of UTC."""
    return [
        (f"{each.start:%d %H:%M}", f"{each.end:%d %H:%M}")
        for each in calendar.intervals(at(start), at(end))
    ]


def test_a_working_week_has_sixty_hours() -> None:
    """Monday to Friday 8 to 20, from Monday to Monday."""
    assert compiled().between(at("2026-11-16"), at("2026-11-23")) == 60 * HOUR


def test_what_is_said_on_friday_evening_is_due_on_monday() -> None:
    """Half an hour is left on Friday; the rest of the hour is counted from Monday 8:00 on."""
    calendar = compiled()
    assert calendar.add(at("2026-11-20 18:30"), HOUR) == at("2026-11-23 07:30")
    assert calendar.next_open(at("2026-11-21 12:00")) == at("2026-11-23 07:00")
    assert not calendar.is_open(at("2026-11-20 19:00"))
    assert calendar.is_open(at("2026-11-20 18:59:59"))


def test_a_target_that_ends_at_closing_time_ends_there() -> None:
    """Not at the next opening, though no second counts between."""
    assert compiled().add(at("2026-11-20 18:00"), HOUR) == at("2026-11-20 19:00")


def test_an_open_instant_is_its_own_opening() -> None:
    """As it was given, in its own zone and with its fraction."""
    given = datetime(2026, 11, 20, 12, 0, 0, 7, tzinfo=timezone(timedelta(hours=1)))
    assert compiled().next_open(given) is given


def test_fractions_of_a_second_are_cut_off() -> None:
    """Of both ends, so parts add up."""
    start = at("2026-11-20 12:00:00.900000")
    assert compiled().between(start, at("2026-11-20 12:00:01.100000")) == 1
    assert compiled().add(start, 1) == at("2026-11-20 12:00:01")


def test_the_night_in_which_an_hour_is_left_out() -> None:
    """29 March 2026, Berlin: 02:00 is 03:00."""
    calendar = compiled(hours={"mon-sun": ("00:00-06:00",)})
    assert calendar.between(at("2026-03-28 22:00"), at("2026-03-29 12:00")) == 5 * HOUR
    missing = compiled(hours={"mon-sun": ("02:00-03:00",)})
    assert spans(missing, "2026-03-28 12:00", "2026-03-29 12:00") == []
    half = compiled(hours={"mon-sun": ("02:30-03:30",)})
    assert spans(half, "2026-03-28 12:00", "2026-03-29 12:00") == [("29 01:00", "29 01:30")]


def test_the_night_in_which_an_hour_comes_twice() -> None:
    """25 October 2026, Berlin: 03:00 is 02:00 again; what the wall shows twice is open twice."""
    calendar = compiled(hours={"mon-sun": ("00:00-06:00",)})
    assert calendar.between(at("2026-10-24 12:00"), at("2026-10-25 12:00")) == 7 * HOUR
    twice = compiled(hours={"mon-sun": ("02:00-02:30",)})
    assert spans(twice, "2026-10-24 12:00", "2026-10-25 12:00") == [
        ("25 00:00", "25 00:30"),
        ("25 01:00", "25 01:30"),
    ]
    over = compiled(hours={"mon-sun": ("02:30-03:30",)})
    assert spans(over, "2026-10-24 12:00", "2026-10-25 12:00") == [
        ("25 00:30", "25 01:00"),
        ("25 01:30", "25 02:30"),
    ]
    until = compiled(hours={"mon-sun": ("01:00-02:30",)})
    assert spans(until, "2026-10-24 12:00", "2026-10-25 12:00") == [
        ("24 23:00", "25 00:30"),
        ("25 01:00", "25 01:30"),
    ]


def test_a_clock_change_of_half_an_hour() -> None:
    """Lord Howe Island, 4 October 2026: 02:00 is 02:30."""
    calendar = compiled(zone="Australia/Lord_Howe", hours={"sun": ("01:00-04:00",)})
    assert calendar.between(at("2026-10-03"), at("2026-10-05")) == 5 * HOUR // 2


def test_a_day_that_never_was() -> None:
    """Samoa had no 30 December 2011."""
    calendar = compiled(zone="Pacific/Apia", hours={"fri": ("08:00-20:00",)})
    assert spans(calendar, "2011-12-23", "2012-01-07") == [
        ("23 18:00", "24 06:00"),
        ("05 18:00", "06 06:00"),
    ]


def test_midnight_joins_with_the_next_day() -> None:
    """24:00 and 00:00 are one instant."""
    calendar = compiled(hours={"fri": ("18:00-24:00",), "sat": ("00:00-02:00",)})
    assert spans(calendar, "2026-11-20", "2026-11-22") == [("20 17:00", "21 01:00")]


def test_intervals_are_cut_at_what_is_asked_for() -> None:
    """Also within one interval."""
    calendar = compiled(hours={"fri": ("08:00-12:00", "13:00-20:00")})
    assert spans(calendar, "2026-11-20 08:00", "2026-11-20 13:00") == [
        ("20 08:00", "20 11:00"),
        ("20 12:00", "20 13:00"),
    ]
    assert spans(calendar, "2026-11-20 08:00", "2026-11-20 09:00") == [("20 08:00", "20 09:00")]
    assert spans(calendar, "2026-11-20 09:00", "2026-11-20 08:00") == []


def test_holidays_are_those_of_the_state() -> None:
    """North Rhine-Westphalia in 2026: those that fall on a working day; Berlin has others."""
    calendar = compiled(holidays=HolidayRegion(country="DE", state="NW"))
    shut = [
        day.isoformat()
        for day in (date(2026, 1, 1) + timedelta(days=number) for number in range(365))
        if day.weekday() < 5 and not calendar.is_open(at(f"{day} 12:00"))
    ]
    assert shut == [
        "2026-01-01",
        "2026-04-03",
        "2026-04-06",
        "2026-05-01",
        "2026-05-14",
        "2026-05-25",
        "2026-06-04",
        "2026-12-25",
    ]
    berlin = compiled(holidays=HolidayRegion(country="DE", state="BE"))
    assert berlin.is_open(at("2026-06-04 12:00"))
    assert compiled().is_open(at("2026-12-25 12:00"))


def test_own_days_win_over_weekdays_and_holidays() -> None:
    """A closed day is closed, a special day has its own hours, whatever day it is."""
    calendar = compiled(
        holidays=HolidayRegion(country="DE"),
        closed=("2026-12-24",),
        special=(
            SpecialDay(date="2026-12-25", hours=("10:00-11:00",)),
            SpecialDay(date="2026-12-27", hours=("08:00-09:00", "12:00-13:00")),
            SpecialDay(date="2026-12-31", hours=()),
        ),
    )
    assert spans(calendar, "2026-12-24", "2026-12-28") == [
        ("25 09:00", "25 10:00"),
        ("27 07:00", "27 08:00"),
        ("27 11:00", "27 12:00"),
    ]
    assert calendar.next_open(at("2026-12-30 20:00")) == at("2027-01-04 07:00")


def test_day_and_night() -> None:
    """Every second counts, over clock changes and ends of years; and the times' ends hold."""
    calendar = Calendar.compile(ALWAYS_OPEN)
    assert calendar.add(at("2026-12-31 23:59:59"), 2) == at("2027-01-01 00:00:01")
    assert calendar.between(at("1600-01-01"), at("1970-01-02")) == 24 * HOUR
    assert calendar.next_open(at("1600-01-01")) == at("1970-01-01")
    far = datetime.max.replace(tzinfo=UTC)
    assert calendar.next_open(far) == END
    assert not calendar.is_open(far)
    assert at("2200-01-01") == END
    assert calendar.between(END - timedelta(seconds=1), far) == 1
    assert calendar.add(far, 1) == END
    assert len(calendar.intervals(datetime.min.replace(tzinfo=UTC), far)) == 1


def test_nothing_is_added_and_nothing_taken_away() -> None:
    """0 seconds are over at once; negative ones are a mistake of the caller."""
    start = at("2026-11-21 12:00")
    assert compiled().add(start, 0) is start
    with pytest.raises(ValueError, match="not taken away"):
        compiled().add(start, -1)
    with pytest.raises(TypeError):
        compiled().add(start.replace(tzinfo=None), 1)


def test_what_a_calendar_holds_is_bounded() -> None:
    """Ninety days of one open minute a week end with time itself, and leave little behind."""
    calendar = compiled(hours={"mon": ("02:00-02:01",)})
    assert calendar.add(at("2026-01-01"), 90 * 86_400) == END
    assert len(calendar._chunks) <= CHUNKS
    assert calendar.add(at("2026-01-01"), 61) == at("2026-01-12 01:00:01")
    assert len(calendar._chunks) <= CHUNKS


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    """Periods that were forgotten are found again."""
    calendar = compiled(holidays=HolidayRegion(country="DE", state="NW"))
    asked = [at("2026-01-01") + timedelta(days=CHUNK_DAYS * number) for number in range(-9, 30)]
    first = [calendar.add(each, 40 * HOUR) for each in asked]
    assert [calendar.add(each, 40 * HOUR) for each in reversed(asked)] == first[::-1]


def test_a_calendar_is_told_by_its_content() -> None:
    """The order of keys does not matter, anything else does; what is kept compiles to the same."""
    one = compiled(hours={"mon": ("08:00-20:00",), "tue": ("08:00-20:00",)})
    other = compiled(hours={"tue": ("08:00-20:00",), "mon": ("08:00-20:00",)})
    assert one == other
    assert Calendar.of(one.content) is Calendar.of(other.content)
    assert one.version == other.version
    assert one.version != compiled().version
    assert msgspec.json.decode(one.content)["zone"] == "Europe/Berlin"
    for content in ("", "{}", one.content.replace("Berlin", "Berlin2")):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong, it is a ValueError
            Calendar.of(content)


def test_a_state_that_is_not_known_any_more_has_no_holidays() -> None:
    """A clock that runs keeps its calendar; only a new configuration is refused."""
    known = compiled(holidays=HolidayRegion(country="DE", state="NW"))
    for gone in ('"DE","state":"XX"', '"XX"'):
        kept = Calendar.of(known.content.replace('"DE","state":"NW"', gone))
        assert kept.between(at("2026-06-04"), at("2026-06-05")) == 12 * HOUR
    assert known.between(at("2026-06-04"), at("2026-06-05")) == 0


def test_the_first_problem_is_raised_as_a_configuration_error() -> None:
    """With its path; it is a ValueError too, as all that compiling a brand raises."""
    with pytest.raises(CalendarError) as raised:
        compiled(zone="Berlin")
    assert isinstance(raised.value, ConfigurationError)
    assert isinstance(raised.value, ValueError)
    assert raised.value.path == ("zone",)
    assert str(raised.value).startswith("zone: there is no time zone 'Berlin'; did you mean")


SUNDAYS = tuple(str(date(2026, 1, 4) + timedelta(weeks=number)) for number in range(60))


@pytest.mark.parametrize(
    ("fields", "path", "sentence"),
    [
        (
            {"zone": "Europe/Berln"},
            ("zone",),
            "there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
        ),
        (
            {"zone": "../../etc/passwd"},
            ("zone",),
            "there is no time zone '../../etc/passwd'; write area and city: Europe/Berlin",
        ),
        (
            {"zone": "Europe/\x00"},
            ("zone",),
            "there is no time zone 'Europe/\\x00'; did you mean 'Europe/Rome'?",
        ),
        (
            {"hours": {"mon-fri": ("08:00-12:00", "11:59-13:00")}},
            ("hours", "mon-fri", 1),
            "'11:59-13:00' overlaps with '08:00-12:00'; let one end where the other begins",
        ),
        (
            {"hours": {"mon-fri": ("13:00-14:00", "00:00-24:00")}},
            ("hours", "mon-fri", 0),
            "'13:00-14:00' overlaps with '00:00-24:00'; let one end where the other begins",
        ),
        (
            {"hours": {"mon-fri": ("08:00-12:00",), "fri": ("13:00-14:00",)}},
            ("hours", "fri"),
            "fri stands also in 'mon-fri'; name each day once",
        ),
        (
            {"hours": {"mon-fri": ()}},
            ("hours",),
            'no day has an open minute; write an interval: "08:00-20:00"',
        ),
        (
            {"holidays": HolidayRegion(country="XX")},
            ("holidays", "country"),
            (
                "the holidays of 'XX' are not known; write the country's two letters after "
                "ISO 3166-1, such as DE, or list the days under `closed:`"
            ),
        ),
        (
            {"holidays": HolidayRegion(country="AT", state="NW")},
            ("holidays", "state"),
            "'AT' has no state 'NW'; known are 1, 2, 3, 4, 5, 6, 7, 8, 9",
        ),
        (
            {"holidays": HolidayRegion(country="MT", state="NW")},
            ("holidays", "state"),
            "'MT' has no state 'NW'; leave it out: the country has none",
        ),
        (
            {"closed": ("2026-12-24", "2026-12-24")},
            ("closed", 1),
            "'2026-12-24' stands twice; keep one of them",
        ),
        (
            {"closed": ("2026-12-24",), "special": (SpecialDay(date="2026-12-24", hours=()),)},
            ("special", 0, "date"),
            "'2026-12-24' stands also under `closed:`; keep one",
        ),
        (
            {"special": (SpecialDay(date="2026-12-24", hours=("08:00-09:00", "08:30-10:00")),)},
            ("special", 0, "hours", 1),
            "'08:30-10:00' overlaps with '08:00-09:00'; let one end where the other begins",
        ),
        (
            {"hours": {"sun": ("08:00-20:00",)}, "closed": SUNDAYS},
            ("closed",),
            (
                "no minute is open from 2025-12-28 to 2027-02-28; "
                "a calendar is closed for at most 365 days"
            ),
        ),
    ],
)
def test_what_has_no_meaning_is_refused(fields, path, sentence) -> None:
    """One sentence: what is wrong, and what would be right."""
    assert calendar_problems(part(**fields)) == [(path, sentence)]


def test_a_year_less_a_day_may_be_closed() -> None:
    """The bound is the year; touching intervals are no overlap."""
    assert calendar_problems(part(hours={"sun": ("08:00-20:00",)}, closed=SUNDAYS[:51])) == []
    assert calendar_problems(part(hours={"mon": ("08:00-09:00", "09:00-10:00")})) == []


def test_a_calendar_too_long_to_be_kept_is_refused() -> None:
    """Cases keep the calendar that they were promised."""
    days = tuple(str(date(2000, 1, 1) + timedelta(days=2 * number)) for number in range(1_000))
    specials = tuple(
        SpecialDay(date=str(date(2010, 1, 1) + timedelta(days=number)), hours=("08:00-09:00",))
        for number in range(366)
    )
    assert calendar_problems(part(closed=days, special=specials)) == [
        ((), "longer than 16000 characters; leave out days that are over")
    ]
    assert calendar_problems(part(closed=days)) == []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("15m", 900), ("4h", 4 * HOUR), ("2d", 48 * HOUR), ("90d", 90 * 24 * HOUR)],
)
def test_durations(written, seconds) -> None:
    """A number and a unit."""
    assert seconds_of(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "0m", "15", "m", "1.5h", "-1m", "15 m", "15m\n", "\u0661m", "91d", "9999999d", "1w"],
)
def test_what_is_no_duration(written) -> None:
    """Also nothing, and more than ninety days."""
    with pytest.raises(ValueError, match=r"write a number|the longest"):
        seconds_of(written)


@pytest.mark.parametrize(
    ("written", "days"),
    [
        ("mon", (0,)),
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("sat-mon", (5, 6, 0)),
        ("mon,wed-fri", (0, 2, 3, 4)),
    ],
)
def test_days(written, days) -> None:
    """A day, a range, also over the week's end, or a list."""
    assert days_of(written) == days


@pytest.mark.parametrize("written", ["", "monday", "Mon", "mon-", "mon,", "mon mon", "mon,mon-tue"])
def test_what_names_no_days(written) -> None:
    """Or names one twice."""
    with pytest.raises(ValueError, match=r"write a day|twice"):
        days_of(written)


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("8-20", "write begin and end"),
        ("08:00-24:01", "write begin and end"),
        ("24:00-24:00", "write begin and end"),
        ("08:60-09:00", "write begin and end"),
        ("08:00-08:00", "it is empty"),
        ("22:00-06:00", "write 22:00-24:00 here and 00:00-06:00 at the next day"),
    ],
)
def test_what_is_no_interval(written, right) -> None:
    """What would be right is said."""
    with pytest.raises(ValueError, match=right):
        minutes_of(written)
    with pytest.raises(ValidationError, match=right):
        part(hours={"mon": (written,)})


@pytest.mark.parametrize(
    "written", ["", "2026-02-29", "2026-13-01", "26-01-01", "1969-12-31", "2200-01-01"]
)
def test_what_is_no_day(written) -> None:
    """The years are 1970 to 2199."""
    with pytest.raises(ValueError, match=r"write a day|no such day"):
        date_of(written)


def test_the_default_is_monday_to_friday_eight_to_twenty() -> None:
    """In Berlin, on holidays too: whose they are is not known."""
    calendar = Calendar.compile(DEFAULT_CALENDAR)
    assert spans(calendar, "2026-05-01", "2026-05-05") == [
        ("01 06:00", "01 18:00"),
        ("04 06:00", "04 18:00"),
    ]
