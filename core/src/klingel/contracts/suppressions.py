"""The records that tell of erasures, the same whoever writes and reads them."""

from datetime import datetime

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.errors import InvalidMessage
from klingel.model import Suppression
from klingel.settings import ErasureSettings

_DONE = "|done"


def nobody_yet(erasure: ErasureSettings | None) -> Suppressed:
    """Return what is known of erasures before the topic is read, with the deployment's key."""
    secret = None if erasure is None else erasure.key
    return Suppressed(None if secret is None else Key(secret.get_secret_value()))


def take_suppression(suppressed: Suppressed, message: Message) -> bool:
    """Take a record of `suppressions`; returns whether it could be read."""
    if message.key is None:
        return False
    try:
        known = None if message.value is None else codec.decode(Suppression, message.value)
    except InvalidMessage:
        return False
    suppressed.take(message.key, known)
    return True


def done_output(record: Suppression, done_at: datetime, source: str) -> Output:
    """Return what tells that nothing of an erasure's subject was found any more.

    It lies beside the suppression, under a key of its own: one that is demanded meanwhile must not
    be written over. Whoever does not know `done_at` reads the same suppression again.

    Args:
        record: what was carried out.
        done_at: when the last look found nothing.
        source: the writer's `ce_source`.
    """
    told = suppression_output(msgspec.structs.replace(record, done_at=done_at), source)
    return msgspec.structs.replace(told, key=f"{record.subject}{_DONE}".encode())


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
