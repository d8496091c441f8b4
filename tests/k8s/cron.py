"""When a CronJob runs: what the API server takes as a schedule and as a time zone."""

import re
from collections.abc import Iterator
from typing import Final
from zoneinfo import available_timezones

_MACROS: Final = {
    "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
}  # fmt: skip
_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: Final = (
    ("minute", range(60), ()),
    ("hour", range(24), ()),
    ("day of the month", range(1, 32), ()),
    ("month", range(1, 13), _MONTHS),
    ("day of the week", range(7), _DAYS),
)
"""Name, numbers and names of each field; a week has no day 7 in the parser that Kubernetes takes."""
_PART: Final = re.compile(r"(\*|\?|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?")


def wrong_schedule(text: str) -> Iterator[str]:
    """Yield what keeps a schedule of five fields, or of a word like @daily, from being one."""
    if text in _MACROS:
        return
    fields = text.split()
    if len(fields) != len(_FIELDS):
        yield f"schedule {text!r} has {len(fields)} fields, not five"
        return
    for field, (name, numbers, words) in zip(fields, _FIELDS, strict=True):
        if not all(_is_part(part, numbers, words) for part in field.lower().split(",")):
            yield f"schedule {text!r}: {field} is no {name}"


def wrong_zone(name: str) -> Iterator[str]:
    """Yield that a time zone is none; the node's own is refused, as it is another on each."""
    if name not in available_timezones():
        yield f"timeZone {name} is unknown"


def _is_part(part: str, numbers: range, words: list[str] | tuple[()]) -> bool:
    found = _PART.fullmatch(part)
    if found is None or (found[3] is not None and int(found[3]) == 0):
        return False
    if found[1] in {"*", "?"}:
        return found[2] is None
    first = _number(found[1], numbers, words)
    last = first if found[2] is None else _number(found[2], numbers, words)
    return first is not None and last is not None and first <= last


def _number(text: str, numbers: range, words: list[str] | tuple[()]) -> int | None:
    if text in words:
        return numbers.start + list(words).index(text)
    return int(text) if text.isdigit() and int(text) in numbers else None
