"""The record that tells of an erasure, the same whoever writes it."""

from klingel.contracts import codec
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.model import Suppression


def suppression_output(record: Suppression, source: str) -> Output:
    """Return the record of a suppression; it names nothing by which somebody could be found.

    Neither trace nor source position of what demanded it: that one names the person.

    Args:
        record: who was erased, and when.
        source: the writer's `ce_source`.
    """
    identity = f"{record.subject}@{int(record.erased_at.timestamp() * 1000)}"
    return Output(
        topic=Topic.SUPPRESSIONS,
        key=record.subject.encode(),
        value=codec.encode(record),
        headers=ce_headers(
            Topic.SUPPRESSIONS,
            event_id=identity,
            source=source,
            subject=record.subject,
            time=record.erased_at,
            trace=trace_id(identity),
        ),
    )
