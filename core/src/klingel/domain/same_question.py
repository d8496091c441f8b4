"""Do many people ask the same? Clusters of posts by the rare terms that they share.

    window = QuestionWindow()
    for post in posts:
        window.add(Asked("x::1", "Where is my card? I ordered it two weeks ago", at=0.0, author="a"))
    for question in window.clusters(least_posts=5, least_authors=3):
        question.ids, question.authors, question.terms

This is the second of two levels: *copies* (`klingel.domain.copies`) say it with the same words, the
*same question* is asked in words of one's own. Nothing is trained and no label is needed:

1. A post is the set of its terms: words, pairs of neighbours, and pieces of 4 code points of words
   (which make `Karte`, `Karten` and `Kreditkarte` meet). A term weighs by how rare it is among the
   posts of the window, so the window is its own background. Intents that a brand's model found may
   be given with a post; they are further terms and need not be right.
2. Each post knows its `NEIGHBOURS` nearest ones by the cosine of these weights; a post that comes
   later may displace one of them.
3. `clusters` partitions the graph of neighbours by its density (the local moving of Louvain, with a
   fixed price for each pair in a cluster, so that a question's size does not depend on the size of
   the window around it), and drops the members whose neighbours are elsewhere.

Every post is in at most one cluster, whatever question somebody has in mind: a cluster is found by
nobody's example. What that reaches is measured by `benchmarks/duplicates.py` and written down in
`docs/reference/duplicates.md`.
"""

import math
import zlib
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from klingel.domain.copies import comparable
from klingel.domain.window_export import read_export, write_export

NEIGHBOURS: Final = 10
"""Nearest posts that a post remembers."""

ALIKE: Final = 0.15
"""Least cosine of two neighbours."""

PRICE: Final = 2e-4
"""What a pair of posts in a cluster costs, relative to the product of their degrees."""

BELONGS: Final = 0.75
"""Least share of a member's edges that stay in its cluster."""

PIECE: Final = 4
"""Code points of a piece of a word."""

WORDS: Final = 60
"""Words of a post that are looked at: the first ones."""

_BUCKETS: Final = 1 << 18
_INTENT_WEIGHT: Final = 3.0
_COMMON: Final = 0.1
_FEW: Final = 200
_MAGIC = b"klingel-same-question\x00\x01"

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Asked:
    """One post as the window sees it.

    Args:
        id: of the object.
        text: as said.
        at: seconds since 1970 at which it was published, never later than it was received.
        author: id of the author; None if nobody knows.
        intents: what the brand's model found, if it has one.
    """

    id: str
    text: str
    at: float
    author: str | None = None
    intents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """Posts that ask the same.

    Args:
        ids: of the posts, in the order of their arrival.
        authors: number of different known authors; a post of nobody known counts as one.
        first: seconds since 1970 of its first post.
        last: of its last one.
        centre: id of the post that has most in common with the others, to be shown for all.
    """

    ids: tuple[str, ...]
    authors: int
    first: float
    last: float
    centre: str


@dataclass(frozen=True, slots=True)
class QuestionLimits:
    """Bounds of a window.

    Args:
        seconds: how long a post is remembered.
        posts: most posts remembered.
    """

    seconds: float = 48 * 3600.0
    posts: int = 30_000

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.posts > 0):
            raise ValueError("The bounds of a window of questions are positive.")


class _State(msgspec.Struct, array_like=True):
    """What an export holds."""

    limits: tuple[float, int]
    now: float
    first: int
    posts: list[tuple[str, str | None, float]]
    terms: list[bytes]
    norms: bytes
    nearest: bytes
    alike: bytes


def terms_of(text: str, intents: Iterable[str] = ()) -> list[int]:
    """Return the numbers of the different terms of a post, rising; time is linear in its length."""
    words = comparable(text).words[:WORDS]
    spelt = set(words)
    for one, other in pairwise(words):
        spelt.add(f"{one} {other}")
    for word in words:
        framed = f"_{word}_"
        spelt.update([framed[at : at + PIECE] + "*" for at in range(len(framed) - PIECE + 1)])
    numbers = {zlib.crc32(each.encode("utf-8", "surrogatepass")) % _BUCKETS for each in spelt}
    return sorted(numbers.union(map(intent_term, intents)))


