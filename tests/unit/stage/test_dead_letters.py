"""Dead letters: bytes, key and headers as they were, Kafka Connect's headers, nobody's words."""

import hashlib
from datetime import UTC, datetime

import pytest

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.stage.dead_letters import (
    VALUE_BYTES,
    Component,
    dead_letter,
    dead_letter_from_outside,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CARE = Component(service="klingel-care/0.1.0", stage="care", holder="care-0")
SECRET = "my password is hunter2"


def letter(error: Exception, value: bytes | None = b"{}", headers=()) -> dict[str, str]:
    """Return the headers of a dead letter."""
    message = Message(Topic.SOCIAL_EVENTS, 3, 42, b"key", value, headers)
    output = dead_letter(message, error, CARE, NOW, network="bluesky")
    assert (output.topic, output.key) == (Topic.DEAD_LETTERS, b"key")
    assert len({name for name, _ in output.headers}) == len(output.headers)
    return {name: text.decode() for name, text in output.headers}


def test_the_headers_are_those_of_kafka_connect() -> None:
    """KIP-298's names, so that existing tools read them."""
    headers = letter(InvalidMessage(ErrorType.WRONG_TYPE, "Expected `str`", path="text"))
    connect = {
        name.removeprefix("__connect.errors."): text
        for name, text in headers.items()
        if name.startswith("__connect.errors.")
    }
    assert connect == {
        "topic": "social-events",
        "partition": "3",
        "offset": "42",
        "connector.name": "klingel-care/0.1.0",
        "task.id": "care-0",
        "stage": "care",
        "class.name": "klingel-care/0.1.0",
        "exception.class.name": "InvalidMessage",
        "exception.message": "text: Expected `str`",
    }
    assert headers["x-dlq-kind"] == "wrong_type"
    assert headers["x-dlq-network"] == "bluesky"
    assert headers["x-dlq-attempt"] == "1"
    assert headers["x-dlq-first-failed-at"] == "2026-03-02T12:00:00.000Z"


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), UnicodeError(SECRET)])
def test_the_words_of_any_other_exception_stay_out(error: Exception) -> None:
    """They may quote the message: the class says enough."""
    headers = letter(error)
    assert headers["x-dlq-kind"] == f"unhandled:{type(error).__name__}"
    assert SECRET not in str(headers)


def test_headers_of_the_message_are_kept() -> None:
    """Whoever redrives it needs them; our own names are said once."""
    headers = letter(
        ZeroDivisionError(), headers=(("ce_id", b"x@0"), ("x-dlq-attempt", b"2"), ("other", b"1"))
    )
    assert (headers["ce_id"], headers["other"]) == ("x@0", "1")
    assert headers["x-dlq-attempt"] == "3"


def test_a_large_message_is_cut_and_measured() -> None:
    """64 KiB of it are kept; size and hash tell what the whole was."""
    value = b"x" * (VALUE_BYTES + 1)
    message = Message(Topic.RAW_EVENTS, 0, 1, b"k", value)
    output = dead_letter(message, ValueError(), CARE, NOW, ref="ab/cd")
    headers = dict(output.headers)
    assert output.value == value[:VALUE_BYTES]
    assert headers["x-dlq-size"] == b"65537"
    assert headers["x-dlq-sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert headers["x-dlq-ref"] == b"ab/cd"


def test_a_message_that_fits_is_whole() -> None:
    """Neither size nor hash nor reference: there is nothing to look up."""
    value = b"x" * VALUE_BYTES
    output = dead_letter(Message(Topic.RAW_EVENTS, 0, 1, None, value), ValueError(), CARE, NOW)
    assert output.value == value
    assert output.key == b""
    assert not {"x-dlq-size", "x-dlq-sha256", "x-dlq-ref"} & dict(output.headers).keys()


def test_a_tombstone_stays_a_tombstone() -> None:
    """Its value is None, not empty."""
    message = Message(Topic.SOCIAL_EVENTS, 0, 1, b"k", None)
    assert dead_letter(message, ValueError(), CARE, NOW).value is None


def test_what_never_was_on_a_topic_has_no_place() -> None:
    """A delivery or a line of a file: offset and partition are -1."""
    error = InvalidMessage(ErrorType.MALFORMED_JSON, "not JSON")
    output = dead_letter_from_outside(b"{", b"webhook-1", error, CARE, NOW)
    headers = dict(output.headers)
    assert headers["__connect.errors.topic"] == b""
    assert headers["__connect.errors.partition"] == b"-1"
    assert headers["__connect.errors.offset"] == b"-1"
    assert output.value == b"{"
