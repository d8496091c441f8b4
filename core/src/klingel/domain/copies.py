"""Was this said before, word for word? Reposts, copies and cut copies in a sliding window.

    window = CopyWindow()
    window.add(Entry("x::1", "Mein Router blinkt rot, seit gestern geht gar nichts", at=0.0))
    window.add(Entry("x::2", "RT @a: Mein Router blinkt rot, seit gestern ge…", at=60.0))
    # Link(kind="containment", of="x::1", score=1.0, ...)

Three kinds of link, the first that holds is given:

- `repost`: the network says so, by the id of what was reposted.
- `fingerprint`: the same words in the same order, after `comparable` has folded what copies differ
  in (case, white space, punctuation, addresses, mentions, `RT @x:`).
- `containment`: of the smaller one's shingles (4 code points) at least `CONTAINED` occur in the other
  one, and the smaller one is a copy of the whole or of the beginning; the exact rule is `compare`.

A text that contains another one and has much of its own to say is no copy of it: that is how one
quotes. What the network calls a reply or a quote is never linked to what it answers. A quote by hand
(`So true! RT @x: …`) counts with its own words only.

What is remembered is bounded in time, entries and bytes. `compare` is exact and does not depend on
the order of its arguments. Which pairs are compared is decided by an index over pairs of words and
over beginnings: a table in which the newest text that has one displaces the older ones. It finds cut
reposts, whose similarity in the sense of Jaccard is low, which is what MinHash indexes cannot do:
the figures are in `docs/reference/duplicates.md`. It may miss a pair; what it finds is checked.
"""

import re
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, Self, TypeVar
from zlib import crc32

import msgspec

from klingel.domain.identity import hash64
from klingel.domain.rule_text import words_of
from klingel.domain.window_export import read_export, write_export

CONTAINED: Final = 0.8
"""Least share of the smaller text's shingles that the larger one has."""

SHINGLE: Final = 4
"""Code points of a shingle."""

SHORT: Final = 30
"""With fewer different shingles a whole text is linked by nothing but its fingerprint."""

SHORT_CUT: Final = 16
"""As SHORT, for a text that says that it was cut off."""

TELLING: Final = 14
"""With fewer letters the same words are a copy only of the same author's (danke, emoji alone)."""

LONG: Final = 80
"""From so many shingles on, the beginning of another text is a copy of it, marked as cut or not."""

ALIKE: Final = 0.6
"""Least size of the smaller text, relative to the larger one, unless it is its beginning."""

COMPARED: Final = 2_000
"""Code points of a comparable text that containment looks at; the fingerprint sees all."""

SHARED_WORDS: Final = 0.5
"""Texts that share less of the smaller one's different words are not compared."""

FEW_PAIRS: Final = 3
"""A text with more pairs of words is compared with those that share at least two with it."""

LOOKED_AT: Final = 4
"""Most remembered texts that one text is compared with."""

_ALIGNED = 12
_LAST_ADDRESSES = 8
_BEGINNINGS = (16, 19, 23, 28, 34, 41, 49, 59, 71, 85, 102, 122, 146, 175, 210, 252)
_PIECES = tuple(map(slice, (0, *_BEGINNINGS), _BEGINNINGS))
_SLOTS = 1 << 12
_SLOTS_A_PAIR = 2
_MOST_SLOTS = 1 << 24
_ENTRY_BYTES = 640
_MAGIC = b"klingel-copies\x01"

LinkKind = Literal["repost", "fingerprint", "containment"]
_K = TypeVar("_K", bound=Hashable)

