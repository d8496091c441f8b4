"""What watch says, as the records that others read; pure."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import structs

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Headers, Output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain import alerting, pile_on, silences
from klingel.domain.identity import case_id, deterministic_id, object_of
from klingel.domain.incidents import Changed, Joined, Linked, Post, Snapshot
from klingel.domain.signals import at_time
from klingel.model import Alert, CaseCommand, Incident
from klingel.model.alert import Evidence
from klingel.model.alert import TermCount as AlertTerm
from klingel.model.base import Record
from klingel.model.incident import TermCount
from klingel_processors.watch.memory import Says

BY = "watch"
FIRST_GENERATION = 1
"""Of a case; which one is open, only care knows."""
MOST_TARGETS = 16
_INTERVAL_SECONDS = 300
_LONGEST_TERM = 80

Spare = Callable[[Iterable[str]], list[str]]
"""Leaves out events that were erased."""
HeadersOf = Callable[[Topic, str, str], Headers]
"""Headers of a record: topic, id, subject."""


def records(
    says: Says, brand: CompiledBrand, headers: HeadersOf, spare: Spare = list
) -> list[Output]:
    """Return the records of one thing that watch says; none where nobody is concerned.

    Args:
        says: what it says.
        brand: of whom.
        headers: of each record.
        spare: examples pass through it.
    """
    if isinstance(says, Joined | Linked):
        command = _joined(says, brand) if isinstance(says, Joined) else _linked(says, brand)
        if command is None:
            return []
        place = conversation_key(brand.brand, command.conversation_id)
        return [_output(Topic.CASE_COMMANDS, command.command_id, command, place, headers)]
    place = brand.brand.encode()
    if isinstance(says, Changed):
        incident = incident_record(says.incident, brand, spare)
        return [_output(Topic.INCIDENTS, incident.incident_id, incident, place, headers)]
    if isinstance(says, alerting.Alert):
        alert = alert_record(says, brand, spare)
    elif isinstance(says, pile_on.Told):
        alert = pile_on_record(says, brand, spare)
    else:
        alert = silence_record(says, brand)
    return [_output(Topic.ALERTS, alert.alert_id, alert, place, headers)]


def _output(topic: Topic, key: str, record: Record, place: bytes, headers: HeadersOf) -> Output:
    revision = getattr(record, "revision", None)
    identity = key if revision is None else f"{key}.{revision}"
    return Output(
        topic=topic,
        key=key.encode(),
        value=codec.encode(record),
        headers=headers(topic, identity, key),
        partition_key=place,
    )


def incident_record(incident: Snapshot, brand: CompiledBrand, spare: Spare = list) -> Incident:
    """Return an incident as it is published."""
    return Incident(
        incident_id=incident.incident_id,
        brand=brand.brand,
        kind=incident.kind,
        lang=incident.lang,
        state=incident.state,
        revision=incident.revision,
        opened_at=at_time(incident.opened_at),
        updated_at=at_time(incident.updated_at),
        ended_at=None if incident.ended_at is None else at_time(incident.ended_at),
        count=incident.posts,
        authors=incident.authors,
        growth_per_hour=incident.growth_per_hour,
        samples=spare(incident.samples),
        terms=[TermCount(term=term[:_LONGEST_TERM], count=n) for term, n in incident.terms],
        intents=list(incident.intents) or None,
        topics=list(incident.topics) or None,
        networks=dict(incident.networks) or None,
        targets=list(brand.told_of("incident")[:MOST_TARGETS]) or None,
        config_version=brand.version,
    )


def alert_record(alert: alerting.Alert, brand: CompiledBrand, spare: Spare = list) -> Alert:
    """Return an early warning as it is published; a mild one is kept and nobody is told."""
    evidence = alert.evidence
    posts = alert.posts
    return Alert(
        alert_id=deterministic_id("alert", brand.brand, alert.alert_id),
        brand=brand.brand,
        kind=alert.kind,
        topic=alert.topic or None,
        tone=None if alert.kind == "volume" else alert.kind,
        state="ended" if alert.change == "ended" else "open",
        severity=alert.severity,
        revision=alert.revision,
        opened_at=at_time(alert.began_at),
        updated_at=at_time(alert.updated_at),
        ended_at=None if alert.ended_at is None else at_time(alert.ended_at),
        longevity_seconds=alert.longevity_seconds,
        baseline=alert.baseline,
        interval_seconds=_INTERVAL_SECONDS,
        evidence=Evidence(
            terms=[
                AlertTerm(term=each.term[:_LONGEST_TERM], count=round(each.share * posts))
                for each in evidence.terms[:20]
            ],
            events=spare(evidence.examples[:20]),
            wave_size=posts,
            copies=evidence.copies,
            authors=evidence.unique_authors,
            reach=int(evidence.reach),
            negative_share=min(1.0, evidence.negative_share),
            networks=dict(evidence.networks),
        ),
        targets=_targets(brand, alert.severity),
        config_version=brand.version,
    )


def pile_on_record(told: pile_on.Told, brand: CompiledBrand, spare: Spare = list) -> Alert:
    """Return an alarm about a thread as it is published."""
    return _alarm(
        told,
        brand,
        kind="pile_on",
        tone="negative",
        network=told.network or None,
        conversation_id=told.conversation,
        baseline=told.before,
        observed=told.authors,
        interval_seconds=int(pile_on.RECENT_SECONDS),
        evidence=Evidence(
            events=spare(told.examples),
            wave_size=told.words,
            authors=told.authors,
            reach=int(told.reach),
            negative_share=told.negative_share,
        ),
    )


def silence_record(told: silences.Told, brand: CompiledBrand) -> Alert:
    """Return an alarm about silence as it is published."""
    network, _, channel = told.place.partition(":")
    return _alarm(
        told,
        brand,
        kind=told.kind,
        network=network or None,
        channel=told.connector[:256] or channel or None,
        reason=told.reason or None,
    )


def _alarm(told: silences.Told | pile_on.Told, brand: CompiledBrand, **about: Any) -> Alert:
    """Return what every alarm tells of its course, and what it is about."""
    end = told.at if told.ended_at is None else told.ended_at
    return Alert(
        alert_id=told.alert_id,
        brand=brand.brand,
        state=told.state,
        severity=told.severity,
        revision=told.revision,
        opened_at=at_time(told.since),
        updated_at=at_time(told.at),
        ended_at=None if told.ended_at is None else at_time(told.ended_at),
        longevity_seconds=max(0.0, end - told.since),
        targets=_targets(brand, told.severity),
        config_version=brand.version,
        **about,
    )


def _targets(brand: CompiledBrand, severity: int) -> list[str] | None:
    if severity < brand.alerts.min_severity:
        return None
    return list(brand.told_of("early_warning")[:MOST_TARGETS]) or None


def _joined(joined: Joined, brand: CompiledBrand) -> CaseCommand | None:
    """Return the command that makes a customer's case one of an incident's."""
    if joined.post.customer is None:
        return None
    command = _command("incident_joined", joined.post, joined.at, brand, joined.incident_id)
    return structs.replace(command, target=joined.incident_id)


def _linked(linked: Linked, brand: CompiledBrand) -> CaseCommand | None:
    """Return the command that joins a customer's two conversations, or links two customers'."""
    if linked.post.customer is None:
        return None
    if linked.same_author:
        command = _command("merge", linked.post, linked.at, brand, linked.of)
        return structs.replace(
            command,
            into_conversation_id=linked.conversation,
            into_customer_id=linked.customer,
        )
    command = _command("similar_to", linked.post, linked.at, brand, linked.of)
    other = case_id(brand.brand, linked.conversation, linked.customer, FIRST_GENERATION)
    return structs.replace(command, target=other)


def _command(kind: str, post: Post, at: float, brand: CompiledBrand, cause: str) -> CaseCommand:
    return CaseCommand(
        command_id=deterministic_id(BY, brand.brand, kind, post.id, cause),
        brand=brand.brand,
        conversation_id=post.conversation,
        customer_id=post.customer,
        object_id=object_of(post.id),
        kind=kind,  # type: ignore[arg-type] # one of the schema's words
        at=at_time(at),
        by=BY,
        cause=cause[:1024],
    )