def intent_term(intent: str) -> int:
    """Return the number of the term that an intent is; apart from those of words."""
    return _BUCKETS + zlib.crc32(intent.encode("utf-8", "surrogatepass")) % _BUCKETS


class QuestionWindow:
    """Remembers what was asked lately; for one brand and language.

    Deterministic: the same posts in the same order give the same clusters, also when an export was
    restored in between. Not safe for threads.

    Args:
        limits: bounds of time and memory.
    """

    def __init__(self, limits: QuestionLimits | None = None) -> None:
        self.limits = limits or QuestionLimits()
        self._now = float("-inf")
        self._first = 0
        self._posts: list[tuple[str, str | None, float]] = []
        self._rows: dict[str, int] = {}
        self._terms: list[bytes] = []
        self._postings: dict[int, array[int]] = {}
        room = min(1024, 2 * self.limits.posts)
        self._norms: Floats = np.ones(room, np.float32)
        self._nearest: Rows = np.full((room, NEIGHBOURS), -1, np.int32)
        self._alike: Floats = np.zeros((room, NEIGHBOURS), np.float32)
        self._least: Floats = np.full(room, ALIKE, np.float32)

    def __len__(self) -> int:
        return len(self._posts) - self._first

    def add(self, post: Asked) -> None:
        """Remember a post and who its neighbours are; a known id changes nothing.

        Copies of a post belong to it and are not to be added: a thousand of them are no neighbours
        of one who asks in other words.
        """
        if post.id in self._rows:
            return
        self._pass_time(post.at)
        row = len(self._posts)
        self._make_room(row)
        numbers = terms_of(post.text, post.intents)
        weights, alike = self._weigh(numbers)
        self._posts.append((post.id, post.author, post.at))
        self._rows[post.id] = row
        self._terms.append(array("I", numbers).tobytes())
        self._norms[row] = math.sqrt(float(np.dot(weights, weights))) or 1.0
        if alike is not None:
            self._meet(row, alike / self._norms[row])
        for number in numbers:
            postings = self._postings.get(number)
            if postings is None:
                postings = self._postings[number] = array("I")
            postings.append(row)

    def _weigh(self, numbers: Sequence[int]) -> tuple[Floats, Floats | None]:
        """Return the weights of terms, and for each row the sum of the products of those shared.

        A term that many have is left out: it is dear to count and tells next to nothing.
        """
        known = len(self._posts) + 1  # with those forgotten that still stand in postings
        common = max(_FEW, _COMMON * known)
        weights = np.empty(len(numbers), np.float32)
        shared: list[array[int]] = []
        squares: list[float] = []
        for at, number in enumerate(numbers):
            postings = self._postings.get(number)
            having = len(postings) if postings else 0
            weight = 0.0 if having > common else math.log((known + 1) / (having + 0.5))
            if number >= _BUCKETS:
                weight *= _INTENT_WEIGHT
            weights[at] = weight = max(weight, 0.0)
            if postings and weight:
                shared.append(postings)
                squares.append(weight * weight)
        if not shared:
            return weights, None
        rows = np.concatenate([np.frombuffer(each, np.uint32) for each in shared])
        products = np.repeat(np.array(squares, np.float64), [len(each) for each in shared])
        return weights, np.bincount(rows, products, len(self._posts)).astype(np.float32)

    def _meet(self, row: int, sums: Floats) -> None:
        """Make a new post and those before it each other's neighbours, where they are near."""
        known = len(self._posts) - 1
        alike = np.minimum(sums[:known] / self._norms[:known], 1.0)
        alike[: self._first] = 0.0
        near = np.flatnonzero(alike > ALIKE)
        if not len(near):
            return
        found = alike[near]
        best = near[np.lexsort((near, -found))[:NEIGHBOURS]]
        self._nearest[row, : len(best)] = best
        self._alike[row, : len(best)] = alike[best]
        self._least[row] = max(ALIKE, float(self._alike[row].min()))
        glad = near[found > self._least[near]]
        if len(glad):
            weakest = self._alike[glad].argmin(axis=1)
            self._nearest[glad, weakest] = row
            self._alike[glad, weakest] = alike[glad]
            self._least[glad] = np.maximum(self._alike[glad].min(axis=1), ALIKE)

    def _make_room(self, row: int) -> None:
        room = len(self._norms)
        if row < room:
            return
        self._norms = np.concatenate([self._norms, np.ones(room, np.float32)])
        self._nearest = np.concatenate([self._nearest, np.full((room, NEIGHBOURS), -1, np.int32)])
        self._alike = np.concatenate([self._alike, np.zeros((room, NEIGHBOURS), np.float32)])
        self._least = np.concatenate([self._least, np.full(room, ALIKE, np.float32)])

    def _pass_time(self, at: float) -> None:
        """Forget what is too old, and the oldest of what is too much."""
        self._now = max(self._now, at)
        horizon = self._now - self.limits.seconds
        posts = self._posts
        while self._first < len(posts) and (
            posts[self._first][2] < horizon or len(self) >= self.limits.posts
        ):
            del self._rows[posts[self._first][0]]
            self._first += 1
        if self._first >= max(1024, self.limits.posts // 4):
            self._close_ranks()

    def _close_ranks(self) -> None:
        """Give the rows of forgotten posts back."""
        gone, kept = self._first, len(self)
        for array_ in (self._norms, self._nearest, self._alike, self._least):
            array_[:kept] = array_[gone : gone + kept].copy()
        self._nearest[:kept] -= gone
        dead = self._nearest[:kept] < 0
        self._nearest[:kept][dead] = -1
        self._alike[:kept][dead] = 0.0
        self._least[:kept] = np.maximum(self._alike[:kept].min(axis=1), ALIKE)
        self._norms[kept:] = 1.0
        self._nearest[kept:] = -1
        self._alike[kept:] = 0.0
        self._least[kept:] = ALIKE
        del self._posts[:gone]
        del self._terms[:gone]
        self._first = 0
        self._rows = {post[0]: row for row, post in enumerate(self._posts)}
        self._postings = _postings_of(self._terms)

    def clusters(self, least_posts: int = 5, least_authors: int = 3) -> list[Question]:
        """Return the questions that several ask, the largest first.

        Costs some 25 microseconds for each remembered post: to be asked now and then, not on every
        event.

        Args:
            least_posts: of a question.
            least_authors: of a question.
        """
        graph = self._graph()
        members: dict[int, list[int]] = {}
        for at, community in enumerate(_communities(graph)):
            members.setdefault(community, []).append(at)
        questions = []
        for group in members.values():
            inside = set(group)
            belonging: list[int] = []
            strengths: list[float] = []
            for at in group:
                own = sum(weight for other, weight in graph[at].items() if other in inside)
                if own >= BELONGS * sum(graph[at].values()):
                    belonging.append(at)
                    strengths.append(own)
            if len(belonging) < max(2, least_posts):
                continue
            question = self._question(belonging, strengths)
            if question.authors >= least_authors:
                questions.append(question)
        questions.sort(key=lambda question: (-len(question.ids), question.ids))
        return questions

    def _question(self, rows: Sequence[int], strengths: Sequence[float]) -> Question:
        posts = [self._posts[self._first + row] for row in rows]
        authors = {(author or "", "" if author else id_) for id_, author, _ in posts}
        strongest = max(range(len(rows)), key=lambda at: (strengths[at], -at))
        return Question(
            ids=tuple([id_ for id_, _, _ in posts]),
            authors=len(authors),
            first=min(at for _, _, at in posts),
            last=max(at for _, _, at in posts),
            centre=posts[strongest][0],
        )

    def _graph(self) -> list[dict[int, float]]:
        """Return for each remembered post its neighbours, both ways; half an edge if one way."""
        first, end = self._first, len(self._posts)
        graph: list[dict[int, float]] = [{} for _ in range(end - first)]
        nearest = (self._nearest[first:end] - first).tolist()
        alike = self._alike[first:end].tolist()
        for at, (others, weights) in enumerate(zip(nearest, alike, strict=True)):
            for other, weight in zip(others, weights, strict=True):
                if other >= 0:
                    graph[at][other] = graph[at].get(other, 0.0) + weight / 2
                    graph[other][at] = graph[other].get(at, 0.0) + weight / 2
        return graph

    def export(self) -> bytes:
        """Return the whole state; a window that restores it gives the same clusters from there."""
        end = len(self._posts)
        state = _State(
            (float(self.limits.seconds), self.limits.posts),
            self._now,
            self._first,
            self._posts,
            self._terms,
            self._norms[:end].tobytes(),
            self._nearest[:end].tobytes(),
            self._alike[:end].tobytes(),
        )
        return write_export(_MAGIC, state)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Return the window that was exported.

        Raises:
            ValueError: torn, or not an export of this version.
        """
        state = read_export(data, _MAGIC, _State, "a window of questions")
        window = cls(QuestionLimits(*state.limits))
        end = len(state.posts)
        while len(window._norms) < end:
            window._make_room(len(window._norms))
        window._now, window._first = state.now, state.first
        window._posts, window._terms = state.posts, state.terms
        window._rows = {post[0]: row for row, post in enumerate(state.posts) if row >= state.first}
        window._postings = _postings_of(state.terms)
        window._norms[:end] = np.frombuffer(state.norms, np.float32)
        window._nearest[:end] = np.frombuffer(state.nearest, np.int32).reshape(end, NEIGHBOURS)
        window._alike[:end] = np.frombuffer(state.alike, np.float32).reshape(end, NEIGHBOURS)
        window._least[:end] = np.maximum(window._alike[:end].min(axis=1), ALIKE)
        return window


def _postings_of(terms: Sequence[bytes]) -> dict[int, "array[int]"]:
    postings: dict[int, array[int]] = {}
    for row, packed in enumerate(terms):
        for number in array("I", packed):
            rows = postings.get(number)
            if rows is None:
                rows = postings[number] = array("I")
            rows.append(row)
    return postings


def _communities(graph: list[dict[int, float]]) -> list[int]:
    """Return the community of each node: local moving, then the same among the communities."""
    community = list(range(len(graph)))
    degrees = [sum(edges.values()) for edges in graph]
    while True:
        moved = _move(graph, degrees)
        names = {each: at for at, each in enumerate(dict.fromkeys(moved))}
        if len(names) == len(graph):
            return community
        community = [names[moved[each]] for each in community]
        merged: list[dict[int, float]] = [{} for _ in names]
        sums = [0.0] * len(names)
        for at, edges in enumerate(graph):
            own = names[moved[at]]
            sums[own] += degrees[at]
            into = merged[own]
            for other, weight in edges.items():
                name = names[moved[other]]
                into[name] = into.get(name, 0.0) + weight
        graph, degrees = merged, sums


def _move(graph: list[dict[int, float]], degrees: Sequence[float]) -> list[int]:
    """Move each node to the community among its neighbours' where it gains most, until none does.

    Each move raises the sum over communities of (weights inside - PRICE * degrees squared), so it
    ends; the number of moves is bounded nevertheless.
    """
    community = list(range(len(graph)))
    totals = list(degrees)
    waiting = deque(range(len(graph)))
    is_waiting = [True] * len(graph)
    steps = 30 * len(graph)
    while waiting and steps:
        steps -= 1
        at = waiting.popleft()
        is_waiting[at] = False
        own, degree = community[at], degrees[at]
        towards: dict[int, float] = {own: 0.0}
        for other, weight in graph[at].items():
            if other != at:
                name = community[other]
                towards[name] = towards.get(name, 0.0) + weight
        totals[own] -= degree
        best, gain = own, towards[own] - PRICE * degree * totals[own]
        for name, weight in towards.items():
            would = weight - PRICE * degree * totals[name]
            if would > gain + 1e-9:
                best, gain = name, would
        totals[best] += degree
        if best != own:
            community[at] = best
            for other in graph[at]:
                if community[other] != best and not is_waiting[other]:
                    waiting.append(other)
                    is_waiting[other] = True
    return community
