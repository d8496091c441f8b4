"""CloudEvents 1.0 in Kafka's binary mode: attributes are headers, the value is the data alone.

Source: CloudEvents Kafka protocol binding 1.0.2, sections 3.1 and 3.2. Beside them stand
`traceparent` (W3C trace context) and `klingel-source`, the position of the message that caused
this one: `<topic>/<partition>/<offset>/<ordinal>`. The next stage tells by it what it has passed
already.

What a timer causes has no such message. `klingel-cause` names the timer, and `klingel-source` holds
a position in a log that exists in the books alone: the timers of a stage and number, counted as
they fire (`klingel.stage.timers`).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b

import msgspec

from klingel.contracts.topics import Topic, topic_specs
from klingel.errors import InvariantViolation

Headers = tuple[tuple[str, bytes], ...]

SOURCE_HEADER = "klingel-source"
CAUSE_HEADER = "klingel-cause"
QUEUE_HEADER = "klingel-queue"
ERASED_HEADER = "klingel-erased"
TRACE_HEADER = "traceparent"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDS = rb"(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rb"00-" + _IDS)
_LATER_TRACEPARENT = re.compile(rb"(?!00|ff)[0-9a-f]{2}-" + _IDS + rb"(?:-[\x21-\x7e]{0,200})?")


class SourcePosition(msgspec.Struct, frozen=True, gc=False):
    """Which message caused a record, and which of its records this is."""

    topic: str
    partition: int
    offset: int
    ordinal: int

    def encode(self) -> bytes:
        """Return the header's value."""
        # An enum is formatted at twice the cost of a string.
        return f"{self.topic!s}/{self.partition}/{self.offset}/{self.ordinal}".encode()

    @classmethod
    def decode(cls, value: bytes) -> "SourcePosition":
        """Read a header's value; raises InvariantViolation, since only klingel writes it."""
        try:
            topic, partition, offset, ordinal = value.decode().rsplit("/", 3)
            return cls(topic, int(partition), int(offset), int(ordinal))
        except ValueError as error:
            raise InvariantViolation("a klingel-source header is not a position") from error


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record as read: `topic` is the logical name, `timestamp_ms` the broker's.

    A Struct, as Output: one is made for every record, and a frozen dataclass takes ten times as
    long to make.
    """

    topic: Topic
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0

    def header(self, name: str) -> bytes | None:
        """Return the first header of this name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Output(msgspec.Struct, frozen=True, gc=False):
    """A record to be written.

    The partition is `partition` where given, else that of `partition_key`, else that of `key`
    (murmur2, as every Kafka client). `instead` names a topic that is none of ours (`queue_topic`)
    which it is written to, shaped and placed as a record of `topic`.
    """

    topic: Topic
    key: bytes
    value: bytes | None
    headers: Headers = ()
    partition_key: bytes | None = None
    partition: int | None = None
    instead: str | None = None


def rfc3339(at: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with milliseconds."""
    # isoformat is written in C; strftime costs ten times as much, on every record.
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def trace_id(identity: str) -> str:
    """Return a W3C trace id (32 hex digits) that everything said of one object shares."""
    return blake2b(identity.encode(), digest_size=16).hexdigest()


def incoming_trace(traceparent: bytes | str | None) -> str | None:
    """Return the trace id of a `traceparent` from outside; None where it is none, or hostile.

    W3C Trace Context, level 1, section 3.2: of a later version only the parts of the first are
    read, version 255 is forbidden, and ids of zeros mean nothing.
    """
    if traceparent is None:
        return None
    if isinstance(traceparent, str):
        traceparent = traceparent.encode("ascii", "replace")
    # Nearly all are ours and of the first version.
    found = _TRACEPARENT.fullmatch(traceparent) or _LATER_TRACEPARENT.fullmatch(traceparent)
    return None if found is None else found[1].decode()


def trace_of(message: Message, identity: str) -> str:
    """Return the trace that a message belongs to, or that of what it is about.

    Args:
        message: as read.
        identity: object or case, for a message without a trace.
    """
    return incoming_trace(message.header(TRACE_HEADER)) or trace_id(identity)


def ce_headers(
    topic: Topic,
    *,
    event_id: str,
    source: str,
    subject: str,
    time: datetime,
    trace: str,
    caused_by: SourcePosition | None = None,
    extra: Sequence[tuple[str, bytes]] = (),
) -> Headers:
    """Build the headers of one record.

    Args:
        topic: decides `ce_type`.
        event_id: deterministic `ce_id`.
        source: `ce_source`, such as `klingel/understand`.
        subject: `ce_subject`, the object or case.
        time: `ce_time`, when the thing was received or decided.
        trace: trace id shared by all records of one object.
        caused_by: position of the message that caused this record.
        extra: further headers.
    """
    identity = event_id.encode()
    ce_type, ce_source = _constant_headers(topic, source)
    span = _SPAN.copy()  # a third cheaper than a new one
    span.update(identity + ce_source[1])
    headers: Headers = (
        _SPECVERSION,
        ("ce_id", identity),
        ce_type,
        ce_source,
        _time_header(time),
        ("ce_subject", subject.encode()),
        _CONTENT_TYPE,
        (TRACE_HEADER, f"00-{trace}-{span.hexdigest()}-01".encode()),
    )
    if caused_by is not None:
        headers += ((SOURCE_HEADER, caused_by.encode()),)
    return (*headers, *extra) if extra else headers


def timer_headers(
    topic: Topic,
    *,
    event_id: str,
    source: str,
    subject: str,
    time: datetime,
    trace: str,
    cause: str,
    extra: Sequence[tuple[str, bytes]] = (),
) -> Headers:
    """Build the headers of a record that a timer causes (`Logic.tick`).

    Whoever runs the tick adds the source position.

    Args:
        topic: decides `ce_type`.
        event_id: deterministic `ce_id`: of what was due, never of the time at which it was noticed.
        source: `ce_source`, such as `klingel/care`.
        subject: `ce_subject`, the object or case.
        time: `ce_time`, when it was decided.
        trace: trace id shared by all records of one object.
        cause: deterministic id of the timer, such as a case's id, its clock and its deadline.
        extra: further headers.
    """
    return ce_headers(
        topic,
        event_id=event_id,
        source=source,
        subject=subject,
        time=time,
        trace=trace,
        extra=((CAUSE_HEADER, cause.encode()), *extra),
    )


_SPAN = blake2b(digest_size=8)
_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/json")


@lru_cache(maxsize=1024)
def _constant_headers(topic: Topic, source: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """Return type and source, which a stage writes alike on every record of a topic."""
    ce_type = f"klingel.{topic_specs()[topic].event}"
    return ("ce_type", ce_type.encode()), ("ce_source", source.encode())


@lru_cache(maxsize=64)
def _time_header(time: datetime) -> tuple[str, bytes]:
    """Return the time; all records of a message, and often of a batch, carry the same."""
    return ("ce_time", rfc3339(time).encode())
