"""What an alert shows for itself: terms, examples, authors, networks; in bounded memory.

Everything here is gathered row by row and costs next to nothing until somebody asks. Authors and texts
are kept by their hashes, the smallest ones first: which ones are kept depends on what was said, never
on the order in which it came, and of many posts it is a fair sample.
"""

import math
import re
from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Any, Final, NamedTuple

from klingel.domain.rule_text import tokens

AUTHORS: Final = 512
"""From so many authors on their number is estimated (within some 9 % of the truth)."""

TEXTS: Final = 128
"""Most texts kept of a matter; the shares of its terms are right within some 4 %."""

TEXT_LENGTH: Final = 280
"""Code points of a text that are looked at."""

TERMS: Final = 10
"""Terms that an alert names."""

EXAMPLES: Final = 5
"""Examples that an alert names."""

_COPIES = 256
_NETWORKS = 32
_TOPICS = 64
_WHOLE = 1 << 64
_TOLD_APART = 0.6
_LEAST_POSTS = 2
_LEAST_SHARE = 0.05
_COMMON_SPELLING = 0.25
# A word of which nothing is known is taken to be in one of fifty posts, as sure as of twenty.
_RARE = 0.02
_AT_LEAST = 20
_STEM = 6
_ENDING = 4

_NO_WORD = re.compile(r"(?:https?://|www\.)\S+|[@\uff20]\w[\w.\-]*", re.IGNORECASE)

# What is said in every post, and says nothing: a background of few posts does not show that.
_COMMON: Final = frozenset(
    """
    a about after again all also am an and any are as at be because been before being but by can cannot
    could did didn do does doesn doing don for from get getting go going got had has hasn have haven he
    her here him his how i if im in into is isn it its ive just let ll like me more my no not now of off
    on one only or other our out over please re rt s say she should so some still t than that the their
    them then there these they this those to too up us ve very want was wasn we were what when where
    which who why will with won would you your
    aber alle als auf aus bei bin bis bitte da das dass dem den denn der des die dies diese dir doch du
    durch ein eine einem einen einer er es euch euer für gibt hab habe haben hat hatte ich ihm ihn ihr
    ihre immer ist ja jetzt kann kein keine können man mein meine mich mir mit nach nicht noch nun nur ob
    oder ohne schon sein seine seit sich sie sind soll um und uns unser von vor war warum weil wenn wer
    werden wie wieder wir wird wo wurde zu zum zur über
    """.split()  # noqa: SIM905 - a list of words reads as words
)


class TellingTerm(NamedTuple):
    """A word, or two beside each other, that a matter's posts have and the brand's usual ones lack.

    Args:
        term: as most of the posts write it.
        share: of the matter's posts that have it, 0..1.
        before: of the brand's usual posts that have it, 0..1.
    """

    term: str
    share: float
    before: float


class Row(NamedTuple):
    """One post as the watch sees it.

    Args:
        event_id: of the social event.
        at: seconds since 1970 at which it was published.
        tone: negative, positive, neutral; None if unknown.
        topics: what it is about, in the brand's words; none is fine.
        author: 64-bit hash of the author, spread evenly; None if unknown.
        reach: how many people may see it; any measure that adds up.
        network: name of the network.
        text: normalised; 280 code points are looked at.
        fingerprint: equal for copies; None if unknown.
    """

    event_id: str
    at: float
    tone: str | None = None
    topics: Sequence[str] = ()
    author: int | None = None
    reach: float = 0.0
    network: str = ""
    text: str = ""
    fingerprint: str | None = None


