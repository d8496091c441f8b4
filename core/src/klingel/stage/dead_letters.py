"""Dead letters: the original bytes, key and headers, with Kafka Connect's error headers.

Header names are those of Kafka Connect's DeadLetterQueueReporter (KIP-298), so that existing tools
read them. Messages are cut at 64 KiB; the rest of the header names (`x-dlq-*`) are klingel's. No
sentence and no stack repeats an author's words.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from klingel.contracts.envelope import (
    SOURCE_HEADER,
    Headers,
    Message,
    Output,
    SourcePosition,
    rfc3339,
)
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage

VALUE_BYTES = 64 * 1024
PREFIX = "__connect.errors."
_ATTEMPT_DIGITS = 6
ORIGINAL_SOURCE_HEADER = "x-dlq-klingel-source"
"""The `klingel-source` that the message itself carried; a redrive puts it back."""


@dataclass(frozen=True, slots=True)
class Component:
    """Who writes the dead letter: service with version, stage and worker."""

    service: str
    stage: str
    holder: str = ""


def kind_of(error: Exception) -> str:
    """Return `x-dlq-kind`: the error type, or `unhandled:<Class>` for an exception of our own."""
    if isinstance(error, InvalidMessage):
        return str(error.error_type)
    return f"unhandled:{type(error).__name__}"


def sentence_of(error: Exception) -> str:
    """Return one sentence without the author's words.

    An InvalidMessage carries such a sentence. What any other exception says may quote the message
    and stays out.
    """
    if isinstance(error, InvalidMessage):
        return f"{error.path}: {error}" if error.path else str(error)
    return f"our own code raised {type(error).__name__}"


def dead_letter(
    message: Message,
    error: Exception,
    component: Component,
    now: datetime,
    *,
    network: str = "",
    ref: str | None = None,
) -> Output:
    """Build the dead letter of a message read from a topic.

    Args:
        message: the message; its key, value and headers are kept as they are.
        error: why.
        component: who says so.
        now: time of the first failure.
        network: network, where known.
        ref: blob store address of the whole original, when it is cut.
    """
    return _output(
        key=message.key,
        value=message.value,
        headers=message.headers,
        where=(str(message.topic), message.partition, message.offset),
        error=error,
        component=component,
        now=now,
        network=network,
        ref=ref,
    )


def dead_letter_from_outside(
    value: bytes,
    key: bytes,
    error: Exception,
    component: Component,
    now: datetime,
    *,
    network: str = "",
    ref: str | None = None,
) -> Output:
    """Build the dead letter of something that never was on a topic: a frame, a line, a delivery."""
    return _output(
        key=key,
        value=value,
        headers=(),
        where=("", -1, -1),
        error=error,
        component=component,
        now=now,
        network=network,
        ref=ref,
    )


def _output(
    *,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    where: tuple[str, int, int],
    error: Exception,
    component: Component,
    now: datetime,
    network: str,
    ref: str | None,
) -> Output:
    body = value or b""
    original_source = next((text for name, text in headers if name == SOURCE_HEADER and text), None)
    own = [
        (PREFIX + "topic", where[0]),
        (PREFIX + "partition", str(where[1])),
        (PREFIX + "offset", str(where[2])),
        (PREFIX + "connector.name", component.service),
        (PREFIX + "task.id", component.holder),
        (PREFIX + "stage", component.stage),
        (PREFIX + "class.name", component.service),
        (PREFIX + "exception.class.name", type(error).__name__),
        (PREFIX + "exception.message", sentence_of(error)),
        ("x-dlq-kind", kind_of(error)),
        ("x-dlq-service", component.service),
        ("x-dlq-first-failed-at", rfc3339(now)),
        ("x-dlq-attempt", str(_attempt(headers) + 1)),
    ]
    if where[0]:
        # Its own position, so that whoever reads dead letters can tell what it has passed.
        own.append((SOURCE_HEADER, SourcePosition(*where, 0).encode().decode()))
    if original_source is not None:
        own.append((ORIGINAL_SOURCE_HEADER, original_source.decode("utf-8", "replace")))
    if network:
        own.append(("x-dlq-network", network))
    own += _cut(body, ref)
    names = {name for name, _ in own}
    kept = tuple(header for header in headers if header[0] not in names)
    return Output(
        topic=Topic.DEAD_LETTERS,
        key=key or b"",
        value=None if value is None else body[:VALUE_BYTES],
        headers=kept + tuple((name, text.encode()) for name, text in own),
    )


def _cut(body: bytes, ref: str | None) -> list[tuple[str, str]]:
    """Return what a letter says of an original of which it holds the beginning alone."""
    if len(body) <= VALUE_BYTES:
        return []
    told = [("x-dlq-size", str(len(body))), ("x-dlq-sha256", hashlib.sha256(body).hexdigest())]
    return told if ref is None else [*told, ("x-dlq-ref", ref)]


def _attempt(headers: Headers) -> int:
    for name, value in headers:
        if name == "x-dlq-attempt" and value and len(value) <= _ATTEMPT_DIGITS and value.isdigit():
            return int(value)
    return 0
