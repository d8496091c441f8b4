"""Logs: JSON lines with a closed set of keys; nobody's words, whoever logs."""

import io
import json
import logging
import sys

import pytest
import structlog

from klingel.errors import ErrorType, InvalidMessage
from klingel.logs import SAFE_KEYS, configure_logs, redact

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def _as_before():
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(monkeypatch):
    """Return what was logged so far."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    configure_logs("care", "info")

    def read() -> list[dict]:
        assert CANARY not in printed.getvalue()
        return [json.loads(line) for line in printed.getvalue().splitlines()]

    return read


def fail(error: Exception) -> None:
    """Raise."""
    raise error


def test_a_line_is_json_with_component_level_and_time(lines) -> None:
    """One object a line."""
    structlog.get_logger().info("partition_opened", partition=3, offset=42)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "partition_opened",
        "level": "info",
        "component": "care",
        "partition": 3,
        "offset": 42,
    }


@pytest.mark.parametrize("key", ["text", "handle", "author", "token", "body", "message", "error"])
def test_any_other_key_is_replaced_by_its_type(lines, key: str) -> None:
    """A slip shows the type of what must not be seen."""
    structlog.get_logger().warning("slipped", **{key: CANARY, "count": 1})
    (line,) = lines()
    assert line[key] == "<str>"
    assert line["count"] == 1


def test_the_safe_keys_hold_no_place_for_words() -> None:
    """A name that invites a text, a handle or a secret is never safe."""
    words = {"text", "handle", "name", "author", "customer", "token", "secret", "password", "key"}
    assert words.isdisjoint(SAFE_KEYS)
    assert redact(None, "", {"event": "x", "text": CANARY}) == {"event": "x", "text": "<str>"}


def test_an_exception_is_its_class_and_our_places(lines) -> None:
    """Its sentence may quote a message."""
    try:
        fail(InvalidMessage(ErrorType.SCHEMA, CANARY))
    except InvalidMessage:
        structlog.get_logger().exception("failed")
    (line,) = lines()
    assert line["error_class"] == "InvalidMessage"
    assert "test_logs.py:" in line["path"]


def test_an_exception_object_is_taken_too(lines) -> None:
    """As `exc_info=error`."""
    structlog.get_logger().error("failed", exc_info=ValueError(CANARY))
    assert lines()[0]["error_class"] == "ValueError"


@pytest.mark.parametrize("level", [30, 40, 50, 33, 45])
def test_libraries_lose_their_words(lines, level: int) -> None:
    """Logger, level and place remain; also of levels that a library made up."""
    logging.getLogger("aiokafka.consumer").log(level, "cannot decode %s", CANARY)
    (line,) = lines()
    assert (line["event"], line["source"]) == ("library_logged", "aiokafka.consumer")
    assert line["path"].startswith("test_logs.py:")


def test_a_librarys_traceback_is_its_class(lines) -> None:
    """As asyncio logs a task whose exception nobody fetched."""
    try:
        fail(ValueError(CANARY))
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved: %r", CANARY)
    assert lines()[0]["error_class"] == "ValueError"


def test_chatter_below_the_level_is_not_logged(lines) -> None:
    """Libraries say warnings and worse, we ourselves from the level on."""
    logging.getLogger("kafka").info("%s", CANARY)
    structlog.get_logger().debug("detail", text=CANARY)
    assert lines() == []