# Both begin with one set of letters, which the engine looks for by itself: five times as fast as by
# IGNORECASE. \u017f is an s by it.
_ADDRESS = re.compile(
    r"[hHwW](?:(?<=[hH])[tT][tT][pP][sS\u017f]?:|(?<=[wW])[wW][wW]\.)\S*",
)
_MENTION = re.compile(r"[@\uff20]\w[\w.\-]*")
_REPOSTED = re.compile(r"\s*(?:RT\s*[@\uff20]\w+(?:\s?:)?\s*)+")
_QUOTED_BY_HAND = re.compile(r"\sRT\s*[@\uff20]\w")
_CUT_ADDRESS = re.compile(r"\b(?:https?|htt|ht|h|www|ww|w)$", re.IGNORECASE)
_ENTITIES = (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"))


class Comparable(NamedTuple):
    """A text in the form in which texts are compared.

    Args:
        words: folded, in their order.
        cut: whether the text says that its end is missing.
        marked: whether the text says that it repeats somebody (`RT @x:`).
    """

    words: tuple[str, ...]
    cut: bool
    marked: bool

    @property
    def text(self) -> str:
        """The words in one line."""
        return " ".join(self.words)

    @property
    def fingerprint(self) -> str:
        """64 bits over the words, in hex; equals a social event's where there is nothing to fold."""
        return hash64(*self.words)


class Entry(NamedTuple):
    """One post as the window sees it.

    Args:
        id: of the object, not of its revision: an edit replaces what the object said.
        text: as said.
        at: seconds since 1970 at which it was published.
        author: id of the author (of the customer, where one is known across networks); None if
            nobody knows, which equals no other.
        network: name of the network.
        reposts: id of what it reposts.
        quotes: id of what it quotes.
        in_reply_to: id of what it answers.
    """

    id: str
    text: str
    at: float
    author: str | None = None
    network: str | None = None
    reposts: str | None = None
    quotes: str | None = None
    in_reply_to: str | None = None


class Link(NamedTuple):
    """What an entry is a copy of.

    Args:
        kind: how we know.
        of: id of the first one of its group.
        score: containment, 0..1; 1.0 for the other kinds.
        same_author: whether the first one is by the same author.
        same_network: whether it was said on the same network; True where one is unknown.
        own: id of an earlier one of the group by the same author, if there is any: the same author
            saying the same twice, whoever said it first.
    """

    kind: LinkKind
    of: str
    score: float
    same_author: bool
    same_network: bool
    own: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a window.

    Args:
        seconds: how long after its last repetition a text is remembered.
        entries: most posts remembered.
        megabytes: most memory of texts and entries, by estimate; the index adds at most 4 bytes for
            about two places for each pair of words and beginning of a text (some 20).
    """

    seconds: float = 48 * 3600.0
    entries: int = 100_000
    megabytes: float = 128.0

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.entries > 0 and self.megabytes > 0):
            raise ValueError("The bounds of a window of copies are positive.")


def comparable(text: str, terms: Sequence[str] | None = None) -> Comparable:
    """Fold what copies of a text differ in: `RT @x:`, mentions, addresses, case, signs, the cut end.

    Time is linear in the length; every text has a result. Words are those of listening rules.

    Args:
        text: as said.
        terms: its words, where they are known; in a text with nothing else to fold they are it.
    """
    said, marked = text, False
    if "RT" in text:
        text, marked = _own_words(text)
    if "&" in text:
        for entity, sign in _ENTITIES:
            text = text.replace(entity, sign)
    cut = False
    if "\u2026" in text:
        text, cut = _without_ellipsis(text)
    if ":" in text or "." in text:
        lowered = text.lower()  # to look for an address by letters costs ten times as much
        if "http" in lowered or "www." in lowered:
            text = _ADDRESS.sub(" ", text)
    if "@" in text or "\uff20" in text:
        text = _MENTION.sub(" ", text)
    if terms is None or text is not said:
        terms = words_of(text)
    return Comparable(tuple(terms), cut, marked)


def _own_words(text: str) -> tuple[str, bool]:
    """Return a text without what marks a repost and without quotes by hand, and if it is one."""
    reposted = _REPOSTED.match(text)
    if reposted:
        return text[reposted.end() :], True
    quoted = _QUOTED_BY_HAND.search(text)
    return (text[: quoted.start()] if quoted else text), False


def _without_ellipsis(text: str) -> tuple[str, bool]:
    """Return a text up to the sign `…` that ends it, and whether one did; an address may follow.

    Three full stops are no such sign: people end sentences with them.
    """
    body = text.rstrip()
    head, _, last = body.rpartition(" ")
    for _ in range(_LAST_ADDRESSES):
        if last.endswith("\u2026") or not _ADDRESS.fullmatch(last):
            break
        body = head.rstrip()
        head, _, last = body.rpartition(" ")
    if not body.endswith("\u2026"):
        return text, False
    return _CUT_ADDRESS.sub("", body.rstrip("\u2026 ")), True


def shingles(text: str) -> frozenset[str]:
    """Return the different pieces of SHINGLE code points of a comparable text's beginning."""
    text = text[:COMPARED]
    return frozenset([text[at : at + SHINGLE] for at in range(len(text) - SHINGLE + 1)])


def compare(one: str, other: str, *, one_cut: bool = False, other_cut: bool = False) -> float:
    """Return the containment of two comparable texts if one is a copy of the other, else 0.

    With `small` and `large`, the numbers of different shingles, and at least `CONTAINED` of the
    small text's in the large one, it is a copy when

    - both are about as long: small >= ALIKE * large, small >= SHORT; or
    - both begin alike, and the smaller one says that it was cut (small >= SHORT_CUT) or is long
      (small >= LONG).

    Args:
        one: text of a Comparable.
        other: the same.
        one_cut: whether its end is missing.
        other_cut: the same.
    """
    return _compared((shingles(one), one, one_cut), (shingles(other), other, other_cut))


def _compared(
    some: tuple[frozenset[str], str, bool], others: tuple[frozenset[str], str, bool]
) -> float:
    """Do as `compare`, of shingles, text and cut of each."""
    if (len(some[0]), *some[1:]) > (len(others[0]), *others[1:]):
        some, others = others, some
    (first, one, one_cut), (second, other, _) = some, others
    small, large = len(first), len(second)
    if not small:
        return 0.0
    begins_alike = one[:_ALIGNED] == other[: min(_ALIGNED, len(one))]
    least = SHORT
    if begins_alike and one_cut:
        least = SHORT_CUT
    elif small < ALIKE * large:
        if not begins_alike:
            return 0.0
        least = LONG
    if small < least:
        return 0.0
    containment = len(first & second) / small
    return containment if containment >= CONTAINED else 0.0


class _Known(msgspec.Struct, array_like=True, gc=False):
    """A remembered post; `text` is empty unless it stands in the index."""

    id: str
    author: str | None
    network: str | None
    fingerprint: str
    own_place: str | None
    marked: bool
    parents: tuple[str, ...]
    seen: float
    root: int
    text: str = ""
    cut: bool = False
    pairs: int = 0
    kind: LinkKind | None = None
    of: str = ""
    score: float = 0.0
    same_author: bool = False
    same_network: bool = True
    own: str | None = None
    places: int = 1
    """How often its number stands in the order of forgetting."""
    size: int = 0
    """Estimated bytes."""

    @property
    def first(self) -> str:
        """Id of the first one of its group."""
        return self.of if self.kind else self.id


class _State(msgspec.Struct, array_like=True):
    """What an export holds."""

    limits: tuple[float, int, float]
    now: float
    number: int
    known: dict[int, _Known]
    order: list[int]
    numbers: dict[str, int]
    fingerprints: dict[str, int]
    authors: list[tuple[int, str, int]]
    cut: dict[int, int]
    table: bytes


class CopyWindow:
    """Remembers what was said lately and links what says it again; for one brand and language.

    Deterministic: the same entries in the same order give the same links, also when an export was
    restored in between. Not safe for threads.

    Args:
        limits: bounds of time and memory.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._now = float("-inf")
        self._number = 0
        self._known: dict[int, _Known] = {}
        # Who is forgotten next; a number that stands in it again further on was said again since.
        self._order: deque[int] = deque()
        self._numbers: dict[str, int] = {}
        self._fingerprints: dict[str, int] = {}
        self._authors: dict[tuple[int, str], int] = {}
        self._cut: dict[int, int] = {}
        self._bytes = 0
        self._pairs = 0
        self._table = array("I", bytes(4 * _SLOTS))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._numbers

    @property
    def memory(self) -> int:
        """Estimated bytes of what is remembered, with the index."""
        return self._bytes + len(self._table) * self._table.itemsize

    def add(self, entry: Entry, said: Comparable | None = None) -> Link | None:
        """Return what an entry is a copy of, None if it is new, and remember it.

        An id that is known and says the same gets the answer that it got. One that says something
        else (an edit) is looked at again and never linked to what it said itself.

        Args:
            entry: the post.
            said: its `comparable` text, where it is known.
        """
        words, cut, marked = comparable(entry.text) if said is None else said
        text = " ".join(words)
        data = text.encode()
        fingerprint = blake2b(data, digest_size=8).hexdigest()
        self._pass_time(entry.at)
        before = self._numbers.get(entry.id)
        if before is not None:
            known = self._known[before]
            if known.fingerprint == fingerprint:
                return _link(known)
        if len(text) > COMPARED:
            text = text[:COMPARED]
            words = tuple(text.split(" "))
            data = text.encode()
        keys = _keys(words, data)
        beginnings = _beginnings(data)
        number = self._number = self._number % 0xFFFF_FFFF + 1
        known = _Known(
            entry.id,
            entry.author,
            entry.network,
            fingerprint,
            None if _is_telling(words, text) else f"{fingerprint} {entry.author or entry.id}",
            marked,
            _parents(entry) if entry.quotes or entry.in_reply_to else (),
            entry.at,
            number,
            text,
            cut,
            len(keys) + len(beginnings),
        )
        if entry.reposts is not None:
            self._repost(known, entry.reposts)
        elif words:
            self._look(known, words, keys, beginnings)
        self._remember(number, known, keys + beginnings)
        return _link(known)

    def _repost(self, known: _Known, original: str) -> None:
        """Link what the network links; a text whose original nobody showed us stands for it."""
        known.kind, known.of, known.score = "repost", original, 1.0
        at = self._numbers.get(original)
        if at is not None:
            self._join(known, at)
            known.of = original
            known.text = ""

    def _look(
        self,
        known: _Known,
        words: Sequence[str],
        keys: Sequence[int],
        beginnings: Sequence[int],
    ) -> None:
        """Link by text; what is new, or says more than what it copies, is to be indexed."""
        at = self._same_words(known)
        if at:
            hit = self._known[at]
            contained = hit.kind == "containment"
            known.kind = "containment" if contained else "fingerprint"
            known.score = hit.score if contained else 1.0
            self._join(known, at)
            known.text = ""
            return
        candidates = self._candidates(known, keys, beginnings)
        if not candidates:
            return
        at, score = self._contained(known, frozenset(words), candidates)
        if at:
            known.kind, known.score = "containment", score
            covered = len(known.text) <= len(self._known[at].text)
            self._join(known, at)
            if covered:
                known.text = ""

    def _same_words(self, known: _Known) -> int:
        """Return the number of the first one with the same words, 0 if there is none.

        What does not tell much is nobody's words in particular: it is a copy of the same author's,
        or where one of the two says that it repeats somebody.
        """
        if known.own_place is None and known.fingerprint not in self._fingerprints:
            return 0  # nearly all
        for place in (known.fingerprint, known.own_place):
            at = self._fingerprints.get(place, 0) if place else 0
            if at and self._may_link(known, at):
                hit = self._known[at]
                if hit.own_place is None or known.own_place is None:
                    return at
                if known.marked or hit.marked or hit.own_place == known.own_place:
                    return at
        return 0

    def _candidates(
        self, known: _Known, keys: Sequence[int], beginnings: Sequence[int]
    ) -> list[int]:
        """Return the numbers of posts that a text is to be compared with, the likeliest first."""
        table, mask, pairs = self._table, len(self._table) - 1, len(keys)
        hits = [at for key in keys if (at := table[key & mask])]
        different = set(hits)
        found: list[int] = []
        if pairs <= FEW_PAIRS or len(different) < len(hits):
            least = 1 if pairs <= FEW_PAIRS else 2
            likely = [(-many, at) for at in different if (many := hits.count(at)) >= least]
            found = [at for _, at in sorted(likely)[:LOOKED_AT]]
        if known.cut:
            begun = [at for key in reversed(beginnings) if (at := table[key & mask])]
        elif not beginnings or beginnings[0] not in self._cut:
            return found  # whose longer beginnings are the same, its shortest one is, too
        else:
            cut = self._cut.get
            begun = [at for key in reversed(beginnings) if (at := cut(key, 0))]
        return list(dict.fromkeys(begun[:LOOKED_AT] + found))

    def _contained(
        self, known: _Known, own: frozenset[str], candidates: Sequence[int]
    ) -> tuple[int, float]:
        """Return the number of the best of what contains a text or is contained, and how much."""
        best, best_score = 0, 0.0
        mine: frozenset[str] | None = None
        for at in candidates:
            other = self._known.get(at)  # what is cheap to look at comes first
            if other is None or not _may_be_copies(known, other):
                continue
            theirs = other.text.split(" ")
            if len(own.intersection(theirs)) < SHARED_WORDS * min(len(own), len(set(theirs))):
                continue
            if not self._may_link(known, at):
                continue
            if mine is None:
                mine = shingles(known.text)
            score = _compared(
                (mine, known.text, known.cut), (shingles(other.text), other.text, other.cut)
            )
            if score > best_score:
                best, best_score = at, score
        return best, best_score

    def _may_link(self, known: _Known, at: int) -> bool:
        other = self._known.get(at)
        return (
            other is not None
            and other.id != known.id
            and abs(other.seen - known.seen) <= self.limits.seconds
            and known.id not in other.parents
            and other.id not in known.parents
            and other.first not in known.parents
        )

    def _join(self, known: _Known, at: int) -> None:
        """Make a post one of the group of another one, which lives on for that."""
        hit = self._known[at]
        if hit.first == known.id:  # the original, after its repost
            known.kind, known.score, known.root = None, 0.0, hit.root
            return
        known.root, known.of = hit.root, hit.first
        first = self._known.get(hit.root, hit)
        known.same_author = known.author is not None and known.author == first.author
        known.same_network = None in (known.network, first.network) or (
            known.network == first.network
        )
        if known.author is not None:
            number = self._authors.get((known.root, known.author), 0)
            own = self._known.get(number)
            if own is None and known.same_author and first.root == known.root:
                own = first
            known.own = own.id if own else None
        for number in (at, hit.root):
            other = self._known.get(number)
            if other is not None:
                other.seen = max(other.seen, known.seen)
                other.places += 1
                self._order.append(number)

    def _remember(self, number: int, known: _Known, keys: Sequence[int]) -> None:
        self._known[number] = known
        self._order.append(number)
        self._numbers[known.id] = number
        # Who began a group is known by it: few posts ever have a second one.
        if known.author is not None and known.root != number:
            self._authors[known.root, known.author] = number
        if known.kind != "fingerprint":
            self._fingerprints.setdefault(known.fingerprint, number)
            if known.own_place:
                self._fingerprints.setdefault(known.own_place, number)
        known.size = _size(known)
        self._bytes += known.size
        if known.text:
            self._pairs += known.pairs
            if len(self._table) < min(_SLOTS_A_PAIR * self._pairs, _MOST_SLOTS):
                self._table += self._table  # each pair is found at both of its new places
            table, mask = self._table, len(self._table) - 1
            for key in keys:
                table[key & mask] = number
            if known.cut:
                beginnings = _beginnings(known.text.encode())
                self._cut.update(dict.fromkeys(beginnings, number))

    def _pass_time(self, at: float) -> None:
        """Forget what is too old, and the oldest of what is too much."""
        self._now = now = max(self._now, at)
        limits, known, order = self.limits, self._known, self._order
        horizon = now - limits.seconds
        most = limits.megabytes * 1e6
        while order:
            oldest = known[order[0]]
            if oldest.places > 1:
                oldest.places -= 1
                order.popleft()
            elif len(known) < limits.entries and self._bytes <= most and oldest.seen >= horizon:
                return
            else:
                self._forget(order.popleft())

    def _forget(self, number: int) -> None:
        known = self._known.pop(number)
        _take_out(self._numbers, known.id, number)
        if known.kind != "fingerprint":
            _take_out(self._fingerprints, known.fingerprint, number)
            if known.own_place:
                _take_out(self._fingerprints, known.own_place, number)
        if known.author is not None and known.root != number:
            _take_out(self._authors, (known.root, known.author), number)
        self._bytes -= known.size
        if known.text:
            self._pairs -= known.pairs
            if known.cut:
                for key in _beginnings(known.text.encode()):
                    _take_out(self._cut, key, number)

    def export(self) -> bytes:
        """Return the whole state; a window that restores it gives the same links from there on."""
        limits = self.limits
        state = _State(
            (float(limits.seconds), limits.entries, float(limits.megabytes)),
            self._now,
            self._number,
            self._known,
            list(self._order),
            self._numbers,
            self._fingerprints,
            [(root, author, number) for (root, author), number in self._authors.items()],
            self._cut,
            self._table.tobytes(),
        )
        return write_export(_MAGIC, state)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Return the window that was exported.

        Raises:
            ValueError: torn, or not an export of this version.
        """
        state = read_export(data, _MAGIC, _State, "a window of copies")
        window = cls(Limits(*state.limits))
        window._now, window._number = state.now, state.number
        window._known = state.known
        window._order = deque(state.order)
        window._numbers = state.numbers
        window._fingerprints = state.fingerprints
        window._authors = {(root, author): number for root, author, number in state.authors}
        window._cut = state.cut
        window._table = array("I", state.table)
        for known in state.known.values():
            window._bytes += known.size
            window._pairs += known.pairs if known.text else 0
        return window


def _take_out(numbers: dict[_K, int], key: _K, number: int) -> None:
    """Forget that a key is a number's; most are, so that one look suffices."""
    found = numbers.pop(key, number)
    if found != number:
        numbers[key] = found


def _link(known: _Known) -> Link | None:
    if known.kind is None:
        return None
    return Link(known.kind, known.of, known.score, known.same_author, known.same_network, known.own)


def _may_be_copies(known: _Known, hit: _Known) -> bool:
    """Whether two texts are long enough, and about as long or begin alike, before counting."""
    one, other = known.text, hit.text
    small, large = len(one), len(other)
    if small > large:
        small, large = large, small
    # There is a shingle at each code point at most, but for the last ones.
    if small - SHINGLE + 1 < (SHORT_CUT if known.cut or hit.cut else SHORT):
        return False
    return 2 * small >= large or one[:_ALIGNED] == other[: min(_ALIGNED, len(one))]


def _parents(entry: Entry) -> tuple[str, ...]:
    return tuple([each for each in (entry.quotes, entry.in_reply_to) if each is not None])


def _keys(words: Sequence[str], data: bytes) -> list[int]:
    """Return a number for each pair of neighbours among the words that tell something.

    The first one has a neighbour of its own. A cut text and the whole one have the same pairs, up
    to where the one ends. `data` is the words in one line, encoded at once rather than one by one.
    """
    encoded = data.split(b" ")
    if data.isascii():
        numbers = [crc32(word) for word in encoded if len(word) > 3]
    else:
        both = zip(words, encoded, strict=False)  # of no words the line has an empty one
        numbers = [crc32(code) for word, code in both if len(word) > 3 or word > "\x7f"]
    return [31 * before + number for before, number in zip((7, *numbers), numbers, strict=False)]


def _beginnings(data: bytes) -> list[int]:
    """Return a number for each of some beginnings of a text; what was cut off shares the shorter."""
    number = 0
    pieces = _PIECES[: bisect_right(_BEGINNINGS, len(data))]
    return [number := crc32(data[piece], number) for piece in pieces]


def _is_telling(words: Sequence[str], text: str) -> bool:
    """Whether a text of these words has letters enough."""
    if len(text) >= 2 * TELLING and text.isascii():
        return True
    letters = 0
    for word in words:  # whole words of letters are counted at once, and most texts have them
        if word.isalpha():
            letters += len(word)
            if letters >= TELLING:
                return True
    return sum(map(str.isalpha, text)) >= TELLING


def _size(known: _Known) -> int:
    return _ENTRY_BYTES + known.text.__sizeof__() + len(known.id)
