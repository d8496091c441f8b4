"""What is wrong because nothing happens: a channel without posts, customers without answers.

    note(silences, row)                                   # on every row of the brand
    for alarm in look(silences, rules, "nordlicht", now): ...

Everything is judged at a time up to which all rows are read, never at the time of a reader that lags
behind. What was never heard is not known, and does not count as dormant.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import msgspec

from klingel.config.calendars import seconds_of
from klingel.config.escalations import Alerts
from klingel.domain.identity import deterministic_id
from klingel.domain.signals import is_question, object_of, says_something_new
from klingel.model.brand_signals import Signal

MOST_WAITING: Final = 20_000
"""Conversations of a brand that are remembered as waiting; the oldest are what counts."""

MOST_ANSWERED: Final = 2_000
"""Conversations of a brand whose newest answer is remembered."""

MOST_PLACES: Final = 1_000
"""Networks and channels of a brand whose newest row is remembered."""

FORGET_SECONDS: Final = 7 * 86_400.0
"""After so long a word is not waited for any more: such a case is somebody's, or nobody's."""

BEGIN_SEVERITY: Final = 5
_HIGHEST = 10

Kind = Literal["dormant_channel", "nobody_answered", "oldest_unanswered"]


class Waiting(msgspec.Struct, array_like=True):
    """The first word of a conversation since the brand's last one."""

    at: float
    object_id: str


class Alarm(msgspec.Struct, array_like=True):
    """An alarm that is open."""

    alert_id: str
    kind: Kind
    place: str
    since: float
    revision: int
    severity: int


class Silences(msgspec.Struct, array_like=True):
    """All that is remembered of one brand; plain, and bounded."""

    waiting: dict[str, Waiting] = msgspec.field(default_factory=dict)
    places: dict[str, float] = msgspec.field(default_factory=dict)
    answered: dict[str, float] = msgspec.field(default_factory=dict)
    answered_at: float = 0.0
    alarms: dict[str, Alarm] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SilenceRules:
    """From which length on a silence is told, in seconds; None never.

    Args:
        nobody_answered: without any answer of the brand, while somebody waits.
        oldest_unanswered: age of the oldest word that nobody answered.
        dormant: by network, or `network:channel`: without any row.
    """

    nobody_answered: float | None = None
    oldest_unanswered: float | None = None
    dormant: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, alerts: Alerts) -> "SilenceRules":
        """Return the rules of a brand's alert settings."""
        nobody, oldest = alerts.nobody_answered_after, alerts.oldest_unanswered
        return cls(
            None if nobody is None else seconds_of(nobody),
            None if oldest is None else seconds_of(oldest),
            {place: float(seconds_of(after)) for place, after in alerts.dormant_after.items()},
        )


class Told(NamedTuple):
    """An alarm that began, grew worse or ended; `place` is the network or channel, if any."""

    alert_id: str
    kind: Kind
    place: str
    state: Literal["open", "ended"]
    revision: int
    severity: int
    since: float
    at: float
    ended_at: float | None


def note(silences: Silences, row: Signal, at: float | None = None) -> None:
    """Remember what a row says of silences; repeats change nothing.

    Args:
        silences: changed.
        row: what was heard.
        at: when it was said, seconds since 1970, where that is reckoned already.
    """
    if at is None:
        at = row.at.timestamp()
    places = silences.places
    _hear_from(places, row.network, at)
    if row.channel:
        _hear_from(places, f"{row.network}:{row.channel}", at)
    if row.direction == "outbound":
        silences.answered_at = max(silences.answered_at, at)
        answered = silences.answered
        # The newest last: an answer may be heard before what it answers.
        answered[row.conversation_id] = max(at, answered.pop(row.conversation_id, 0.0))
        if len(answered) > MOST_ANSWERED:
            del answered[next(iter(answered))]
    elif at <= silences.answered.get(row.conversation_id, 0.0):
        return
    _wait(silences.waiting, row, at)


def _hear_from(places: dict[str, float], place: str, at: float) -> None:
    newest = places.get(place)
    if newest is None:
        if len(places) < MOST_PLACES:
            places[place] = max(at, 0.0)
    elif at > newest:
        places[place] = at


def _wait(conversations: dict[str, Waiting], row: Signal, at: float) -> None:
    """Let a conversation begin to wait, or end it."""
    conversation = row.conversation_id
    waiting = conversations.get(conversation)
    if row.direction == "outbound":
        if waiting is not None and waiting.at <= at:
            del conversations[conversation]
    elif row.change == "deleted":
        if waiting is not None and waiting.object_id == object_of(row.event_id):
            del conversations[conversation]
    elif row.addressed and row.customer_id and says_something_new(row) and is_question(row):
        has_room = len(conversations) < MOST_WAITING
        if (waiting is None and has_room) or (waiting is not None and at < waiting.at):
            conversations[conversation] = Waiting(at, object_of(row.event_id))


def look(silences: Silences, rules: SilenceRules, brand: str, now: float) -> list[Told]:
    """Return the alarms that begin, grow worse or end; calling it again returns nothing new.

    Args:
        silences: changed: its alarms, and what is forgotten.
        rules: what is too long.
        brand: name of the brand.
        now: seconds since 1970 up to which everything was read.
    """
    waiting = silences.waiting
    for conversation in [each for each, one in waiting.items() if one.at < now - FORGET_SECONDS]:
        del waiting[conversation]
    lasting = {key: since for key, since, limit in _silent(silences, rules) if now >= since + limit}
    limits = {key: limit for key, _, limit in _silent(silences, rules)}
    told: list[Told] = []
    for key, alarm in list(silences.alarms.items()):
        if key not in lasting:
            del silences.alarms[key]
            alarm.revision += 1
            told.append(_told(alarm, "ended", now))
    for key, since in lasting.items():
        severity = _severity((now - since) / limits[key])
        known = silences.alarms.get(key)
        if known is None:
            kind, _, place = key.partition("|")
            alert_id = deterministic_id("alert", brand, key, repr(since))
            known = Alarm(alert_id, kind, place, since, 0, 0)  # type: ignore[arg-type] # ours
            silences.alarms[key] = known
        if severity > known.severity:
            known.severity = severity
            known.revision += 1
            told.append(_told(known, "open", now))
    return told


def _silent(silences: Silences, rules: SilenceRules) -> Iterator[tuple[str, float, float]]:
    """Yield (matter, since, limit) of everything that is silent now, however shortly."""
    if silences.waiting and (rules.nobody_answered or rules.oldest_unanswered):
        oldest = min(each.at for each in silences.waiting.values())
        if rules.nobody_answered:
            since = max(oldest, silences.answered_at)
            yield "nobody_answered|", since, rules.nobody_answered
        if rules.oldest_unanswered:
            yield "oldest_unanswered|", oldest, rules.oldest_unanswered
    for place, limit in rules.dormant.items():
        heard = silences.places.get(place)
        if heard is not None:
            yield f"dormant_channel|{place}", heard, limit


def _severity(times: float) -> int:
    """Return 5 at the limit, one more for each doubling."""
    severity = BEGIN_SEVERITY
    while times >= 2 and severity < _HIGHEST:
        times /= 2
        severity += 1
    return severity


def _told(alarm: Alarm, state: Literal["open", "ended"], now: float) -> Told:
    return Told(
        alarm.alert_id,
        alarm.kind,
        alarm.place,
        state,
        alarm.revision,
        alarm.severity,
        alarm.since,
        now,
        now if state == "ended" else None,
    )
