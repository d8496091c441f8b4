"""Whether what the sources sent is what was indexed: nothing lost, nothing doubled; pure.

Lost is counted against the source's own list of what it sent, never against a book of ours.

- *lost*: an object that the brand must hear and that is not in the index, is there at another than
  its newest revision, or was deleted and is not emptied.
- *doubled*: documents of one brand that share an object, facts that a brand's cases count twice
  (within one or across several), and events of a case that one cause has under two ids.
"""

import json
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Literal

import msgspec

Change = Literal["created", "updated", "deleted"]

_HASH_BYTES = 8


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One line of a source's own list, in the order in which it sent.

    Attributes:
        object_id: the thing.
        event: what happened to it.
        revision: as the receiver computes it.
        heard: whether the brand must hear it.
    """

    object_id: str
    event: Change
    revision: int
    heard: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """A post as it is indexed.

    Attributes:
        place: index and `_id`.
        brand: whose it is.
        object_id: the thing.
        revision: of the thing.
        emptied: whether it is what remains of a deleted one.
    """

    place: str
    brand: str
    object_id: str
    revision: int
    emptied: bool = False


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """A case as it is indexed.

    Attributes:
        brand: whose it is.
        case_id: the case.
        objects: hash of the object of each fact, also of those that were folded into the summary.
    """

    brand: str
    case_id: str
    objects: tuple[str, ...]


ABOUT: Final = ("clock", "level", "detail", "corrects", "at")
"""Fields of a case event that `told_about` reads."""


def told_about(event: Mapping[str, Any]) -> str:
    """Return what tells a case event from others of its kind that have the same cause.

    Clocks of one name run one after the other, and one late cause may tell of several that they were
    met: each ended at its own time.

    Args:
        event: its document, at least the fields of `ABOUT`.
    """
    names = ABOUT if event["kind"] == "met" else ABOUT[:-1]
    return "/".join(str(event.get(name, "")) for name in names)


@dataclass(frozen=True, slots=True)
class CaseEventRecord:
    """Something that happened to a case, as it is indexed.

    Attributes:
        place: `_id`.
        case_id: the case.
        cause: what caused it.
        kind: what happened.
        about: which clock, level, word of detail or correction it is about; empty for none.
            See `told_about`.
    """

    place: str
    case_id: str
    cause: str
    kind: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judging comes to.

    Attributes:
        sent: things that the brand must hear.
        indexed: of these, those that are in the index as they shall be.
        never_seen: of these, those that had been deleted before they were said; no document.
        lost: a sentence for each lost thing.
        doubled: a sentence for each thing too many.
    """

    sent: int
    indexed: int
    never_seen: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return not self.lost and not self.doubled


@dataclass(slots=True)
class _Expected:
    """What must be in the index of one thing."""

    revision: int
    deleted: bool
    said_first: bool
    """Whether it was said before it was deleted."""


def judge(
    sent: Iterable[Sent],
    documents: Sequence[Document],
    cases: Iterable[CaseRecord],
    case_events: Iterable[CaseEventRecord],
    *,
    brand: str,
) -> Verdict:
    """Compare what was sent with what is indexed.

    Args:
        sent: all sources' lists, each in its order.
        documents: all posts of all brands.
        cases: all cases of all brands.
        case_events: all events of cases.
        brand: who must have heard what was sent.
    """
    expected = _expected(sent)
    held: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        if document.brand == brand:
            held[document.object_id].append(document)
    lost = []
    never_seen = 0
    for object_id, wanted in expected.items():
        if wanted.deleted and not wanted.said_first and object_id not in held:
            never_seen += 1
            continue
        sentence = _missing(object_id, wanted, held.get(object_id, []))
        if sentence:
            lost.append(sentence)
    doubled = (
        *_documents_twice(documents),
        *_facts_twice(cases),
        *_causes_twice(case_events),
    )
    return Verdict(
        sent=len(expected),
        indexed=len(expected) - len(lost) - never_seen,
        never_seen=never_seen,
        lost=tuple(lost),
        doubled=doubled,
    )


def _expected(sent: Iterable[Sent]) -> dict[str, _Expected]:
    expected: dict[str, _Expected] = {}
    for line in sent:
        if not line.heard:
            continue
        deleted = line.event == "deleted"
        known = expected.get(line.object_id)
        if known is None:
            expected[line.object_id] = _Expected(line.revision, deleted, not deleted)
        elif line.revision > known.revision or (line.revision == known.revision and deleted):
            known.revision, known.deleted = line.revision, deleted
    return expected


def _missing(object_id: str, wanted: _Expected, held: Sequence[Document]) -> str | None:
    """Say what is wrong with the documents of one thing; several of them are judged elsewhere."""
    if not held:
        return f"{object_id}: is not in the index"
    newest = max(held, key=lambda document: document.revision)
    if newest.revision != wanted.revision:
        return (
            f"{object_id}: is in the index at revision {newest.revision}, "
            f"the newest is {wanted.revision}"
        )
    if newest.emptied != wanted.deleted:
        state = "was deleted and is not emptied" if wanted.deleted else "is emptied, not deleted"
        return f"{object_id}: {state}"
    return None


def _documents_twice(documents: Iterable[Document]) -> Iterator[str]:
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for document in documents:
        places[document.brand, document.object_id].append(document.place)
    for (brand, object_id), of in places.items():
        for place in sorted(of)[1:]:
            yield f"{object_id}: another document of {brand} is {place}"


def _facts_twice(cases: Iterable[CaseRecord]) -> Iterator[str]:
    counted: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for case in cases:
        for fact in case.objects:
            key = (case.brand, fact)
            counted[key] += 1
            if counted[key] == 1:
                first[key] = case.case_id
            else:
                yield f"fact {fact}: counted by {first[key]} and once more by {case.case_id}"


def _causes_twice(case_events: Iterable[CaseEventRecord]) -> Iterator[str]:
    places: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    for event in case_events:
        places[event.case_id, event.cause, event.kind, event.about].add(event.place)
    for (case_id, cause, kind, _), of in places.items():
        for place in sorted(of)[1:]:
            yield f"{case_id}: {kind} by {cause} stands once more as {place}"


def folded_objects(hashes: str) -> Iterator[str]:
    """Yield the object hashes of a case's summary: base64 of 8 bytes each, in hex."""
    packed = b64decode(hashes)
    for start in range(0, len(packed), _HASH_BYTES):
        yield packed[start : start + _HASH_BYTES].hex()


def read_truth(lines: Iterable[bytes]) -> Iterator[Sent]:
    """Yield a simulator's list; raises msgspec.DecodeError for a line that is none."""
    decoder = msgspec.json.Decoder(Sent)
    for line in lines:
        yield decoder.decode(line)


def read_recording(lines: Iterable[bytes], source: str) -> Iterator[Sent]:
    """Yield what a recording of generic events must come to; lines that are none are left out.

    Args:
        lines: of the file.
        source: the replay's source, part of the ids.
    """
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        for one in event if isinstance(event, list) else [event]:
            if isinstance(one, dict) and isinstance(one.get("id"), str):
                change = one.get("change", "created")
                last = 2**42 - 1 if change == "deleted" else 0
                yield Sent(f"replay:{source}:{one['id']}", change, one.get("revision", last))


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that `share` of all do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)]
