"""Which objects of a network klingel keeps: for those that demand what is gone to be dropped.

The directory knows every object that a brand has heard, for as long as its document may live, and
which of them were deleted. It is read as a stream: only the ids that are asked for are held.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec
from kafka.errors import KafkaError

from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.settings import KafkaSettings
from klingel_connectors.cursor import read_whole

Record = tuple[bytes, bytes | None]
Read = Callable[[KafkaSettings, str], Iterable[Record]]


class _Entry(msgspec.Struct, gc=False):
    """Of a directory entry what tells whether the object is kept."""

    brands: dict[str, str] = {}
    deleted: bool | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


def kept(records: Iterable[Record], prefix: str) -> set[str]:
    """Return what follows `prefix` in the ids of the objects that are kept: pure.

    Args:
        records: of the directory, in order for each key; the last one counts.
        prefix: how the ids begin, such as `x:network:`.
    """
    begin = prefix.encode()
    found: set[str] = set()
    for key, value in records:
        if not key.startswith(begin):
            continue
        name = key[len(begin) :].decode("utf-8", "replace")
        if _is_kept(value):
            found.add(name)
        else:
            found.discard(name)
    return found


def _is_kept(value: bytes | None) -> bool:
    if value is None:
        return False
    try:
        entry = _ENTRY.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return bool(entry.brands) and not entry.deleted


def _directory(kafka: KafkaSettings, instance: str) -> Iterator[Record]:
    return read_whole(kafka, Topic.OBJECT_DIRECTORY, f"{instance}-kept", committed=True)


def kept_ids(
    kafka: KafkaSettings, instance: str, prefix: str, *, read: Read = _directory
) -> Iterator[str]:
    """Yield what follows `prefix` in the ids of the objects that are kept. Blocks.

    Args:
        kafka: how to reach it.
        instance: of the connector that asks.
        prefix: how the ids begin.
        read: yields the directory's records.

    Raises:
        SourceUnavailable: the directory could not be read to its end.
    """
    try:
        found = kept(read(kafka, instance), prefix)
    except KafkaError:
        raise SourceUnavailable("the directory of what was heard cannot be read") from None
    yield from found
