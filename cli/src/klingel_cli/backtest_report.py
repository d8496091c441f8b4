"""What a backtest came to: cases, routing, response times, breaches, escalations, alerts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Alert, Case, CaseEvent, Escalation, Incident, RoutedEvent
from klingel.stage.fates import Fate
from klingel_cli.backtesting import Backtest, spread
from klingel_cli.shell import Shell

_STATES = ("open", "waiting", "snoozed", "closed")


def report_of(test: Backtest) -> dict[str, Any]:
    """Return the report as plain data; the same input and brand give the same, to the byte."""
    cases = [
        case
        for value in test.newest(Topic.CASES).values()
        if (case := codec.decode(Case, value)).state != "held"
        and case.closed_because != "withdrawn"
    ]
    routed = [codec.decode(RoutedEvent, each.value) for each in test.records(Topic.ROUTED_EVENTS)]
    happened = [codec.decode(CaseEvent, each.value) for each in test.records(Topic.CASE_EVENTS)]
    return {
        "brand": test.brand.brand,
        "config_version": test.brand.version,
        "from": _told(test.heard.first),
        "to": _told(test.heard.last),
        "events": _events(test),
        "triage": _counted(each.decision.triage for each in routed),
        "routing": _counted(each.decision.rule or "-" for each in routed if each.decision.case_id),
        "cases": _cases(cases),
        "clocks": _clocks(cases),
        "case_events": _counted(each.kind for each in happened),
        "escalations": _escalations(test),
        "alerts": _alerts(test),
        "incidents": _incidents(test),
    }


def _told(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _events(test: Backtest) -> dict[str, Any]:
    fates = test.heard.fates
    heard = sum(
        count
        for (stage, fate, _), count in fates.items()
        if stage == "understand" and fate == Fate.DELIVERED
    )

    def by_reason(wanted: Fate) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (stage, fate, reason), count in fates.items():
            if fate == wanted:
                found[f"{stage}: {reason}"] += count
        return dict(sorted(found.items()))

    return {
        "read": test.heard.read,
        "refused": dict(sorted(test.heard.refused.items())),
        "heard": heard,
        "discarded": by_reason(Fate.DISCARDED),
        "dead_lettered": by_reason(Fate.DEAD_LETTERED),
    }


def _cases(cases: list[Case]) -> dict[str, Any]:
    return {
        "opened": len(cases),
        "by_state": {state: sum(case.state == state for case in cases) for state in _STATES},
        "by_queue": _counted(case.queue or "-" for case in cases),
        "unanswered": sum(case.first_response_at is None for case in cases),
        "in_incidents": sum(case.incident is not None for case in cases),
    }


def _clocks(cases: list[Case]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ("first_response", "next_response", "resolution"):
        clocks = [clock for case in cases for clock in case.clocks or () if clock.name == name]
        met = [clock for clock in clocks if clock.met_at is not None]
        told[name] = {
            "started": len(clocks),
            "in_time": sum(clock.state == "met" for clock in clocks),
            "late": sum(clock.state == "met_late" for clock in clocks),
            "breached": sum(name in (case.late or ()) for case in cases),
            "business": spread([clock.business_seconds or 0.0 for clock in met]),
            "wall": spread([clock.wall_seconds or 0.0 for clock in met]),
        }
    return told


def _escalations(test: Backtest) -> list[dict[str, Any]]:
    newest = [codec.decode(Escalation, value) for value in test.newest(Topic.ESCALATIONS).values()]
    counted = Counter((each.level, each.target, each.reason, each.state) for each in newest)
    return [
        {"level": level, "target": target, "reason": reason, "state": state, "count": count}
        for (level, target, reason, state), count in sorted(counted.items())
    ]


def _alerts(test: Backtest) -> list[dict[str, Any]]:
    newest = [codec.decode(Alert, value) for value in test.newest(Topic.ALERTS).values()]
    newest.sort(key=lambda alert: (alert.opened_at, alert.alert_id))
    return [
        {
            "alert": alert.alert_id,
            "kind": alert.kind,
            "topic": alert.topic,
            "tone": alert.tone,
            "severity": alert.severity,
            "opened_at": _told(alert.opened_at),
            "ended_at": _told(alert.ended_at),
            "observed": alert.observed,
            "baseline": alert.baseline,
            "terms": [each.term for each in _terms(alert)],
            "authors": alert.evidence.authors if alert.evidence is not None else None,
            "wave_size": alert.evidence.wave_size if alert.evidence is not None else None,
        }
        for alert in newest
    ]


def _terms(alert: Alert) -> list[Any]:
    evidence = alert.evidence
    return list(evidence.terms or ()) if evidence is not None else []


def _incidents(test: Backtest) -> list[dict[str, Any]]:
    newest = [codec.decode(Incident, value) for value in test.newest(Topic.INCIDENTS).values()]
    newest.sort(key=lambda incident: (incident.opened_at, incident.incident_id))
    return [
        {
            "incident": incident.incident_id,
            "kind": incident.kind,
            "opened_at": _told(incident.opened_at),
            "ended_at": _told(incident.ended_at),
            "count": incident.count,
            "authors": incident.authors,
            "terms": [each.term for each in incident.terms or ()],
        }
        for incident in newest
    ]


def say(shell: Shell, report: Mapping[str, Any]) -> None:
    """Print a report for people."""
    events, cases = report["events"], report["cases"]
    shell.say(
        f"brand {report['brand']} (version {report['config_version']}), "
        f"{report['from']} to {report['to']}"
    )
    shell.say(
        f"{events['read']:,} events read, {events['heard']:,} heard; {cases['opened']:,} cases, "
        f"{cases['unanswered']:,} of them never answered"
    )
    for title, counted in (
        ("cannot be read", events["refused"]),
        ("why", report["triage"]),
        ("queue", cases["by_queue"]),
        ("rule", report["routing"]),
        ("discarded", events["discarded"]),
        ("dead letters", events["dead_lettered"]),
    ):
        if counted:
            shell.say("")
            shell.table((title, "#count"), list(counted.items()))
    shell.say("")
    clocks = [
        (
            name.replace("_", " "),
            clock["started"],
            clock["in_time"],
            clock["late"],
            clock["breached"],
            _minutes(clock["business"]),
            _minutes(clock["wall"]),
        )
        for name, clock in report["clocks"].items()
        if clock["started"]
    ]
    shell.table(
        ("clock", "#started", "#in time", "#late", "#breached", "#median open", "#median"), clocks
    )
    _say_lists(shell, report)


def _say_lists(shell: Shell, report: Mapping[str, Any]) -> None:
    if report["escalations"]:
        shell.say("")
        rows = [tuple(each.values()) for each in report["escalations"]]
        shell.table(("level", "target", "reason", "state", "#count"), rows)
    if report["alerts"]:
        shell.say("")
        rows = [
            (
                each["opened_at"],
                each["kind"],
                each["topic"] or "-",
                each["severity"],
                each["authors"],
                ", ".join(each["terms"][:4]),
            )
            for each in report["alerts"]
        ]
        shell.table(("alert from", "kind", "topic", "#severity", "#authors", "terms"), rows)
    if report["incidents"]:
        shell.say("")
        rows = [
            (
                each["opened_at"],
                each["kind"],
                each["count"],
                each["authors"],
                ", ".join(each["terms"][:4]),
            )
            for each in report["incidents"]
        ]
        shell.table(("incident from", "kind", "#posts", "#authors", "terms"), rows)


def _minutes(spread_: Mapping[str, Any]) -> str:
    median = spread_.get("median_seconds")
    return "-" if median is None else f"{median / 60:.0f} min"


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every figure in which two reports differ: path, first, second; lists by their length."""
    return list(_differ("", first, second))


def _differ(path: str, first: object, second: object) -> Iterable[dict[str, Any]]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}):
            yield from _differ(
                f"{path}.{key}" if path else str(key), first.get(key), second.get(key)
            )
    elif isinstance(first, list) and isinstance(second, list):
        if first != second:
            yield {"path": path, "first": len(first), "second": len(second)}
    elif first != second:
        yield {"path": path, "first": first, "second": second}
