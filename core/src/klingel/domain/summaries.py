"""What facts come to that are folded away: which they were, and two such sums joined.

Joining commutes, and joining what is known already changes nothing: a case that merges brings its
summary along, by which way ever and how often it arrives.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable
from functools import lru_cache

from msgspec import structs

from klingel.model.case import Fact, Summary, Turns

MAX_FOLDED = 1_024
"""Objects that a summary remembers; then the generation ends."""
_HASH_BYTES = 8


@lru_cache(maxsize=16)
def _bytes_of(hashes: str) -> bytes:
    """Return packed hashes as bytes; of one case they are asked for several times in a row."""
    return b64decode(hashes)


def is_folded(summary: Summary, object_hash: str) -> bool:
    """Whether a summary remembers this object."""
    wanted = bytes.fromhex(object_hash)
    hashes = _bytes_of(summary.hashes)
    at = hashes.find(wanted)
    while at >= 0 and at % _HASH_BYTES:
        at = hashes.find(wanted, at + 1)
    return at >= 0


def check(summary: Summary) -> None:
    """Raise ValueError where the objects of a summary that others sent are none."""
    packed = b64decode(summary.hashes, validate=True)
    if len(packed) % _HASH_BYTES or len(packed) > MAX_FOLDED * _HASH_BYTES:
        raise ValueError("objects are packed in rows of 8 bytes")


def with_hash(hashes: str, object_hash: str) -> str:
    """Append an object to packed hashes, forgetting the oldest beyond `MAX_FOLDED`."""
    packed = _bytes_of(hashes) + bytes.fromhex(object_hash)
    return b64encode(packed[-MAX_FOLDED * _HASH_BYTES :]).decode()


def _unpacked(hashes: str) -> list[str]:
    packed = b64decode(hashes).hex()
    width = 2 * _HASH_BYTES
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def _packed(hashes: Iterable[str]) -> str:
    return b64encode(bytes.fromhex("".join(hashes))[-MAX_FOLDED * _HASH_BYTES :]).decode()


def without(summary: Summary, facts: Collection[Fact]) -> Summary | None:
    """Return a summary but for facts that are at hand; None where nothing is left of it."""
    remembered = _unpacked(summary.hashes)
    at_hand = {fact.object: fact for fact in facts}
    left = [each for each in remembered if each not in at_hand]
    if len(left) == len(remembered):
        return summary
    if not left:
        return None
    gone = [at_hand[each] for each in remembered if each in at_hand]
    outbound = (summary.outbound or 0) - sum(fact.direction == "outbound" for fact in gone)
    return structs.replace(
        summary,
        hashes=_packed(left),
        count=max(0, summary.count - len(gone)),
        outbound=max(0, outbound) or None,
    )


def joined(one: Summary, other: Summary) -> Summary:
    """Return what both come to; of what both remember the greater sum counts.

    The case is open where either is, waits since either does, and was opened by the earlier.
    """
    known = set(_unpacked(one.hashes))
    further = [each for each in _unpacked(other.hashes) if each not in known]
    if not further:
        return one
    if known <= set(_unpacked(other.hashes)):
        return other
    apart = len(further) == len(_unpacked(other.hashes))
    first = min(one, other, key=lambda each: (each.opened_at, each.last_object))
    last = max(one, other, key=lambda each: (each.last_at, each.last_object))
    both = one, other
    closed = [each for each in both if each.closed_at is not None]
    ended = max(closed, key=lambda each: each.last_at) if len(closed) == len(both) else None
    waiting = [each.waiting_since for each in both if each.waiting_since is not None]
    answered = [each.first_response_at for each in both if each.first_response_at is not None]
    firsts = [each.first_at for each in both if each.first_at is not None]
    outbound = [each.outbound or 0 for each in both]
    return structs.replace(
        first,
        hashes=_packed(sorted({*known, *further})),
        count=one.count + other.count if apart else max(len(known) + len(further), one.count),
        outbound=(sum(outbound) if apart else max(outbound)) or None,
        first_at=min(firsts, default=None),
        last_at=last.last_at,
        last_object=last.last_object,
        first_response_at=min(answered, default=None),
        waiting_since=min(waiting, default=None) if ended is None else None,
        closed_at=ended.closed_at if ended is not None else None,
        closed_because=ended.closed_because if ended is not None else None,
        turns=_turns(one.turns, other.turns, apart=apart),
    )


def _turns(one: Turns | None, other: Turns | None, *, apart: bool) -> Turns | None:
    if one is None or other is None:
        return one or other
    if not apart:
        return max(one, other, key=lambda each: (each.count, each.wall_seconds or 0.0))
    return Turns(
        count=one.count + other.count,
        late=(one.late or 0) + (other.late or 0) or None,
        business_seconds=(one.business_seconds or 0.0) + (other.business_seconds or 0.0),
        wall_seconds=(one.wall_seconds or 0.0) + (other.wall_seconds or 0.0),
        longest_seconds=max(one.longest_seconds or 0.0, other.longest_seconds or 0.0),
    )
