"""The source's own list: one line for each thing sent, against which losses are counted."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_EVENTS: Final = {"create": "created", "update": "updated", "delete": "deleted"}


@dataclass(frozen=True, slots=True)
class Sent:
    """One line: ``revision`` as the receiver computes it, ``sent_us`` in epoch microseconds."""

    network: str
    object_id: str
    operation: str
    revision: int
    heard: bool
    sent_us: int


def to_rfc3339(epoch_us: int) -> str:
    """Write epoch microseconds as RFC 3339 in UTC with milliseconds."""
    seconds, micros = divmod(epoch_us, 1_000_000)
    return f"{_to_second(seconds)}.{micros // 1000:03d}Z"


@lru_cache(maxsize=1_024)
def _to_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_line(sent: Sent) -> str:
    """Write one truth line, with its line end."""
    return (
        json.dumps(
            {
                "network": sent.network,
                "object_id": sent.object_id,
                "event": _EVENTS[sent.operation],
                "revision": sent.revision,
                "heard": sent.heard,
                "sent_at": to_rfc3339(sent.sent_us),
            },
            separators=(",", ":"),
        )
        + "\n"
    )


class TruthFile:
    """Writes truth lines to a file, or nowhere when there is no path.

    ``record`` buffers; ``flush`` makes everything recorded visible to readers.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w", encoding="utf-8") if path else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()

    def record(self, sent: Sent) -> None:
        """Add one line."""
        if self._file:
            self._file.write(to_line(sent))

    def flush(self) -> None:
        """Make the recorded lines visible."""
        if self._file:
            self._file.flush()