class Authors:
    """How many authors there are, of 64-bit hashes that are spread evenly: the smallest are kept.

    Attributes:
        kept: the smallest hashes, in order.
    """

    __slots__ = ("_limit", "kept")

    def __init__(self, kept: Iterable[int] = ()) -> None:
        self.kept: list[int] = []
        self._limit = _WHOLE
        if kept:
            self.add_many(kept)

    def add(self, author: int) -> None:
        """Count an author, once."""
        if author >= self._limit:
            return
        kept = self.kept
        at = bisect_left(kept, author)
        if at < len(kept) and kept[at] == author:
            return
        kept.insert(at, author)
        if len(kept) > AUTHORS:
            kept.pop()
            self._limit = kept[-1]

    def add_many(self, authors: Iterable[int]) -> None:
        """Count authors, each once."""
        limit = self._limit
        new = {author for author in authors if author < limit}
        new.update(self.kept)
        if len(new) > len(self.kept):
            self.kept = sorted(new)
            if len(new) > AUTHORS:
                del self.kept[AUTHORS:]
                self._limit = self.kept[-1]

    def add_all(self, other: "Authors") -> None:
        """Count the authors of another, each once."""
        self.add_many(other.kept)

    def count(self) -> int:
        """Return the number of authors, exact below AUTHORS."""
        if self._limit == _WHOLE:
            return len(self.kept)
        return round((AUTHORS - 1) * (_WHOLE / self._limit))

    def to_plain(self) -> str:
        """Return the content for JSON; see `to_hex`."""
        return to_hex(self.kept)

    @classmethod
    def from_plain(cls, plain: str | Iterable[str]) -> "Authors":
        """Return what `to_plain` has written; earlier versions wrote a list."""
        return cls(from_hex(plain))


def to_hex(numbers: Iterable[int]) -> str:
    """Return numbers of 64 bits as JSON can hold them, whose own have 53: 16 hex digits each."""
    return array("Q", numbers).tobytes().hex()


def from_hex(plain: str | Iterable[str]) -> Sequence[int]:
    """Return the numbers that `to_hex` has written; earlier versions wrote a list of hex numbers."""
    if not isinstance(plain, str):
        return [int(each, 16) for each in plain]
    numbers = array("Q")
    numbers.frombytes(bytes.fromhex(plain))
    return numbers


class Texts:
    """A fair sample of texts, `most` of them: those whose events have the smallest 64-bit hashes.

    Attributes:
        kept: the texts by the hashes of their events.
        limit: events from this hash on are not kept.
    """

    __slots__ = ("_events", "_most", "kept", "limit")

    def __init__(self, most: int = TEXTS, kept: Mapping[int, str] | None = None) -> None:
        self._most = most
        self.kept: dict[int, str] = {}
        self._events: list[int] = []
        self.limit = _WHOLE
        for event, text in (kept or {}).items():
            self.add(event, text)

    def add(self, event: int, text: str) -> None:
        """Show a text; it stays while its event's hash is among the smallest."""
        if event >= self.limit or not text or event in self.kept:
            return
        self.kept[event] = text[:TEXT_LENGTH]
        insort(self._events, event)
        if len(self._events) > self._most:
            del self.kept[self._events.pop()]
            self.limit = self._events[-1]

    def add_all(self, other: "Texts") -> None:
        """Show the texts of another."""
        for event, text in other.kept.items():
            self.add(event, text)

    def texts(self) -> list[str]:
        """Return the sample, in the order of the hashes."""
        return [self.kept[event] for event in self._events]

    def to_plain(self) -> list[Any]:
        """Return the content for JSON."""
        return [self._most, {f"{event:x}": self.kept[event] for event in self._events}]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> "Texts":
        """Return what `to_plain` has written."""
        most, kept = plain
        return cls(most, {int(event, 16): text for event, text in kept.items()})


