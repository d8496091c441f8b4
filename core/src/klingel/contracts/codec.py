"""Bytes to message shapes and back; the one place where our own JSON is read and written."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec

from klingel.contracts.patterns import BACKSLASH, Check, checks
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import (
    Alert,
    BrandConfig,
    BrandSignals,
    Case,
    CaseCommand,
    CaseEvent,
    ChatReply,
    ConnectorCursor,
    ConnectorLease,
    ConnectorStatus,
    ConversationLink,
    DeadLetter,
    DirectoryEntry,
    Escalation,
    IdentityLink,
    Incident,
    LedgerCheckpoint,
    LedgerLine,
    MarkBatch,
    MediaJob,
    Notification,
    RawEvent,
    RoutedEvent,
    SocialEvent,
    Suppression,
    TrackedConversation,
    WatchState,
)
from klingel.model.base import Record

R = TypeVar("R", bound=Record)

SHAPES: dict[Topic, type[Record]] = {
    Topic.RAW_EVENTS: RawEvent,
    Topic.OBJECT_DIRECTORY: DirectoryEntry,
    Topic.UNTHREADED_EVENTS: RawEvent,
    Topic.CONVERSATION_LINKS: ConversationLink,
    Topic.IDENTITY_LINKS: IdentityLink,
    Topic.UNDERSTAND_MARKS: MarkBatch,
    Topic.SOCIAL_EVENTS: SocialEvent,
    Topic.CASES: Case,
    Topic.TRACKED_CONVERSATIONS: TrackedConversation,
    Topic.SUPPRESSIONS: Suppression,
    Topic.CASE_EVENTS: CaseEvent,
    Topic.CASE_COMMANDS: CaseCommand,
    Topic.ESCALATIONS: Escalation,
    Topic.BRAND_SIGNALS: BrandSignals,
    Topic.ALERTS: Alert,
    Topic.INCIDENTS: Incident,
    Topic.WATCH_STATE: WatchState,
    Topic.MEDIA_JOBS: MediaJob,
    Topic.CHAT_OUTBOX: ChatReply,
    Topic.NOTIFICATIONS: Notification,
    Topic.ROUTED_EVENTS: RoutedEvent,
    Topic.CONNECTOR_STATUS: ConnectorStatus,
    Topic.CONNECTOR_CURSORS: ConnectorCursor,
    Topic.CONNECTOR_LEASES: ConnectorLease,
    Topic.BRAND_CONFIG: BrandConfig,
    Topic.STAGE_LEDGER: LedgerLine,
    Topic.AUDIT_CHECKPOINTS: LedgerCheckpoint,
    Topic.DEAD_LETTERS: DeadLetter,
}

_ENCODER = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """Return the record as JSON bytes; absent fields are omitted."""
    return _ENCODER.encode(record)


@cache
def _reader(shape: type[R]) -> tuple[Callable[[bytes], R], Check | None, Check | None]:
    """Return what decodes a shape, and what checks its patterns with a backslash and without."""
    return msgspec.json.Decoder(shape).decode, *checks(shape)


def _raw_event_has_an_original(record: Any) -> None:
    if record.native is None and record.native_ref is None:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD, "a raw event needs native or native_ref", path="native"
        )


# What a schema says and a Struct cannot: `anyOf` over required fields.
_CHECKS: dict[type[Record], Callable[[Any], None]] = {RawEvent: _raw_event_has_an_original}


def decode(shape: type[R], value: bytes | None) -> R:
    """Read one message.

    Raises:
        InvalidMessage: not JSON, not of this shape, or a tombstone where a value is due. The
            sentence names the path and the expected type, never the content.
    """
    if value is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "the message has no value")
    read, check_escaped, check_plain = _reader(shape)
    try:
        record: R = read(value)
    except msgspec.ValidationError as error:
        raise InvalidMessage(ErrorType.SCHEMA, safe_sentence(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(ErrorType.MALFORMED_JSON, safe_sentence(error)) from None
    except RecursionError:
        raise InvalidMessage(ErrorType.TOO_DEEP, "the message is nested too deeply") from None
    check_patterns = check_escaped if BACKSLASH in value else check_plain
    broken = check_patterns(record) if check_patterns is not None else None
    if broken is not None:
        path, pattern = broken
        raise InvalidMessage(
            ErrorType.SCHEMA, f"Expected `str` matching regex {pattern!r} - at `${path}`"
        )
    check = _CHECKS.get(shape)
    if check is not None:
        check(record)
    return record


def safe_sentence(error: Exception) -> str:
    """Return msgspec's sentence without values: what it quotes of a message is cut out.

    msgspec names types, paths and byte positions; only an invalid enum value or an unknown
    discriminator is quoted, after the words "Invalid enum value".
    """
    if isinstance(error, UnicodeDecodeError):
        return "the message is not UTF-8"
    sentence = str(error)
    if sentence.startswith("Invalid enum value"):
        return (
            "Invalid enum value" + sentence[sentence.rfind(" - at ") :]
            if " - at " in sentence
            else "Invalid enum value"
        )
    return sentence
