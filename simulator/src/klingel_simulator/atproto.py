"""How simulated objects look on Bluesky: identifiers, records, facets.

Pure. Identifiers are well formed and invented: a record key is a TID computed from (seed, key), so
the same seed names the same things; a CID is one of the right form (CIDv1, dag-cbor, sha-256) over
(seed, key, revision), not over the record.
"""

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

from klingel_simulator.people import Person
from klingel_simulator.traffic import Ref, SimulatedObject
from klingel_simulator.truth import to_rfc3339

_ALPHABET: Final = "234567abcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(one + two for one in _ALPHABET for two in _ALPHABET)
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_PAIRS: Final = tuple(one + two for one in _BASE32 for two in _BASE32)
_EPOCH_US: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
REMEMBERED: Final = 16_384
"""Renderings and times kept for duplicates and edits; the model refers back far less."""

K = TypeVar("K")
V = TypeVar("V")

_TAG = re.compile(r"(?<![\w&])#(\w+)")
_LINK = re.compile(r"https://[^\s<>\"']+")
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
COLLECTIONS: Final = {
    "post": "app.bsky.feed.post",
    "reply": "app.bsky.feed.post",
    "quote": "app.bsky.feed.post",
    "repost": "app.bsky.feed.repost",
    "reaction": "app.bsky.feed.like",
}


def to_tid(epoch_us: int, clock: int) -> str:
    """Encode a timestamp identifier: 53 bits of microseconds, 10 bits of clock."""
    number = (epoch_us << 10) | (clock & 0x3FF)
    pairs = _PAIRS
    return (
        f"{_ALPHABET[number >> 60 & 31]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}"
        f"{pairs[number & 1023]}"
    )


@lru_cache(maxsize=8_192)
def to_cid(content: str) -> str:
    """Write a CID (version 1, dag-cbor, sha-256) of some content."""
    raw = b"\x01\x71\x12\x20" + hashlib.sha256(content.encode()).digest()
    # 288 bits and two of padding are 29 pairs of base32 digits; faster than the library's
    number = int.from_bytes(raw, "big") << 2
    return "b" + "".join([_BASE32_PAIRS[number >> shift & 1023] for shift in range(280, -1, -10)])