class Gathered:
    """What was gathered of one matter, row by row.

    Attributes:
        posts: rows.
        reach: sum of what the rows say of it.
        authors: how many.
        nameless: rows whose author is unknown.
        sample: of the texts.
        leading: reach and id of the events with the largest reach.
        by_network, by_topic, copies: posts by network, topic and fingerprint.
    """

    __slots__ = (
        "authors",
        "by_network",
        "by_topic",
        "copies",
        "leading",
        "nameless",
        "posts",
        "reach",
        "sample",
    )

    def __init__(self) -> None:
        self.posts = 0
        self.reach = 0.0
        self.authors = Authors()
        self.nameless = 0
        self.sample = Texts()
        self.leading: list[tuple[float, str]] = []
        self.by_network: dict[str, int] = {}
        self.copies: dict[str, int] = {}
        self.by_topic: dict[str, int] = {}

    def add_rows(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Gather rows, each with the hash of its event's id."""
        self.add_voices([row.author for _, row in rows])
        reach, leading = 0.0, set(self.leading)
        networks, copies, topics = self.by_network, self.copies, self.by_topic
        for event, row in rows:
            reach += row.reach
            leading.add((row.reach, row.event_id))
            self.sample.add(event, row.text)
            networks[row.network] = networks.get(row.network, 0) + 1
            if row.fingerprint is not None:
                copies[row.fingerprint] = copies.get(row.fingerprint, 0) + 1
            for topic in row.topics:
                topics[topic] = topics.get(topic, 0) + 1
        self.reach += reach
        self.leading = sorted(leading, reverse=True)[:EXAMPLES]
        _make_room(networks, _NETWORKS)
        _make_room(copies, _COPIES)
        _make_room(topics, _TOPICS)

    def add_voices(self, authors: Sequence[int | None]) -> None:
        """Count rows of which nothing but the author is kept."""
        self.posts += len(authors)
        self.nameless += authors.count(None)
        self.authors.add_many([author for author in authors if author is not None])

    def add_all(self, other: "Gathered") -> None:
        """Gather what another has gathered of other rows."""
        self.posts += other.posts
        self.reach += other.reach
        self.authors.add_all(other.authors)
        self.nameless += other.nameless
        self.sample.add_all(other.sample)
        self.leading = nlargest(EXAMPLES, {*self.leading, *other.leading})
        for mine, theirs, most in (
            (self.by_network, other.by_network, _NETWORKS),
            (self.copies, other.copies, _COPIES),
            (self.by_topic, other.by_topic, _TOPICS),
        ):
            _count_all(mine, theirs, most)

    @property
    def voices(self) -> int:
        """How many different authors may have spoken: who is unknown may be anybody."""
        return self.authors.count() + self.nameless

    @property
    def examples(self) -> list[str]:
        """Ids of the events with the largest reach."""
        return [event_id for _, event_id in self.leading]

    @property
    def most_repeated(self) -> int:
        """How often the most repeated text was said; 1 where nothing was repeated."""
        return max(self.copies.values(), default=min(self.posts, 1))

    @property
    def networks(self) -> dict[str, int]:
        """Posts by network, the most first."""
        return _ordered(self.by_network)

    @property
    def topics(self) -> dict[str, int]:
        """Posts by topic, the most first."""
        return _ordered(self.by_topic)

    def texts(self) -> list[str]:
        """Return a fair sample of the texts."""
        return self.sample.texts()

    def to_plain(self) -> dict[str, Any]:
        """Return the content for JSON."""
        return {
            "posts": self.posts,
            "reach": self.reach,
            "authors": self.authors.to_plain(),
            "nameless": self.nameless,
            "texts": self.sample.to_plain(),
            "examples": [list(example) for example in self.leading],
            "networks": dict(self.by_network),
            "copies": dict(self.copies),
            "topics": dict(self.by_topic),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Gathered":
        """Return what `to_plain` has written."""
        made = cls()
        made.posts = plain["posts"]
        made.reach = plain["reach"]
        made.authors = Authors.from_plain(plain["authors"])
        made.nameless = plain["nameless"]
        made.sample = Texts.from_plain(plain["texts"])
        made.leading = [(reach, event_id) for reach, event_id in plain["examples"]]
        made.by_network = dict(plain["networks"])
        made.copies = dict(plain["copies"])
        made.by_topic = dict(plain["topics"])
        return made


def telling_terms(
    texts: Sequence[str], usual: Sequence[str], most: int = TERMS
) -> list[TellingTerm]:
    """Return the terms that tell a matter's posts from a brand's usual ones, the most telling first.

    A term's weight is its share among the matter's posts times the logarithm of how much larger that
    is than its share before. Two words that are mostly said together are one term, and so are the
    forms of a word. Mentions, addresses, numbers and the commonest words of English and German are
    none.
    """
    if not texts:
        return []
    now, spellings = _documents(texts)
    before, _ = _documents(usual)
    least = max(_LEAST_POSTS, _LEAST_SHARE * len(texts))
    found = []
    for term, posts in now.items():
        share = posts / len(texts)
        was = before[term] / len(usual) if usual else 0.0
        expected = (before[term] + _RARE * _AT_LEAST) / (len(usual) + _AT_LEAST)
        if posts >= least and share > expected:
            found.append((share * math.log(share / expected), term, share, was))
    weights = {term: (weight, share) for weight, term, share, _ in found}
    parts = {
        part
        for term, (_, share) in weights.items()
        if len(term) > 1
        for part in ((term[0],), (term[1],))
        if part in weights and share >= _TOLD_APART * weights[part][1]
    }
    found = [each for each in found if each[1] not in parts]
    found.sort(key=lambda each: (-each[0], each[1]))
    return [
        TellingTerm(_spelling(spellings[term]), round(share, 4), round(was, 4))
        for _, term, share, was in found[:most]
    ]


_Term = tuple[str, ...]


def _documents(texts: Sequence[str]) -> tuple[Counter[_Term], dict[_Term, Counter[str]]]:
    """Return in how many texts each term occurs, and how it is written there."""
    counts: Counter[_Term] = Counter()
    spellings: dict[_Term, Counter[str]] = {}
    for text in texts:
        found = _terms(text)
        counts.update(found.keys())
        for term, spelling in found.items():
            spellings.setdefault(term, Counter())[spelling] += 1
    return counts, spellings


def _terms(text: str) -> dict[_Term, str]:
    """Return the terms of a text and how it writes them at first."""
    said = _NO_WORD.sub(" \u2029 ", text[:TEXT_LENGTH])
    found: dict[_Term, str] = {}
    before = None
    for token in tokens(said):
        if token.term in _COMMON or token.term.isdigit() or _is_letter(token.term):
            before = None
            continue
        found.setdefault((_stem(token.term),), said[token.start : token.end])
        if before is not None and said[before.end : token.start].strip(" -\u00ad") == "":
            pair = (_stem(before.term), _stem(token.term))
            found.setdefault(pair, " ".join(said[before.start : token.end].split()))
        before = token
    return found


def _stem(term: str) -> str:
    """Return what the forms of a word share, roughly: flight, flights; Störung, Störungen."""
    return term if len(term) <= _STEM else term[: max(_STEM, len(term) - _ENDING)]


def _is_letter(term: str) -> bool:
    return len(term) == 1 and term.isascii()


def _spelling(counted: Counter[str]) -> str:
    """Return the word without its endings: of the common spellings the shortest, or what begins it.

    A spelling that begins a common one is common enough when several posts write it: *Cancelled
    Flight* among many *Cancelled Flights*. A single post may have been cut off, or misspelt.
    """
    common = max(counted.values()) * _COMMON_SPELLING
    shown = min(
        (each for each, posts in counted.items() if posts >= common),
        key=lambda each: (len(each), -counted[each], each),
    )
    begins = (
        each
        for each, posts in counted.items()
        if posts >= _LEAST_POSTS and shown.casefold().startswith(each.casefold())
    )
    return min(begins, key=lambda each: (len(each), -counted[each], each), default=shown)


def _count_all(counts: dict[str, int], more: Mapping[str, int], most: int) -> None:
    """Add counts."""
    for name, posts in more.items():
        counts[name] = counts.get(name, 0) + posts
    _make_room(counts, most)


def _make_room(counts: dict[str, int], most: int) -> None:
    """Forget the names that were counted least, when there are too many."""
    if len(counts) > most:
        kept = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[: most // 2]
        counts.clear()
        counts.update(kept)


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
