"""Calendars and SLA policies as they stand in a brand file, and what is written in them.

    calendars:
      - id: service-hours
        zone: Europe/Berlin
        hours: {mon-fri: ["08:00-20:00"], sat: ["09:00-12:00", "13:00-16:00"]}
        holidays: {country: DE, state: NW}
        closed: ["2026-12-24"]
        special: [{date: "2026-12-31", hours: ["08:00-12:00"]}]
    sla:
      - id: messengers
        when: "network:(whatsapp OR messenger)"
        calendar: service-hours
        first_response: 15m
        next_response: 15m
      - id: everything
        first_response: 1h

Here is what a value looks like; whether the whole has a meaning is checked where it is compiled,
in `klingel.domain.calendar` and `klingel.domain.sla`.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from klingel.config.part import Part, Slug

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Names of the days; the place is the number of the day, Monday is 0."""
ALWAYS: Final = "always"
"""Id of the calendar that is open day and night; it needs no declaration."""
LONGEST_TARGET_DAYS: Final = 90
"""Longest duration that can be written, in days of 24 counted hours."""

_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_INTERVAL: Final = rf"^{_TIME}-(?:{_TIME}|24:00)$"
_DAY = "(?:" + "|".join(WEEKDAYS) + ")"
_DAYS: Final = rf"^{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*$"
_DURATION: Final = r"^[1-9][0-9]{0,6}[smhd]$"
_DATE: Final = r"^(?:19[7-9][0-9]|20[0-9][0-9]|21[0-9][0-9])-[0-9][0-9]-[0-9][0-9]$"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(duration: str) -> int:
    """Return the seconds of a duration such as `90s`, `15m`, `4h` or `2d`.

    They are counted seconds: a day is 24 hours in which the calendar is open, not a working day.

    Raises:
        ValueError: it is no duration, or longer than `LONGEST_TARGET_DAYS`.
    """
    if not re.fullmatch(_DURATION, duration):
        raise ValueError('write a number and a unit: "90s", "15m", "4h" or "2d"')
    seconds = int(duration[:-1]) * _UNITS[duration[-1]]
    if seconds > LONGEST_TARGET_DAYS * 86_400:
        raise ValueError(f"the longest is {LONGEST_TARGET_DAYS}d")
    return seconds


def minutes_of(interval: str) -> tuple[int, int]:
    """Return begin and end of an interval such as `08:00-20:00`, in minutes since midnight.

    Raises:
        ValueError: it is no interval, is empty, or crosses midnight.
    """
    if not re.fullmatch(_INTERVAL, interval):
        raise ValueError('write begin and end as "08:00-20:00"; midnight at the end is 24:00')
    begin, end = (int(time[:2]) * 60 + int(time[3:]) for time in interval.split("-"))
    if begin == end:
        raise ValueError("it is empty; the whole day is 00:00-24:00")
    if begin > end:
        first, last = interval.split("-")
        raise ValueError(
            f"an interval ends before midnight; write {first}-24:00 here "
            f"and 00:00-{last} at the next day"
        )
    return begin, end


def days_of(days: str) -> tuple[int, ...]:
    """Return the numbers of the days that `fri`, `mon-fri` or `mon,wed-fri` name, Monday is 0.

    A range may run over the end of the week: `sat-mon` is Saturday, Sunday and Monday.

    Raises:
        ValueError: it names no days, or one of them twice.
    """
    if not re.fullmatch(_DAYS, days):
        raise ValueError(
            "write a day, a range or a list of days, mon to sun: mon-fri, or mon,wed,fri"
        )
    found: list[int] = []
    for part in days.split(","):
        first, _, last = part.partition("-")
        begin = WEEKDAYS.index(first)
        count = (WEEKDAYS.index(last) - begin) % 7 + 1 if last else 1
        found += [(begin + number) % 7 for number in range(count)]
    if len(set(found)) < len(found):
        raise ValueError("a day stands in it twice; name each day once")
    return tuple(found)


def date_of(day: str) -> date:
    """Return the date that `2026-12-24` names.

    Raises:
        ValueError: there is no such day, or it is not within 1970 to 2199.
    """
    if not re.fullmatch(_DATE, day):
        raise ValueError("write a day of the years 1970 to 2199 as 2026-12-24")
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise ValueError("there is no such day in the calendar") from None


def _checked(read: Callable[[str], object]) -> AfterValidator:
    """Return a validator that leaves the text as it is written and refuses what cannot be read."""

    def check(text: str) -> str:
        try:
            read(text)
        except ValueError as error:
            raise PydanticCustomError("unreadable", str(error)) from None
        return text

    return AfterValidator(check)


def _warning(value: float | str) -> float | str:
    if isinstance(value, str):
        try:
            seconds_of(value)
        except ValueError as error:
            raise PydanticCustomError("unreadable", str(error)) from None
    elif not 0 < value < 1:
        raise PydanticCustomError(
            "unreadable", 'write a share between 0 and 1, or a time before the deadline as "10m"'
        )
    return value


