"""What is remembered of a feed between two rounds, as a cursor; pure.

A feed tells all its entries each time. Which are new, changed or gone shows only against what it
told before: for each of the newest entries its key, a hash of what it says, one of its link, packed
into the cursor.
"""

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from klingel.domain.identity import hash64
from klingel.errors import ConfigurationError

KNOWN_MAX: Final = 180
"""Entries that fit a cursor of 4,096 characters beside the validators."""
_VALIDATOR_MAX: Final = 200
_PACKED: Final = struct.Struct(">8s4s4s")


class Known(NamedTuple):
    """An entry as it was told last: its key, and short hashes of its content and its link."""

    key: str
    content: str
    link: str


class Seen(NamedTuple):
    """An entry of the present document, with its place there."""

    at: int
    key: str
    content: str
    link: str


@dataclass(frozen=True, slots=True)
class Memory:
    """A feed as it was told last.

    Attributes:
        etag: of the answer.
        modified: its Last-Modified.
        known: the newest entries, in the document's order.
    """

    etag: str = ""
    modified: str = ""
    known: tuple[Known, ...] = ()

    def encode(self) -> str:
        """Return the cursor."""
        packed = b"".join(
            _PACKED.pack(
                bytes.fromhex(one.key), bytes.fromhex(one.content), bytes.fromhex(one.link)
            )
            for one in self.known[:KNOWN_MAX]
        )
        told = [
            self.etag if len(self.etag) <= _VALIDATOR_MAX else "",
            self.modified if len(self.modified) <= _VALIDATOR_MAX else "",
            base64.b85encode(packed).decode(),
        ]
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def decode(cls, cursor: str) -> "Memory":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            etag, modified, packed = json.loads(cursor)
            known = tuple(
                Known(key.hex(), content.hex(), link.hex())
                for key, content, link in _PACKED.iter_unpack(base64.b85decode(packed))
            )
        except (ValueError, TypeError, struct.error):
            raise ConfigurationError("the stored cursor is not one of a feed") from None
        return cls(str(etag), str(modified), known)


class News(NamedTuple):
    """What a document tells beyond what is known.

    Attributes:
        new: places of entries that are new.
        changed: places of entries that say something else, with the key that they are known by.
        same: places of entries that are known under another key than they tell, with that key.
        vanished: keys of entries that are gone from the midst of the document.
        memory: what to remember.
    """

    new: list[int]
    changed: list[tuple[int, str]]
    vanished: list[str]
    known: tuple[Known, ...]


def compare(before: Sequence[Known], now: Sequence[Seen]) -> News:
    """Return what is new, changed and gone.

    An entry under a new key whose link and words are known is no news: the feed gives its entries
    other ids. One with a known link whose key vanished is that entry, changed. What is missing at the
    old end fell out of the feed's window; what is missing before an entry that is still told was
    taken out.
    """
    by_key = {one.key: one for one in before}
    told = {one.key for one in now}
    lost = {one.link: one for one in before if one.key not in told and one.link != NO_LINK}
    new, changed, found = list[int](), list[tuple[int, str]](), list[Known]()
    for one in now:
        known = by_key.get(one.key) or lost.pop(one.link, None)
        if known is None:
            new.append(one.at)
            found.append(Known(one.key, one.content, one.link))
            continue
        if known.content != one.content:
            changed.append((one.at, known.key))
        found.append(Known(known.key, one.content, one.link))
    kept = {one.key for one in found}
    last = max((at for at, one in enumerate(before) if one.key in kept), default=-1)
    vanished = [one.key for at, one in enumerate(before) if one.key not in kept and at < last]
    return News(new, changed, vanished, tuple(found[:KNOWN_MAX]))


def short(text: str | None) -> str:
    """Return a hash of eight hex digits."""
    return hash64(text or "")[:8]


NO_LINK: Final = short(None)
