"""What is wrong because nothing happens: a channel without posts, customers without answers.

    note(silences, row)                                   # on every row of the brand
    for alarm in look(silences, rules, "nordlicht", now, connectors): ...

A *silent connector* needs no setting: of each network the quarters of an hour are known in which
anything came, for four weeks, history included. How often something came in the same quarters of
earlier days (working days and weekends apart) tells how surprising a silence is; the connectors' own
status says whether one still lives.

Everything is judged at a time up to which all rows are read, never at the time of a reader that lags
behind. What was never heard is not known, and does not count as dormant.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final, Literal, NamedTuple

import msgspec

from klingel.config.calendars import seconds_of
from klingel.config.escalations import Alerts
from klingel.domain.early_warning import doubled_severity
from klingel.domain.identity import deterministic_id, object_of
from klingel.domain.signals import AnyRow, is_question, says_something_new

MOST_WAITING: Final = 20_000
"""Conversations of a brand that are remembered as waiting; the oldest are what counts."""

MOST_ANSWERED: Final = 2_000
"""Conversations of a brand whose newest answer is remembered."""

MOST_PLACES: Final = 1_000
"""Networks and channels of a brand whose newest row is remembered."""

_HISTORY: Final = frozenset({"backfill", "remap"})

FORGET_SECONDS: Final = 7 * 86_400.0
"""After so long a word is not waited for any more: such a case is somebody's, or nobody's."""

MOST_NETWORKS: Final = 100
"""Networks of a brand whose rhythm is known."""

RHYTHM_DAYS: Final = 28
"""Days of which a rhythm knows; the oldest is forgotten."""

LEAST_DAYS: Final = (5, 2)
"""Working days, and days of weekends, that must be known before their quarters tell anything."""

SURPRISING: Final = 12.0
"""Logarithm of one to the chance of a silence from which on a connector counts as silent."""

LEAST_SILENCE: Final = 1_800.0
"""Seconds of silence that are never told of a connector, however busy it is."""

ALIVE_SECONDS: Final = 60.0
"""A connector tells its status every ten seconds; an older one is no sign of life."""

BEGIN_SEVERITY: Final = 5
DEAD_SEVERITY: Final = 8
"""Least severity of a silence whose connector gives no sign of life, or says that it failed."""

_DAY = 86_400.0
_MOST_SPANS = 100
_QUARTER = 900
_QUARTERS = 96
_LONGEST_WALK = 14 * _QUARTERS
_FIRST_SATURDAY = 2
_WEEK = 7

Kind = Literal["dormant_channel", "silent_connector", "nobody_answered", "oldest_unanswered"]


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


class Rhythm(msgspec.Struct, array_like=True):
    """When anything came from a network: a set of quarters of an hour for each day (UTC).

    Attributes:
        days: by day since 1970, 12 bytes: a bit for each quarter in which anything came.
        newest: seconds since 1970 of the newest row that was no history.
        due: from when on its silence is surprising, reckoned for `due_of`.
        due_of: what `newest` was then.
    """

    days: dict[int, bytes] = msgspec.field(default_factory=dict)
    newest: float = 0.0
    due: float = math.inf
    due_of: float = -1.0


class Silences(msgspec.Struct, array_like=True):
    """All that is remembered of one brand; plain, and bounded."""

    waiting: dict[str, Waiting] = msgspec.field(default_factory=dict)
    places: dict[str, float] = msgspec.field(default_factory=dict)
    answered: dict[str, float] = msgspec.field(default_factory=dict)
    answered_at: float = 0.0
    alarms: dict[str, Alarm] = msgspec.field(default_factory=dict)
    rhythms: dict[str, Rhythm] = msgspec.field(default_factory=dict)


class Connector(NamedTuple):
    """What is known of a connector that listens to a network.

    Args:
        instance: its name.
        network: what it listens to.
        state: what it said of itself.
        at: when it said so, seconds since 1970.
        reason: one sentence of its own, if it gave one.
        credential: state of its credential, if it told one.
    """

    instance: str
    network: str
    state: str
    at: float
    reason: str = ""
    credential: str = ""


class Gap(NamedTuple):
    """An entry of the gap ledger: an instance heard nothing of its network, or not all.

    Args:
        instance: name of the connector.
        network: what it listens to.
        begin: seconds since 1970.
        end: the same, as far as it is told.
        is_open: whether its outcome is uncertain yet.
    """

    instance: str
    network: str
    begin: float
    end: float | None
    is_open: bool


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
    """An alarm that began, grew worse or ended.

    Attributes:
        place: the network or channel, if any.
        connector: whose silence it is, if that is known.
        reason: what the connectors' status says; one sentence.
    """

    alert_id: str
    kind: Kind
    place: str
    state: Literal["open", "ended"]
    revision: int
    severity: int
    since: float
    at: float
    ended_at: float | None
    connector: str = ""
    reason: str = ""


def note(silences: Silences, row: AnyRow, at: float | None = None) -> None:
    """Remember what a row says of silences; repeats change nothing.

    Args:
        silences: changed.
        row: what was heard.
        at: when it was said, seconds since 1970, where that is reckoned already.
    """
    if at is None:
        at = row.at.timestamp()
    network = row.network
    is_history = row.mode in _HISTORY
    rhythm = silences.rhythms.get(network)
    if (
        rhythm is not None
        and not is_history
        and rhythm.newest < at < (rhythm.newest // _QUARTER + 1) * _QUARTER
    ):
        rhythm.newest = at  # nearly all: in a quarter that is noted
    else:
        _beat(silences.rhythms, row, at)
    if not is_history:
        _hear_from(silences.places, network, at)
        if row.channel:
            _hear_from(silences.places, f"{network}:{row.channel}", at)
    if row.direction == "outbound":
        silences.answered_at = max(silences.answered_at, at)
        answered = silences.answered
        # The newest last: an answer may be heard before what it answers.
        answered[row.conversation_id] = max(at, answered.pop(row.conversation_id, 0.0))
        if len(answered) > MOST_ANSWERED:
            del answered[next(iter(answered))]
    elif not row.addressed and row.change != "deleted":
        return  # nearly all
    elif at <= silences.answered.get(row.conversation_id, 0.0):
        return
    _wait(silences.waiting, row, at)


def _beat(rhythms: dict[str, Rhythm], row: AnyRow, at: float) -> None:
    """Remember in which quarter of an hour something came from a network."""
    rhythm = rhythms.get(row.network)
    if rhythm is None:
        if len(rhythms) >= MOST_NETWORKS or at < 0.0:
            return
        rhythm = rhythms[row.network] = Rhythm()
    if row.mode not in _HISTORY and at > rhythm.newest:
        if at // _QUARTER == rhythm.newest // _QUARTER:
            rhythm.newest = at
            return
        rhythm.newest = at
    day, quarter = divmod(int(at // _QUARTER), _QUARTERS)
    days = rhythm.days
    known = days.get(day)
    if known is None:
        days[day] = (1 << quarter).to_bytes(12, "little")
        if len(days) > RHYTHM_DAYS:
            del days[min(days)]
    elif not known[quarter >> 3] & (1 << (quarter & 7)):
        days[day] = (int.from_bytes(known, "little") | 1 << quarter).to_bytes(12, "little")


def _surprising_from(rhythm: Rhythm) -> float:
    """Return the time from which on silence since the newest row is surprising; inf if it never is."""
    quarter = int(rhythm.newest // _QUARTER)
    today, yesterday = quarter // _QUARTERS, quarter // _QUARTERS - 1
    first = min(rhythm.days, default=today)
    number = [0, 0]
    heard: tuple[list[int], list[int]] = ([0] * _QUARTERS, [0] * _QUARTERS)
    for day in range(max(first, today - RHYTHM_DAYS), yesterday + 1):
        kind = _is_weekend(day)
        number[kind] += 1
        bits = int.from_bytes(rhythm.days.get(day, b""), "little")
        for at in range(_QUARTERS):
            heard[kind][at] += bits >> at & 1
    surprise = 0.0
    for after in range(quarter + 1, quarter + 1 + _LONGEST_WALK):
        kind = _is_weekend(after // _QUARTERS)
        if number[kind] >= LEAST_DAYS[kind]:
            surprise -= math.log1p(-heard[kind][after % _QUARTERS] / (number[kind] + 1))
        if surprise >= SURPRISING:
            return max(float((after + 1) * _QUARTER), rhythm.newest + LEAST_SILENCE)
    return math.inf


def _is_weekend(day: int) -> bool:
    """Whether a day since 1970, which began on a Thursday, is a Saturday or Sunday (UTC)."""
    return (day - _FIRST_SATURDAY) % _WEEK < 2


def _hear_from(places: dict[str, float], place: str, at: float) -> None:
    newest = places.get(place)
    if newest is None:
        if len(places) < MOST_PLACES:
            places[place] = max(at, 0.0)
    elif at > newest:
        places[place] = at


def _wait(conversations: dict[str, Waiting], row: AnyRow, at: float) -> None:
    """Let a conversation begin to wait, or end it."""
    conversation = row.conversation_id
    if row.direction == "outbound":
        waiting = conversations.get(conversation)
        if waiting is not None and waiting.at <= at:
            del conversations[conversation]
    elif row.change == "deleted":
        waiting = conversations.get(conversation)
        if waiting is not None and waiting.object_id == object_of(row.event_id):
            del conversations[conversation]
    elif row.addressed and row.customer_id and says_something_new(row) and is_question(row):
        waiting = conversations.get(conversation)
        has_room = len(conversations) < MOST_WAITING
        if (waiting is None and has_room) or (waiting is not None and at < waiting.at):
            object_id = object_of(row.event_id)
            if object_id == conversation:
                object_id = conversation  # one text in memory, for a week
            conversations[conversation] = Waiting(at, object_id)


def look(
    silences: Silences,
    rules: SilenceRules,
    brand: str,
    now: float,
    connectors: Sequence[Connector] = (),
) -> list[Told]:
    """Return the alarms that begin, grow worse or end; calling it again returns nothing new.

    Args:
        silences: changed: its alarms, and what is forgotten.
        rules: what is too long.
        brand: name of the brand.
        now: seconds since 1970 up to which everything was read.
        connectors: what is known of those that may have fallen silent.
    """
    waiting = silences.waiting
    for conversation in [each for each, one in waiting.items() if one.at < now - FORGET_SECONDS]:
        del waiting[conversation]
    silent = {key: (since, limit) for key, since, limit in _silent(silences, rules)}
    silent |= {key: (since, limit) for key, since, limit in _broken(silences, now, connectors)}
    told: list[Told] = []
    for key, alarm in list(silences.alarms.items()):
        if key not in silent or now < sum(silent[key]):
            del silences.alarms[key]
            alarm.revision += 1
            told.append(_told(alarm, "ended", now, connectors))
    for key, (since, limit) in silent.items():
        if now < since + limit:
            continue
        kind, _, place = key.partition("|")
        severity = doubled_severity((now - since) / limit, BEGIN_SEVERITY)
        if kind == "silent_connector" and not _lives(place, now, connectors):
            severity = max(severity, DEAD_SEVERITY)
        known = silences.alarms.get(key)
        if known is None:
            alert_id = deterministic_id("alert", brand, key, repr(since))
            known = Alarm(alert_id, kind, place, since, 0, 0)  # type: ignore[arg-type] # ours
            silences.alarms[key] = known
        if severity > known.severity:
            known.severity = severity
            known.revision += 1
            told.append(_told(known, "open", now, connectors))
    return told


def unheard(
    silences: Silences, connectors: Sequence[Connector], gaps: Sequence[Gap], now: float
) -> list[tuple[float, float | None]]:
    """Return the times, begin and end, in which nothing of a brand could be heard; None: it lasts.

    Those are the gaps that all of its networks share, and all connectors of each: while one of them
    goes on, what is counted is less than all, which alerts nobody. An open gap is over once its
    network was heard again: it may be filled for long after that.

    Args:
        silences: of the brand.
        connectors: what those that listen say of themselves.
        gaps: the ledger's entries of whole connectors.
        now: seconds since 1970; what ended a day before is left aside.
    """
    shared: list[tuple[float, float]] | None = None
    by_network: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for gap in gaps:
        rhythm = silences.rhythms.get(gap.network)
        if rhythm is None or not rhythm.newest:
            continue
        end = gap.end
        if end is None and gap.is_open:
            end = rhythm.newest if rhythm.newest > gap.begin else math.inf
        if end is not None and end > max(gap.begin, now - _DAY):
            its = by_network.setdefault(gap.network, {}).setdefault(gap.instance, [])
            its.append((gap.begin, end))
    if not by_network:
        return []
    for network, rhythm in silences.rhythms.items():
        if not rhythm.newest:
            continue
        found = by_network.get(network)
        if found is None:
            return []
        listening = {
            each.instance
            for each in connectors
            if each.network == network and each.state != "finished"
        }
        for instance in listening | found.keys():
            spans = found.get(instance, [])
            shared = spans if shared is None else _both(shared, spans)
    return [(begin, None if end == math.inf else end) for begin, end in shared or ()]


def _both(
    some: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return the times that are in both, the newest of them."""
    later = sorted(others)
    latest = list(accumulate((end for _, end in later), max))
    both: list[tuple[float, float]] = []
    first = 0
    for begin, end in sorted(some):
        while first < len(later) and latest[first] <= begin:
            first += 1  # nor does any before it reach those that come
        for at in range(first, len(later)):
            other_begin, other_end = later[at]
            if other_begin >= end:
                break
            if other_end > begin:
                both.append((max(begin, other_begin), min(end, other_end)))
    return both[-_MOST_SPANS:]


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