Interval = Annotated[str, _checked(minutes_of), Field(json_schema_extra={"pattern": _INTERVAL})]
Days = Annotated[str, _checked(days_of), Field(json_schema_extra={"pattern": _DAYS})]
Duration = Annotated[str, _checked(seconds_of), Field(json_schema_extra={"pattern": _DURATION})]
Day = Annotated[str, _checked(date_of), Field(json_schema_extra={"pattern": _DATE})]
Intervals = Annotated[tuple[Interval, ...], Field(max_length=24)]
_WARNING_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "pattern": _DURATION},
    ]
}
WarningTime = Annotated[
    float | str, AfterValidator(_warning), Field(json_schema_extra=_WARNING_SCHEMA)
]

CaseKind = Literal[
    "post",
    "reply",
    "repost",
    "quote",
    "comment",
    "direct_message",
    "email",
    "review",
    "reaction",
    "story",
    "chat",
    "unknown",
]
"""Kinds of events, as they stand in `SocialEvent.kind`."""
PauseState = Literal["snoozed", "waiting"]
"""States in which a resolution clock can stand."""


class HolidayRegion(Part):
    """Whose public holidays are closed days."""

    country: str = Field(
        pattern=r"^[A-Z]{2}$", description="ISO 3166-1 code of the country, such as DE."
    )
    state: str | None = Field(
        None,
        min_length=1,
        max_length=60,
        description="State, province or canton by its code, such as NW; absent: the whole country's.",
    )


class SpecialDay(Part):
    """A day with hours of its own, whatever its weekday and whether or not it is a holiday."""

    date: Day = Field(description="The day, such as 2026-12-31.")
    hours: Intervals = Field(description="Its intervals; an empty list closes the day.")


class BusinessCalendar(Part):
    """When the brand's people are there; only this time counts for a clock."""

    id: Slug = Field(description="Name of the calendar; always is built in.")
    zone: str = Field(
        min_length=1, max_length=60, description="IANA time zone of the hours: Europe/Berlin."
    )
    hours: dict[Days, Intervals] = Field(
        min_length=1,
        max_length=7,
        description="Intervals by days (fri, mon-fri, or mon,wed,fri); a day that is not named is "
        "closed. An interval holds its begin and not its end; 24:00 joins with the next day's 00:00.",
    )
    holidays: HolidayRegion | None = Field(
        None, description="Public holidays that are closed; absent: none is."
    )
    closed: tuple[Day, ...] = Field(
        (), max_length=1_000, description="The brand's own closed days."
    )
    special: tuple[SpecialDay, ...] = Field(
        (), max_length=366, description="Days with hours of their own."
    )


class SlaPolicy(Part):
    """What is promised to the cases that meet all of its conditions; the first that fits decides."""

    id: Slug = Field(description="Name of the policy.")
    when: str | None = Field(
        None,
        min_length=1,
        max_length=8192,
        description="Lucene query, the same syntax as listening; absent: every case.",
    )
    queues: tuple[Slug, ...] = Field(
        (), max_length=200, description="Only cases of these queues; none named: of any."
    )
    priority_from: int | None = Field(
        None, ge=1, le=10_000, description="Only cases of this priority or above."
    )
    kinds: tuple[CaseKind, ...] = Field(
        (), max_length=12, description="Only cases opened by such events; none named: by any."
    )
    calendar: Slug | None = Field(
        None,
        description="Calendar whose open time counts; absent: the brand's first, or Monday to "
        "Friday 8 to 20 in Europe/Berlin.",
    )
    first_response: Duration | None = Field(
        None, description="Target of the first answer, in open time: 15m, 4h, 2d; absent: none."
    )
    next_response: Duration | None = Field(
        None, description="Target of the answer to each later word of the customer; absent: none."
    )
    resolution: Duration | None = Field(
        None, description="Target of the closing, counted from the opening; absent: none."
    )
    warn_at: WarningTime = Field(
        0.75,
        description="When a warning comes: a share of the target, or open time before the "
        "deadline such as 10m.",
    )
    pause_when: tuple[PauseState, ...] = Field(
        (), max_length=2, description="States of the case in which the resolution clock stands."
    )


DEFAULT_CALENDAR: Final = BusinessCalendar(
    id="service-hours", zone="Europe/Berlin", hours={"mon-fri": ("08:00-20:00",)}
)
"""Calendar of a brand that declares none."""

DEFAULT_SLA: Final = (
    SlaPolicy(
        id="messengers",
        kinds=("direct_message", "chat"),
        first_response="15m",
        next_response="15m",
    ),
    SlaPolicy(id="public", first_response="60m", next_response="60m"),
)
"""Policies of a brand that declares none."""
