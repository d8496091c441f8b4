"""The records that more than one service writes: each has one shape, whoever writes it.

Key, identity, subject and placement are the contract of `schemas/topics`; who writes, what caused it
and, where the record itself does not say it, when, is the writer's to tell.
"""

from datetime import datetime

from klingel.contracts import codec
from klingel.contracts.envelope import Output, SourcePosition, ce_headers, trace_id
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.identity import event_id
from klingel.domain.identity_links import link_key
from klingel.model import (
    CaseCommand,
    ConnectorStatus,
    IdentityLink,
    MediaJob,
    RawEvent,
    SocialEvent,
)


def raw_output(
    raw: RawEvent, source: str, *, time: datetime | None = None, trace: str | None = None
) -> Output:
    """Return the record of a raw event, keyed by its object (K2).

    Args:
        raw: the event.
        source: the writer's `ce_source`.
        time: of the writing, where that is not the receipt.
        trace: that it belongs to; None for its object's own.
    """
    return Output(
        topic=Topic.RAW_EVENTS,
        key=raw.object_id.encode(),
        value=codec.encode(raw),
        headers=ce_headers(
            Topic.RAW_EVENTS,
            event_id=raw.event_id,
            source=source,
            subject=raw.object_id,
            time=time or raw.received_at,
            trace=trace or trace_id(raw.object_id),
        ),
    )


def social_output(
    event: SocialEvent,
    source: str,
    *,
    trace: str | None = None,
    caused_by: SourcePosition | None = None,
) -> Output:
    """Return the record of a social event; it lies with its brand's conversation.

    Args:
        event: as one brand hears it.
        source: the writer's `ce_source`.
        trace: that it belongs to; None for its object's own.
        caused_by: position of what it was heard from.
    """
    return Output(
        topic=Topic.SOCIAL_EVENTS,
        key=event.event_id.encode(),
        value=codec.encode(event),
        headers=ce_headers(
            Topic.SOCIAL_EVENTS,
            event_id=event.event_id,
            source=source,
            subject=event.object_id,
            time=event.received_at,
            trace=trace or trace_id(event.object_id),
            caused_by=caused_by,
        ),
        partition_key=conversation_key(event.brand, event.conversation_id),
    )


def command_output(
    command: CaseCommand,
    source: str,
    *,
    about: str | None = None,
    caused_by: SourcePosition | None = None,
) -> Output:
    """Return the record of a command; it lies with the conversation that it is given to.

    Args:
        command: what care is to do.
        source: the giver's `ce_source`.
        about: object that it follows from; None where a person gave it.
        caused_by: position of what it follows from.
    """
    return Output(
        topic=Topic.CASE_COMMANDS,
        key=command.command_id.encode(),
        value=codec.encode(command),
        headers=ce_headers(
            Topic.CASE_COMMANDS,
            event_id=command.command_id,
            source=source,
            subject=command.conversation_id,
            time=command.at,
            trace=trace_id(about or command.conversation_id),
            caused_by=caused_by,
        ),
        partition_key=conversation_key(command.brand, command.conversation_id),
    )


def link_output(told: IdentityLink, source: str, *, about: str | None = None) -> Output:
    """Return the record of a link of two ids, or of one that is taken back.

    Args:
        told: the link.
        source: the teller's `ce_source`.
        about: object that told it; None where a person did.
    """
    key = link_key(told)
    return Output(
        topic=Topic.IDENTITY_LINKS,
        key=key,
        value=codec.encode(told),
        headers=ce_headers(
            Topic.IDENTITY_LINKS,
            event_id=key.decode(),
            source=source,
            subject=key.decode(),
            time=told.first_seen,
            trace=trace_id(about or key.decode()),
        ),
    )


def media_job_output(
    job: MediaJob,
    source: str,
    *,
    time: datetime,
    trace: str | None = None,
    caused_by: SourcePosition | None = None,
) -> Output:
    """Return the record of a media job; each attempt has an identity of its own.

    Args:
        job: what is to be fetched.
        source: the writer's `ce_source`.
        time: of the writing.
        trace: of the job before it, or of the event; None for the object's own.
        caused_by: position of the event whose media they are.
    """
    return Output(
        topic=Topic.MEDIA_JOBS,
        key=job.object_id.encode(),
        value=codec.encode(job),
        headers=ce_headers(
            Topic.MEDIA_JOBS,
            event_id=f"{event_id(job.object_id, job.revision)}#{job.attempt or 0}",
            source=source,
            subject=job.object_id,
            time=time,
            trace=trace or trace_id(job.object_id),
            caused_by=caused_by,
        ),
    )


def status_output(status: ConnectorStatus, source: str) -> Output:
    """Return the record by which a connector tells how it stands.

    Args:
        status: of one instance, or of one gap of it.
        source: the teller's `ce_source`.
    """
    at = int(status.at.timestamp() * 1000)
    return Output(
        topic=Topic.CONNECTOR_STATUS,
        key=status.instance.encode(),
        value=codec.encode(status),
        headers=ce_headers(
            Topic.CONNECTOR_STATUS,
            event_id=f"{status.instance}@{at}",
            source=source,
            subject=status.instance,
            time=status.at,
            trace=trace_id(status.instance),
        ),
    )
