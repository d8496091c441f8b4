"""What is told of an escalation, an alert or an incident: sentences, facts and stable labels.

Pure: the same record gives the same notice for ever, since its id and revision are the idempotency
key under which it is sent, perhaps more than once. No clock, no configuration, no post and no
handle goes in; terms of evidence do, with everything taken out of them that a display could obey.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from klingel.model import Alert, Escalation, Incident

NoticeKind = Literal["escalation", "alert", "incident"]
KINDS: Final[tuple[NoticeKind, ...]] = ("escalation", "alert", "incident")
Noticed = Escalation | Alert | Incident

LONGEST_VALUE: Final = 300
"""Characters of one fact; ids are longer at most where a network's own are."""
MOST_TERMS: Final = 5
MOST_SAMPLES: Final = 3
_DAY: Final = 86_400
_HOUR: Final = 3_600
_MINUTE: Final = 60

_CLOCKS: Final = {
    "first_response": "First response",
    "next_response": "Next response",
    "resolution": "Resolution",
}
_ESCALATION_STATES: Final = {
    "raised": "",
    "acknowledged": "Acknowledged: ",
    "withdrawn": "Withdrawn: ",
    "ended": "Over: ",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """What there is to tell of one revision of one record.

    Attributes:
        kind: what kind of record it is.
        id: of the record.
        revision: of the record.
        brand: whose it is.
        state: of the record, in its own words.
        over: whether it has come to its end.
        title: one sentence without a full stop.
        facts: label and value, for people, in the order in which they matter.
        starts_at: beginning.
        ends_at: end, None while it lasts; see `end_of`.
        said_at: newest time that the record tells.
        labels: what never changes from revision to revision.
        gist: see `gist_of`.
    """

    kind: NoticeKind
    id: str
    revision: int
    brand: str
    state: str
    over: bool
    title: str
    facts: tuple[tuple[str, str], ...]
    starts_at: datetime
    ends_at: datetime | None
    said_at: datetime
    labels: tuple[tuple[str, str], ...]
    gist: str

    @property
    def key(self) -> str:
        """The idempotency key: kind, id and revision."""
        return f"{self.kind}_{self.id}_{self.revision}"


def notice_of(record: Noticed) -> Notice:
    """Return what is told of a record."""
    if isinstance(record, Escalation):
        return _of_escalation(record)
    if isinstance(record, Alert):
        return _of_alert(record)
    return _of_incident(record)


def gist_of(record: Noticed) -> str:
    """Return what people want to be told again when it changes; at most 200 characters."""
    if isinstance(record, Escalation):
        return f"{record.state}:{record.reason}:{record.clock or ''}"
    if isinstance(record, Alert):
        return f"{record.state}:{record.severity}"
    # At every doubling: each new post is a revision.
    return f"{record.state}:{record.count.bit_length()}"


def end_of(record: Noticed) -> datetime | None:
    """Return when it came to its end, None while it lasts.

    An escalation tells no time of its end; that of its last writing is the nearest.
    """
    if isinstance(record, Escalation):
        over = record.state in {"withdrawn", "ended"}
        return max(record.at, record.recorded_at) if over else None
    return (record.ended_at or record.updated_at) if record.state == "ended" else None


def identity_of(record: Noticed) -> tuple[NoticeKind, str]:
    """Return kind and id of a record."""
    if isinstance(record, Escalation):
        return "escalation", record.escalation_id
    if isinstance(record, Alert):
        return "alert", record.alert_id
    return "incident", record.incident_id


def targets_of(record: Noticed) -> tuple[str, ...]:
    """Return who is to be told, each once, in the record's order."""
    if isinstance(record, Escalation):
        return (record.target,)
    return tuple(dict.fromkeys(target for target in record.targets or () if target))


def plain(text: str) -> str:
    """Return text that a display cannot obey: one line, no control or direction characters."""
    kept = "".join(
        " " if character.isspace() else character
        for character in text[: 4 * LONGEST_VALUE]
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Co", "Cn"}
    )
    kept = " ".join(kept.split())
    return kept if len(kept) <= LONGEST_VALUE else kept[: LONGEST_VALUE - 1] + "…"


def clock_time(at: datetime) -> str:
    """Return a time as it stands in notifications: `2026-03-18 08:41 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def lasting(seconds: float) -> str:
    """Return a duration for people, its two largest units: `3 h 20 min`."""
    whole = max(0, int(seconds))
    parts = (
        (whole // _DAY, "d"),
        (whole % _DAY // _HOUR, "h"),
        (whole % _HOUR // _MINUTE, "min"),
        (whole % _MINUTE, "s"),
    )
    first = next((place for place, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    told = [f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount]
    return " ".join(told) or "0 s"


def _facts(found: Iterable[tuple[str, str | None]]) -> tuple[tuple[str, str], ...]:
    told = ((label, plain(value)) for label, value in found if value is not None)
    return tuple((label, value) for label, value in told if value)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}".removesuffix(".0")


def _time(at: datetime | None) -> str | None:
    return None if at is None else clock_time(at)


def _networks(counts: dict[str, int] | None) -> str | None:
    ordered = sorted((counts or {}).items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{plain(name)} {count}" for name, count in ordered[:MOST_TERMS]) or None


# ---------------------------------------------------------------------- escalations


def _of_escalation(record: Escalation) -> Notice:
    over = record.state in {"withdrawn", "ended"}
    return Notice(
        kind="escalation",
        id=record.escalation_id,
        revision=record.revision,
        brand=record.brand,
        state=record.state,
        over=over,
        title=plain(_ESCALATION_STATES[record.state] + _escalated(record)),
        facts=_facts(
            (
                ("Case", record.case_id),
                ("State", record.state),
                ("Acknowledged by", record.acknowledged_by),
                ("Level", record.level),
                ("Queue", record.queue),
                ("Priority", _number(record.priority)),
                ("Assignee", record.assignee),
                ("Network", record.network),
                ("Channel", record.channel),
                ("Waiting since", _time(record.waiting_since)),
                ("Clock", _CLOCKS[record.clock].lower() if record.clock else None),
                ("Deadline", _time(record.deadline)),
                ("Policy", record.policy),
                (
                    "Note",
                    "provisional: not everything said before was read when the clock rang"
                    if record.provisional
                    else None,
                ),
            )
        ),
        starts_at=record.at,
        ends_at=end_of(record),
        said_at=max(record.at, record.recorded_at),
        labels=(
            ("alertname", "KlingelEscalation"),
            ("brand", record.brand),
            ("level", plain(record.level)),
            ("klingel_id", record.escalation_id),
        ),
        gist=gist_of(record),
    )


def _escalated(record: Escalation) -> str:
    case = f"a case in {record.queue}" if record.queue else "a case"
    clock = _CLOCKS[record.clock] if record.clock else "An answer"
    due = f" at {clock_time(record.deadline)}" if record.deadline else ""
    sentences = {
        "warned": f"{clock} of {case} is due{due or ' soon'}",
        "breached": f"{clock} of {case} is late{f': it was due{due}' if due else ''}",
        "rule": f"A rule asks for attention to {case}",
        "early_warning": f"An early warning includes {case}",
        "incident": f"An incident includes {case}",
        "late_unanswered": f"A customer's word after the closing of {case} has no answer",
        "not_acknowledged": f"Nobody has acknowledged {case}",
    }
    return sentences[record.reason]


# ---------------------------------------------------------------------- alerts


def _of_alert(record: Alert) -> Notice:
    evidence = record.evidence
    terms = (evidence.terms if evidence else None) or []
    over = record.state == "ended"
    return Notice(
        kind="alert",
        id=record.alert_id,
        revision=record.revision,
        brand=record.brand,
        state=record.state,
        over=over,
        title=plain(("Over: " if over else "") + _alarmed(record)),
        facts=_facts(
            (
                ("Severity", f"{record.severity} of 10"),
                ("State", record.state),
                ("Topic", record.topic),
                ("Queue", record.queue),
                ("Network", record.network),
                ("Channel", record.channel),
                ("Thread", record.conversation_id),
                ("Since", clock_time(record.opened_at)),
                ("Ended", _time(record.ended_at)),
                ("Observed", _observed(record)),
                ("Terms", ", ".join(f"{plain(each.term)} ({each.count})" for each in terms[:5])),
                ("Posts", _number(evidence.wave_size) if evidence else None),
                ("Authors", _number(evidence.authors) if evidence else None),
                ("Reach", _number(evidence.reach) if evidence else None),
                (
                    "Negative",
                    f"{evidence.negative_share:.0%}"
                    if evidence and evidence.negative_share is not None
                    else None,
                ),
                ("Networks", _networks(evidence.networks) if evidence else None),
            )
        ),
        starts_at=record.opened_at,
        ends_at=end_of(record),
        said_at=max(record.opened_at, record.updated_at, record.ended_at or record.opened_at),
        labels=(
            ("alertname", "KlingelEarlyWarning"),
            ("brand", record.brand),
            ("kind", record.kind),
            *((("topic", plain(record.topic)),) if record.topic else ()),
            ("klingel_id", record.alert_id),
        ),
        gist=gist_of(record),
    )


def _observed(record: Alert) -> str | None:
    if record.observed is None:
        return None
    found = f"{_number(record.observed)}"
    if record.interval_seconds:
        found += f" in {lasting(record.interval_seconds)}"
    if record.baseline is not None:
        found += f", expected {_number(record.baseline)}"
    return found


def _alarmed(record: Alert) -> str:
    about = f"about {record.topic}" if record.topic else f"about {record.brand}"
    where = f"in {record.queue}" if record.queue else f"at {record.brand}"
    source = " ".join(each for each in (record.network, record.channel) if each) or record.brand
    long = (
        f" for {lasting(record.longevity_seconds)}" if record.longevity_seconds is not None else ""
    )
    # What its status says now is no news of a silence that is over.
    why = (record.reason or "").rstrip(".") if record.state != "ended" else ""
    sentences = {
        "negative": f"Negative posts {about} are rising (severity {record.severity})",
        "volume": f"Posts {about} are rising (severity {record.severity})",
        "positive": f"Praise {about} is spreading (severity {record.severity})",
        "dormant_channel": f"Nothing has come through {source}{long}",
        "silent_connector": f"Connector {source} has been silent{long}{f': {why}' if why else ''}",
        "nobody_answered": f"Nobody has answered {where}{long}",
        "oldest_unanswered": f"A customer {where} has been waiting{long}",
        "pile_on": f"Customers are piling on in one thread about {record.brand}"
        f" (severity {record.severity})",
    }
    return sentences[record.kind]


# ---------------------------------------------------------------------- incidents


def _of_incident(record: Incident) -> Notice:
    over = record.state == "ended"
    what = "say the same" if record.kind == "copies" else "have the same question"
    return Notice(
        kind="incident",
        id=record.incident_id,
        revision=record.revision,
        brand=record.brand,
        state=record.state,
        over=over,
        title=plain(
            f"{'Over: ' if over else ''}{record.authors} customers of {record.brand} {what}"
        ),
        facts=_facts(
            (
                ("Incident", record.incident_id),
                ("State", record.state),
                ("Posts", _number(record.count)),
                ("Authors", _number(record.authors)),
                ("In the newest hour", _number(record.growth_per_hour)),
                (
                    "Terms",
                    ", ".join(
                        f"{plain(each.term)} ({each.count})"
                        for each in (record.terms or [])[:MOST_TERMS]
                    ),
                ),
                ("Intents", ", ".join(record.intents or []) or None),
                ("Topics", ", ".join(record.topics or []) or None),
                ("Language", record.lang),
                ("Since", clock_time(record.opened_at)),
                ("Ended", _time(record.ended_at)),
                ("Networks", _networks(record.networks)),
            )
        ),
        starts_at=record.opened_at,
        ends_at=end_of(record),
        said_at=max(record.opened_at, record.updated_at, record.ended_at or record.opened_at),
        labels=(
            ("alertname", "KlingelIncident"),
            ("brand", record.brand),
            ("klingel_id", record.incident_id),
        ),
        gist=gist_of(record),
    )
