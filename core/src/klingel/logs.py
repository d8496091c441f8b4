"""JSON logs: an event in the past tense and key-values; never an author's words or a secret.

Which keys may be logged is a closed set: what is not in it is replaced by its type, so that a slip
shows in review and not in a customer's data.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SAFE_KEYS = frozenset(
    {
        "event", "level", "timestamp", "component", "stage", "topic", "partition", "partitions",
        "offset", "before", "after", "count", "seconds", "attempt", "reason", "error_type",
        "error_class", "status", "host", "port", "path", "version", "instance", "holder", "epoch",
        "network", "connector", "state", "records", "bytes", "brand", "brands", "index", "signal",
        "group", "member", "waiting_for", "retry_after", "in_flight", "position", "lag", "pid",
        "setting", "file", "line", "outcome", "documents", "templates", "generation", "source", "target", "notification",
    }
)  # fmt: skip


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep the closed set of keys; replace any other value by its type."""
    for key, value in event.items():
        if key not in SAFE_KEYS:
            event[key] = f"<{type(value).__name__}>"
    return event


def _exception_class(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Turn `exc_info` into a class and the places in our code; never the exception's words."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[0] is not None:
        event["error_class"] = info[0].__name__
        places, trace = [], info[2]
        while trace is not None:
            code = trace.tb_frame.f_code
            places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
            trace = trace.tb_next
        event["path"] = " > ".join(places[-8:])
    return event


class _Foreign(logging.Handler):
    """Libraries' log records: logger, level and place; their words may quote a message."""

    def emit(self, record: logging.LogRecord) -> None:
        # Libraries make up levels of their own; ours are the standard ones.
        level = max(logging.DEBUG, min(logging.CRITICAL, record.levelno // 10 * 10))
        structlog.get_logger().log(
            level,
            "library_logged",
            source=record.name,
            path=f"{record.filename}:{record.lineno}",
            error_class=record.exc_info[0].__name__
            if record.exc_info and record.exc_info[0]
            else None,
        )


def configure_logs(component: str, level: str = "info") -> None:
    """Set logs up for a process: JSON lines on standard error, libraries' warnings included."""
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_class,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(component=component)
    root = logging.getLogger()
    root.handlers = [_Foreign()]
    root.setLevel(max(least, logging.WARNING))