def _broken(
    silences: Silences, now: float, connectors: Sequence[Connector]
) -> Iterator[tuple[str, float, float]]:
    """Yield (matter, since, limit) of the networks whose rhythm something should have come by."""
    for network, rhythm in silences.rhythms.items():
        if not rhythm.newest or now < rhythm.newest + LEAST_SILENCE:
            continue
        if rhythm.due_of != rhythm.newest:
            rhythm.due_of, rhythm.due = rhythm.newest, _surprising_from(rhythm)
        if now < rhythm.due:
            continue
        its = [each for each in connectors if each.network == network]
        # Where none listens none is silent, nor who said that there is nothing more to come.
        if all(each.state == "finished" for each in its):
            continue
        yield f"silent_connector|{network}", rhythm.newest, rhythm.due - rhythm.newest


def _lives(network: str, now: float, connectors: Sequence[Connector]) -> bool:
    """Whether every connector of a network gives a sign of life, and does not say that it failed."""
    its = [each for each in connectors if each.network == network]
    return bool(its) and all(_is_alive(each, now) for each in its)


def _is_alive(connector: Connector, now: float) -> bool:
    return (
        connector.state in {"running", "waiting", "starting", "finished"}
        and connector.credential not in {"refresh_failed", "revoked"}
        and now - connector.at <= ALIVE_SECONDS
    )


def _status(network: str, now: float, connectors: Sequence[Connector]) -> tuple[str, str]:
    """Return the connector that a silence is most likely of, and what its status says."""
    its = [each for each in connectors if each.network == network]
    if not its:
        return "", "No status of a connector of this network is known."
    # The one that is worst: not alive before alive, the oldest status first.
    worst = min(its, key=lambda each: (_is_alive(each, now), each.at, each.instance))
    told = datetime.fromtimestamp(worst.at, UTC).isoformat(timespec="seconds")
    said = f"{worst.instance} said {worst.state} at {told}"
    if worst.credential in {"refresh_failed", "revoked"}:
        said += f", its credential is {worst.credential.replace('_', ' ')}"
    if worst.reason:
        said += f": {worst.reason}"
    elif now - worst.at > ALIVE_SECONDS:
        said += ", and nothing since"
    return worst.instance, said[:300]


def _told(
    alarm: Alarm, state: Literal["open", "ended"], now: float, connectors: Sequence[Connector]
) -> Told:
    connector, reason = "", ""
    if alarm.kind == "silent_connector":
        connector, reason = _status(alarm.place, now, connectors)
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
        connector,
        reason,
    )