def to_facets(text: str, mentions: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """Find mentions, hashtags and links; indexes count UTF-8 bytes, as the lexicon wants."""
    spans: list[tuple[int, int, dict[str, str]]] = []
    for handle, did in mentions:
        start = text.find(f"@{handle}")
        if start >= 0:
            feature = {"$type": "app.bsky.richtext.facet#mention", "did": did}
            spans.append((start, start + 1 + len(handle), feature))
    if "#" in text:
        spans += [
            (m.start(), m.end(), {"$type": "app.bsky.richtext.facet#tag", "tag": m[1]})
            for m in _TAG.finditer(text)
        ]
    if "https://" in text:
        spans += [
            (m.start(), m.end(), {"$type": "app.bsky.richtext.facet#link", "uri": m[0]})
            for m in _LINK.finditer(text)
        ]
    return [
        {
            "features": [feature],
            "index": {
                "byteEnd": len(text[:end].encode("utf-8")),
                "byteStart": len(text[:start].encode("utf-8")),
            },
        }
        for start, end, feature in sorted(spans, key=lambda span: span[:2])
    ]


@dataclass(frozen=True, slots=True)
class Commit:
    """A rendered commit: what the stream says of it besides its own position and time.

    ``body`` holds the JSON members rev, operation, collection, rkey, record and cid.
    """

    did: str
    collection: str
    rkey: str
    revision: int
    body: bytes


class BlueskyRenderer:
    """Renders simulated objects as commits; remembers just enough for duplicates and edits."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._clock = int.from_bytes(hashlib.sha256(f"{seed}".encode()).digest()[:2], "big")
        self._created: OrderedDict[int, str] = OrderedDict()
        self._rendered: OrderedDict[tuple[int, int], Commit] = OrderedDict()
        self._last_rev_us: dict[str, int] = {}
        self._edited_rev_us: OrderedDict[int, int] = OrderedDict()

    def rkey(self, key: int) -> str:
        """Compute the record key of a thing."""
        return to_tid(_EPOCH_US + key * 1_000, self._clock)

    def object_id(self, said: SimulatedObject) -> str:
        """Compute the id that a receiver gives the thing.

        A like is known by what it is about, but its deletion names only its own record.
        """
        if said.kind == "reaction" and said.operation != "delete" and said.about is not None:
            uri = self._strong(said.about)["uri"]
            return f"bluesky:network:{uri}/reaction/{said.person.did}/like"
        collection = COLLECTIONS[said.kind]
        return f"bluesky:network:at://{said.person.did}/{collection}/{self.rkey(said.key)}"

    def to_commit(self, said: SimulatedObject, now_us: int) -> Commit:
        """Render one delivery; a duplicate gives the very bytes of the first one.

        ``revision`` of the result is 0 for a creation, else the commit's time in milliseconds.
        """
        known = self._rendered.get((said.key, said.revision))
        if said.repeated and known is not None:
            return known
        rev_us = self._next_rev_us(said, now_us)
        rkey = self.rkey(said.key)
        members: dict[str, Any] = {
            "rev": to_tid(rev_us, self._clock),
            "operation": said.operation,
            "collection": COLLECTIONS[said.kind],
            "rkey": rkey,
        }
        if said.operation != "delete":
            members["record"] = self._record(said, now_us)
            members["cid"] = self._cid(said.ref)
        encoded = _ENCODER.encode(members).encode("utf-8")
        commit = Commit(
            did=said.person.did,
            collection=COLLECTIONS[said.kind],
            rkey=rkey,
            revision=0 if said.operation == "create" else rev_us // 1_000,
            body=encoded[1:-1],
        )
        _keep(self._rendered, (said.key, said.revision), commit)
        return commit

    def _next_rev_us(self, said: SimulatedObject, now_us: int) -> int:
        did = said.person.did
        rev_us = max(now_us, self._last_rev_us.get(did, 0) + 1)
        if said.operation != "create":
            # two edits of one thing never fall into the same millisecond
            rev_us = max(rev_us, self._edited_rev_us.get(said.key, 0) + 1_000)
            _keep(self._edited_rev_us, said.key, rev_us)
        self._last_rev_us[did] = rev_us
        return rev_us

    def _cid(self, ref: Ref) -> str:
        return to_cid(f"{self._seed}/{ref.key}/{ref.revision}")

    def _strong(self, ref: Ref, collection: str = "app.bsky.feed.post") -> dict[str, str]:
        return {"cid": self._cid(ref), "uri": f"at://{ref.did}/{collection}/{self.rkey(ref.key)}"}

    def _record(self, said: SimulatedObject, now_us: int) -> dict[str, Any]:
        created = self._created.get(said.key)
        if created is None:
            created = to_rfc3339(now_us - int(said.lag_seconds * 1_000_000))
            _keep(self._created, said.key, created)
        record: dict[str, Any] = {"$type": COLLECTIONS[said.kind], "createdAt": created}
        if said.kind in {"repost", "reaction"}:
            if said.about is not None:
                record["subject"] = self._strong(said.about)
            return record
        if said.about is not None:
            record["embed"] = {
                "$type": "app.bsky.embed.record",
                "record": self._strong(said.about),
            }
        facets = to_facets(said.text, said.mentions)
        if facets:
            record["facets"] = facets
        record["langs"] = [said.language]
        if said.root is not None and said.parent is not None:
            record["reply"] = {
                "parent": self._strong(said.parent),
                "root": self._strong(said.root),
            }
        record["text"] = said.text
        return record


def to_identity(person: Person, seq: int, now_us: int) -> bytes:
    """Render the JSON members of an identity event."""
    event = {
        "did": person.did,
        "handle": person.handle,
        "seq": seq,
        "time": to_rfc3339(now_us),
    }
    return b'"identity":' + json.dumps(event, separators=(",", ":")).encode("utf-8")


def to_account(person: Person, seq: int, now_us: int, *, active: bool) -> bytes:
    """Render the JSON members of an account event: active, or deactivated for a while."""
    event: dict[str, Any] = {"active": active, "did": person.did, "seq": seq}
    if not active:
        event["status"] = "deactivated"
    event["time"] = to_rfc3339(now_us)
    return b'"account":' + json.dumps(event, separators=(",", ":")).encode("utf-8")


def _keep(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
