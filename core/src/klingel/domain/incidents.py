"""Many customers with one question: found by a surge of words, named by what they share.

    window = IncidentWindow("nordlicht", "de", IncidentRules())
    window.hear(Post("nordlicht/x:1@0", at=0.0, conversation="x:1", text="Kein Netz", author="a"))
    for happened in window.advance(60.0): ...   # Changed, Joined, Linked

One window holds the posts of one brand and language that ask or complain; it is bounded in time and
number and knows no clock: everything happens at boundaries of event time, STEP seconds apart, once
the watermark has passed them. So neither batches nor the order of arrival within LATENESS decide
anything. What comes later than that is counted at its own time, from the next boundary on.

How a matter is found:

1. A post is the set of its stems and pairs of stems. When one of them occurs several times as often
   within `window_seconds`, or its newest parts, as before, somebody looks closer (a small sketch of
   counts tells).
2. From the posts with the term that surges most, a profile is fitted in a few rounds: the terms that
   are likelier within than elsewhere, weighed by how much. A post belongs when its score is above a
   limit, and the limit is the lowest one at which the posts from *before* the window, of which next
   to none can be meant, would make up at most 1 - PURE of those that belong; it lies halfway between
   the last that belongs and the next that does not, since later posts say it in other words than
   those by which it was found. A member's own terms do not count in its favour.
3. Posts of `least_authors` different authors are an incident. Its profile then recognises later
   posts at once, and is fitted again as they grow. A further surge whose posts resemble the profile
   is another side of the same matter, not another incident.

What reaches a brand steadily, however often, is no incident: it must surge against the past, in
which earlier incidents do not count. An incident ends when nobody has asked for `window_seconds`.

The measured figures are in `docs/reference/incidents.md`.
"""

import heapq
import math
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from klingel.domain.copies import Comparable, CopyWindow, Entry, Limits, comparable
from klingel.domain.identity import deterministic_id, hash64_bytes

STEP: Final = 15.0
"""Seconds of event time from one boundary to the next."""

LATENESS: Final = 15.0
"""Seconds that a boundary waits for posts from before it."""

MEMORY_SECONDS: Final = 48 * 3600.0
"""How long a post is remembered."""

PARTS: Final = (24.0, 8.0, 1.0)
"""A surge is looked for within each of these parts of the window (of two hours: five minutes, a
quarter of an hour, the whole): what begins fast shows in a short one minutes before it shows among
everything that was said in the whole, and what begins slowly in a longer one alone."""

KEPT: Final = 4_000
"""Most posts remembered; the oldest go first."""

OF_ONE_AUTHOR: Final = 3
"""Most posts of one author within the window of an incident that help to find one."""

SURGE: Final = 3.0
"""How many times as often as before a term must occur."""

SIGMAS: Final = 4.0
"""By how many deviations of chance a count must be above what is usual."""

HOT: Final = 0.7
"""Share of the least number of authors from which on a term that surges is looked at."""

AROUND: Final = 0.5
"""Share of the limit that posts around a matter reach: they must have become more as well."""

EXCESS: Final = 0.6
"""Least share of a matter's posts that those around it are more than usual."""

PATIENCE: Final = 1.1
"""A term that was looked at in vain is looked at again when its count has grown by this factor."""

PURE: Final = 0.95
"""Least share of members that are no chance hits, by the estimate from the posts before."""

CLOSE: Final = 0.35
"""Least score of a member, relative to the middle one of those it was fitted on."""

CLOSE_WITHOUT_PAST: Final = 0.5
"""The same where fewer than ENOUGH_PAST posts are known from before."""

ENOUGH_PAST: Final = 200
"""Posts from before the window from which on they tell what is usual."""

PROBATION: Final = 2.0
"""Windows of an incident that must have passed since the first post: before, nothing is usual."""

RELATED: Final = 0.15
"""Least middle score, relative to its limit, of posts that are another side of an open matter: the
mean of how they look by its profile and how its own posts look by theirs."""

GROWN: Final = 1.5
"""An open incident is told again when its count has grown by this factor."""

MOST_OPEN: Final = 8
"""Incidents of one window at one time; a further surge waits."""

SAMPLES: Final = 20
"""Posts shown of an incident: the first half and the newest half."""

COPIES: Final = 0.8
"""Share of members with one text from which on an incident is one of copies."""

_AGES: Final = range(len(PARTS))
_WITHIN: Final = len(PARTS) - 1
_PAST: Final = len(PARTS)
"""Ages of a post: the place of the first of PARTS that it lies within; or from before all."""

_SIDES = 4
_TERMS = 80
_WORDS = 60
_STEM = 5
_SEEDS = 6
_MOST_TRIED = 256
_ROUNDS = 6
_LEAST = 0.03
_TELLING = 0.5
_BINS = 1 << 15
_LANE = 16
_LANES = (1 << _LANE) - 1
_NOT_PAST = (1 << (_LANE * _PAST)) - 1
_PRIOR = (0.5, 100.0)
_MOST_AUTHORS = 20_000
_MOST_WORDS = 200
_BUCKET = 300.0
_TOLD_TERMS = 20
_TOLD_NAMES = 9
_PLACES_MORE = 1.25
_PLACES_LEAST = 64
_COPY_LIMITS = Limits(seconds=MEMORY_SECONDS, entries=2_000, megabytes=4.0)

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class IncidentRules:
    """What counts as an incident, by a brand's alert settings.

    Args:
        least_authors: different authors.
        window_seconds: within so much time of each other.
    """

    least_authors: int = 10
    window_seconds: float = 7200.0

    def __post_init__(self) -> None:
        if self.least_authors < 2 or self.window_seconds < STEP:
            raise ValueError("An incident has two authors at least and lasts a step at least.")


class Post(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One post that asks or complains.

    Args:
        id: of the event.
        at: seconds since 1970 at which it was said, never later than it was received.
        conversation: that it lies in.
        text: masked, its beginning.
        author: hash of the author; None if nobody knows, who count as one.
        customer: whose case it can be, None for nobody's.
        network: name of the network.
        intents: what the brand's model found.
        topics: of the brand's taxonomy.
        heard: boundary that had passed when it was heard; set by the window.
    """

    id: str
    at: float
    conversation: str
    text: str
    author: str | None = None
    customer: str | None = None
    network: str = ""
    intents: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    heard: float = 0.0


class Snapshot(NamedTuple):
    """An incident as it stands; counts are of posts, times seconds since 1970."""

    incident_id: str
    kind: Literal["same_question", "copies"]
    lang: str
    state: Literal["open", "ended"]
    revision: int
    opened_at: float
    updated_at: float
    ended_at: float | None
    posts: int
    authors: int
    growth_per_hour: float
    samples: tuple[str, ...]
    terms: tuple[tuple[str, int], ...]
    intents: tuple[str, ...]
    topics: tuple[str, ...]
    networks: tuple[tuple[str, int], ...]


class Changed(NamedTuple):
    """An incident began, grew or ended, at this boundary."""

    at: float
    incident: Snapshot


class Joined(NamedTuple):
    """A post was found to be one of an incident's, at this boundary."""

    at: float
    incident_id: str
    post: Post


class Linked(NamedTuple):
    """A post says again what an earlier one said.

    Attributes:
        at: boundary.
        post: the later one.
        of: id of the earlier one.
        conversation: of the earlier one.
        customer: of the earlier one.
        same_author: the same author in another conversation; otherwise on another network.
    """

    at: float
    post: Post
    of: str
    conversation: str
    customer: str
    same_author: bool


Happening = Changed | Joined | Linked


class Side(msgspec.Struct, array_like=True):
    """One profile of a matter: weights by term, and the score from which on a post belongs."""

    weights: dict[int, float]
    limit: float
    fitted: int


class Matter(msgspec.Struct, array_like=True):
    """An open incident, as it is stored."""

    incident_id: str
    opened_at: float
    last_at: float
    sides: list[Side]
    revision: int = 0
    told: int = 0
    count: int = 0
    copied: int = 0
    texts: dict[int, int] = msgspec.field(default_factory=dict)
    authors: set[str] = msgspec.field(default_factory=set)
    hours: dict[int, int] = msgspec.field(default_factory=dict)
    first: list[str] = msgspec.field(default_factory=list)
    newest: list[str] = msgspec.field(default_factory=list)
    words: dict[str, int] = msgspec.field(default_factory=dict)
    intents: dict[str, int] = msgspec.field(default_factory=dict)
    topics: dict[str, int] = msgspec.field(default_factory=dict)
    networks: dict[str, int] = msgspec.field(default_factory=dict)


class Matters(msgspec.Struct, array_like=True):
    """What a window knows beside its posts: small, and rewritten when it changes."""

    boundary: float
    since: float
    tried: dict[int, int]
    open: list[Matter]
    members: dict[str, bytes]
    tried_lately: dict[int, int] = msgspec.field(default_factory=dict)
    tried_at_once: dict[int, int] = msgspec.field(default_factory=dict)


class _Row:
    """A post in the window, past its boundary."""

    __slots__ = ("age", "known", "matter", "post")

    def __init__(self, post: Post) -> None:
        self.post = post
        self.matter = ""
        self.age = _PAST
        self.known = b""

    @property
    def recent(self) -> bool:
        return self.age != _PAST

    @property
    def terms(self) -> bytes:
        """Terms of the text; reckoned when first somebody asks, which of quiet brands nobody does."""
        if not self.known:
            self.known = terms_of(comparable(self.post.text))
        return self.known

    def knows(self, said: Comparable) -> None:
        """Reckon the terms from the text, which is folded already."""
        if not self.known:
            self.known = terms_of(said)


def terms_of(said: Comparable) -> bytes:
    """Return the numbers of the different terms of a text, rising, 4 bytes each, native order.

    Stems are the first _STEM code points of a word, which makes `card` and `cards`, `Rechnung` and
    `Rechnungen` meet; terms are stems and pairs of neighbours. Linear in the length.
    """
    stems = [word[:_STEM].encode("utf-8", "replace") for word in said.words[:_WORDS]]
    numbers = list(map(zlib.crc32, stems))
    found = set(numbers)
    found.update(map(zlib.crc32, stems[1:], [zlib.crc32(b" ", each) for each in numbers]))
    return array("I", sorted(found)).tobytes()


def due(post: Post) -> float:
    """Return the boundary at which a post is looked at."""
    return STEP * (math.floor(max(post.at, post.heard) / STEP) + 1)


class IncidentWindow:
    """Finds the incidents of one brand and language; deterministic, not safe for threads.

    A window that is restored from its `matters` and its posts goes on as the one that was stored.

    Args:
        brand: name of the brand.
        lang: language, for the records.
        rules: what counts as an incident; those that an open one began under do not matter.
    """

    def __init__(self, brand: str, lang: str, rules: IncidentRules | None = None) -> None:
        self.brand = brand
        self.lang = lang
        self.rules = rules or IncidentRules()
        self._boundary = -math.inf
        self._since = math.inf
        self._pending: list[tuple[float, float, str, Post]] = []
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._of_age: list[list[tuple[float, str]]] = [[] for _ in _AGES]
        self._ages: list[tuple[float, str]] = []
        self._free_posts = [0] * (_PAST + 1)
        self._free_authors: dict[str, int] = {}
        self._open: dict[str, Matter] = {}
        self._sketch: _Sketch | None = None
        self._tried: list[dict[int, int]] = [{} for _ in _AGES]
        self._copies = CopyWindow(_COPY_LIMITS)
        self._places: dict[str, tuple[str, str, str]] = {}

    def __len__(self) -> int:
        return len(self._rows) + len(self._pending)

    @property
    def boundary(self) -> float:
        """The last boundary that was passed; minus infinity before the first post."""
        return self._boundary

    @property
    def waits(self) -> bool:
        """Whether time alone can change anything: posts wait, or an incident is open."""
        return bool(self._pending or self._open)

    @property
    def horizon(self) -> float:
        """Time before which nothing is remembered."""
        return self._boundary - MEMORY_SECONDS

    def hear(self, post: Post) -> Post:
        """Take a post, to be looked at once its boundary passes; returns it as to be stored.

        The caller drops repeats. A post from before everything that is remembered changes nothing.
        """
        if self._boundary == -math.inf:
            # Bounded by the first post: nothing is known of any time before it.
            self._boundary = STEP * math.floor((post.at - LATENESS) / STEP)
        self._since = min(self._since, max(post.at, self._boundary - MEMORY_SECONDS))
        if post.heard != self._boundary:
            post = msgspec.structs.replace(post, heard=self._boundary)
        heapq.heappush(self._pending, (due(post), post.at, post.id, post))
        return post

    def advance(self, watermark: float) -> list[Happening]:
        """Pass every boundary up to LATENESS before the watermark; return what happened, in order.

        Args:
            watermark: seconds since 1970 up to which everything was heard, but for late posts.
        """
        last = STEP * math.floor((watermark - LATENESS) / STEP)
        happened: list[Happening] = []
        while self._pending and self._pending[0][0] <= last:
            boundary = self._pending[0][0]
            happened += self._ended(boundary - STEP)
            posts = []
            while self._pending and self._pending[0][0] == boundary:
                posts.append(heapq.heappop(self._pending)[3])
            self._boundary = boundary
            happened += self._looked_at(posts)
            happened += self._ended(boundary)
        if last > self._boundary > -math.inf:
            happened += self._ended(last)
            self._boundary = last
        return happened

    # -- boundaries ------------------------------------------------------------------------

    def _looked_at(self, posts: Sequence[Post]) -> list[Happening]:
        boundary = self._boundary
        self._forget()
        happened: list[Happening] = []
        free: list[_Row] = []
        for post in posts:
            if post.at <= self.horizon or post.id in self._rows:
                continue
            row = _Row(post)
            said = comparable(post.text)
            if self._open or self._sketch is not None:
                row.knows(said)
            is_new = post.at > boundary - self.rules.window_seconds
            matter = self._recognised(row) if self._open and is_new else None
            self._remember(row, matter.incident_id if matter is not None else "")
            happened += self._repeats(post, said)
            if matter is not None:
                happened.append(self._join(matter, row, said))
            elif row.recent:
                free.append(row)
        for age in self._hot(free):
            happened += self._search(age)
        for matter in list(self._open.values()):
            if matter.sides[0].fitted * GROWN <= matter.count:
                happened += self._fit_again(matter)
            if matter.count >= max(matter.told * GROWN, matter.told + 5):
                happened.append(Changed(boundary, self._tell(matter)))
        return happened

    def _remember(self, row: _Row, matter: str) -> None:
        post = row.post
        while len(self._rows) >= KEPT:
            self._drop(next(iter(self._rows)))
        self._rows[post.id] = row
        heapq.heappush(self._ages, (post.at, post.id))
        row.matter = matter
        row.age = self._age(post.at)
        for age in range(row.age, _PAST):
            heapq.heappush(self._of_age[age], (post.at, post.id))
        if not matter:
            self._free(row, 1)

    def _begin(self, age: int) -> float:
        """Return since when a post is of an age, or of a lower one."""
        return self._boundary - self.rules.window_seconds / PARTS[age]

    def _age(self, at: float) -> int:
        for age in _AGES:
            if at > self._begin(age):
                return age
        return _PAST

    def _forget(self) -> None:
        """Let posts pass from the window of an incident into the past, and from there out."""
        for age, posts in enumerate(self._of_age):
            left = self._begin(age)
            while posts and posts[0][0] <= left:
                row = self._rows.get(heapq.heappop(posts)[1])
                if row is not None and row.age <= age:
                    self._grow_old(row, age + 1)
        while self._ages and self._ages[0][0] <= self.horizon:
            id_ = heapq.heappop(self._ages)[1]
            if id_ in self._rows:
                self._drop(id_)

    def _drop(self, id_: str) -> None:
        row = self._rows.pop(id_)
        if not row.matter:
            self._free(row, -1)

    def _grow_old(self, row: _Row, age: int) -> None:
        """Let a post be of another age."""
        before, row.age = row.age, age
        if row.matter:
            return
        self._free_posts[before] -= 1
        self._free_posts[age] += 1
        if self._sketch is not None:
            self._sketch.move(row.terms, before, age)
        if age == _PAST:
            self._free_author(row.post.author or "", -1)

    def _free(self, row: _Row, number: int) -> None:
        """Count a post that is in no incident among those of its age, or count it out."""
        self._free_posts[row.age] += number
        if self._sketch is not None:
            self._sketch.count(row.terms, number, row.age)
        if row.age != _PAST:
            self._free_author(row.post.author or "", number)

    def _free_author(self, author: str, number: int) -> None:
        left = self._free_authors.get(author, 0) + number
        if left:
            self._free_authors[author] = left
        else:
            self._free_authors.pop(author, None)

    def _hot(self, rows: Sequence[_Row]) -> list[int]:
        """Return within which ages a term of posts surges, as far as a sketch of counts can tell."""
        if len(self._free_authors) < self.rules.least_authors:
            if 2 * len(self._free_authors) < self.rules.least_authors:
                self._sketch = None  # what it counts is counted anew when there is a use for it
            return []
        if self._boundary - self._since < PROBATION * self.rules.window_seconds:
            return []
        authors = self._free_authors
        mine = [row for row in rows if authors.get(row.post.author or "", 0) <= OF_ONE_AUTHOR]
        if not mine:
            return []
        if self._sketch is None:
            self._sketch = _Sketch()
            for each in self._rows.values():
                if not each.matter:
                    self._sketch.count(each.terms, 1, each.age)
        surging = self._sketch.surging(
            b"".join([row.terms for row in mine]), self._least_hot, self._free_posts
        )
        return [
            age
            for age, counts in surging.items()
            if any(count >= PATIENCE * self._tried[age].get(term, 0) for term, count in counts)
        ]

    @property
    def _least_hot(self) -> int:
        return max(3, math.ceil(HOT * self.rules.least_authors))

    # -- copies ----------------------------------------------------------------------------

    def _repeats(self, post: Post, said: Comparable) -> Sequence[Linked]:
        """Return what a customer's post says again: his own word elsewhere, or another network's."""
        if post.customer is None:
            return ()
        entry = Entry(post.id, post.text, post.at, post.author, post.network)
        link = self._copies.add(entry, said)
        places = self._places
        places[post.id] = (post.conversation, post.network, post.customer)
        if len(places) > _PLACES_MORE * len(self._copies) + _PLACES_LEAST:
            self._forget_places()
        if link is None:
            return ()
        of = link.own if link.own is not None else link.of
        place = self._places.get(of)
        if place is None or place[0] == post.conversation:
            return ()
        if link.own is not None:
            # A third one is linked to where the second one went.
            self._places[post.id] = (place[0], post.network, place[2])
        if link.own is None and place[1] == post.network:
            return ()
        return (Linked(self._boundary, post, of, place[0], place[2], link.own is not None),)

    def _forget_places(self) -> None:
        """Forget where posts lie to which no copy can be linked any more.

        All at once, when they have become many: so that each is looked at a few times at most.
        """
        copies = self._copies
        self._places = {id_: place for id_, place in self._places.items() if id_ in copies}

    # -- open incidents --------------------------------------------------------------------

    def _recognised(self, row: _Row) -> Matter | None:
        """Return the open incident that a post belongs to most clearly."""
        terms = np.frombuffer(row.terms, np.uint32).tolist()
        best, clearest = None, 1.0
        for matter in self._open.values():
            for side in matter.sides:
                score = _score(side, terms)
                if score >= clearest:
                    best, clearest = matter, score
        return best

    def _join(self, matter: Matter, row: _Row, said: Comparable | None = None) -> Joined:
        """Count a post among an incident's."""
        post = row.post
        if row.recent and row.matter != matter.incident_id:
            self._free(row, -1)
            row.matter = matter.incident_id
        matter.count += 1
        matter.opened_at = min(matter.opened_at, post.at)
        matter.last_at = max(matter.last_at, post.at)
        if len(matter.authors) < _MOST_AUTHORS:
            matter.authors.add(post.author or "")
        bucket = int(post.at // _BUCKET)
        matter.hours[bucket] = matter.hours.get(bucket, 0) + 1
        (matter.first if len(matter.first) < SAMPLES // 2 else matter.newest).append(post.id)
        del matter.newest[: -(SAMPLES // 2)]
        words = (comparable(post.text) if said is None else said).words[:_WORDS]
        same = zlib.crc32(" ".join(words).encode("utf-8", "replace"))
        if same in matter.texts:
            matter.copied += 1
        if same in matter.texts or len(matter.texts) < _MOST_WORDS:
            matter.texts[same] = matter.texts.get(same, 0) + 1
        weights = matter.sides[0].weights
        for word in sorted(set(words)):
            if zlib.crc32(word[:_STEM].encode("utf-8", "replace")) in weights:
                _count(matter.words, word)
        for intent in post.intents:
            _count(matter.intents, intent)
        for topic in post.topics:
            _count(matter.topics, topic)
        if post.network:
            _count(matter.networks, post.network)
        return Joined(self._boundary, matter.incident_id, post)

    def _tell(self, matter: Matter, ended_at: float | None = None) -> Snapshot:
        matter.revision += 1
        matter.told = matter.count
        newest = int(matter.last_at // _BUCKET)
        hour = int(3600 // _BUCKET)
        matter.hours = {at: n for at, n in matter.hours.items() if at > newest - hour}
        most = max(matter.texts.values(), default=0)
        return Snapshot(
            incident_id=matter.incident_id,
            kind="copies" if most >= COPIES * matter.count else "same_question",
            lang=self.lang,
            state="open" if ended_at is None else "ended",
            revision=matter.revision,
            opened_at=matter.opened_at,
            updated_at=matter.last_at,
            ended_at=ended_at,
            posts=matter.count,
            authors=len(matter.authors),
            growth_per_hour=float(sum(matter.hours.values())),
            samples=(*matter.first, *matter.newest),
            terms=tuple(_most(matter.words, _TOLD_TERMS)),
            intents=_shared(matter.intents, matter.count),
            topics=_shared(matter.topics, matter.count),
            networks=tuple(_most(matter.networks, _MOST_WORDS)),
        )

    def _ended(self, boundary: float) -> list[Happening]:
        happened: list[Happening] = []
        for matter in tuple(self._open.values()):
            end = matter.last_at + self.rules.window_seconds
            if end <= boundary:
                happened.append(Changed(end, self._tell(matter, end)))
                del self._open[matter.incident_id]
        return happened

    # -- finding ---------------------------------------------------------------------------

    def _search(self, age: int) -> list[Happening]:
        """Fit profiles to the terms that surge most; every one that holds is, or joins, a matter."""
        happened: list[Happening] = []
        ground = _Ground(list(self._rows.values()), age)
        surging = ground.surging(self._least_hot)
        before = self._tried[age]
        now = self._tried[age] = {}
        seeds: list[int] = []
        for _, at, count in surging:
            name = int(ground.names[at])
            tried = before.get(name, 0)
            if count >= PATIENCE * tried and len(seeds) < _SEEDS:
                seeds.append(at)
                tried = count
            if tried and len(now) < _MOST_TRIED:
                now[name] = tried
        for seed in seeds:
            free = ground.free & ~ground.taken
            members = ground.having(seed) & free
            if ground.authors(members) < self._least_hot:
                continue
            found = ground.fit(members, free, self._least_hot)
            if found is None or ground.authors(found.members) < self.rules.least_authors:
                continue
            ground.taken |= found.members
            rows = [ground.rows[at] for at in np.flatnonzero(found.members).tolist()]
            happened += self._declared(rows, found.side)
        return happened

    def _declared(self, rows: Sequence[_Row], side: Side) -> list[Happening]:
        matter = self._related(rows, side)
        if matter is not None:
            if len(matter.sides) < _SIDES:
                matter.sides.append(side)
            return [self._join(matter, row) for row in rows]
        if len(self._open) >= MOST_OPEN:
            return []
        first = min(rows, key=lambda row: (row.post.at, row.post.id)).post
        incident_id = deterministic_id("incident", self.brand, first.id)
        matter = Matter(incident_id, first.at, first.at, [side])
        self._open[incident_id] = matter
        joined = [self._join(matter, row) for row in rows]
        return [Changed(self._boundary, self._tell(matter)), *joined]

    def _related(self, rows: Sequence[_Row], side: Side) -> Matter | None:
        """Return the open incident that posts resemble, and it them, though they do not fit it."""
        if not self._open:
            return None
        mine: dict[str, list[_Row]] = {}
        for row in self._rows.values():
            if row.matter and row.recent:
                mine.setdefault(row.matter, []).append(row)
        best, most = None, RELATED
        for matter in self._open.values():
            like_it = max(_middle(each, rows) for each in matter.sides)
            like_them = _middle(side, mine.get(matter.incident_id, ()))
            if (like_it + like_them) / 2 > most:
                best, most = matter, (like_it + like_them) / 2
        return best

    def _fit_again(self, matter: Matter) -> list[Happening]:
        """Fit an incident's profile to all of its recent posts, and take in who belongs now."""
        ground = _Ground(list(self._rows.values()), _WITHIN)
        mine = np.array([row.matter == matter.incident_id for row in ground.rows])
        mine &= ground.recent
        matter.sides[0].fitted = matter.count
        found = ground.fit(mine, ground.free | mine, 1, rounds=2) if mine.any() else None
        if found is None or _number(found.members & mine) < mine.sum() / 2:
            return []
        matter.sides[0] = Side(found.side.weights, found.side.limit, matter.count)
        new = np.flatnonzero(found.members & ~mine).tolist()
        return [self._join(matter, ground.rows[at]) for at in new]

    # -- state -----------------------------------------------------------------------------

    def matters(self) -> Matters:
        """Return what is to be stored beside the posts; plain, and the caller's own."""
        members: dict[str, list[bytes]] = {}
        for row in self._rows.values():
            if row.matter:
                members.setdefault(row.matter, []).append(hash64_bytes(row.post.id))
        return Matters(
            self._boundary,
            self._since,
            self._tried[2],
            list(self._open.values()),
            {incident_id: b"".join(each) for incident_id, each in members.items()},
            self._tried[1],
            self._tried[0],
        )

    @classmethod
    def restore(
        cls,
        brand: str,
        lang: str,
        rules: IncidentRules,
        matters: Matters,
        posts: Iterable[Post],
    ) -> "IncidentWindow":
        """Return the window that was stored.

        Args:
            brand: name of the brand.
            lang: language.
            rules: as given to the constructor.
            matters: what `matters` returned.
            posts: what `hear` returned, in any order; those from before the horizon change nothing.
        """
        window = cls(brand, lang, rules)
        window._boundary, window._since = matters.boundary, matters.since
        window._tried = [matters.tried_at_once, matters.tried_lately, matters.tried]
        window._open = {matter.incident_id: matter for matter in matters.open}
        owners = {
            each[at : at + 8]: incident_id
            for incident_id, each in matters.members.items()
            for at in range(0, len(each), 8)
        }
        for when, at, id_, post in sorted((due(p), p.at, p.id, p) for p in posts):
            if when > matters.boundary:
                window._pending.append((when, at, id_, post))
                continue
            if post.at <= window.horizon or id_ in window._rows:
                continue
            window._remember(_Row(post), owners.get(hash64_bytes(id_), ""))
            window._repeats(post, comparable(post.text))
        heapq.heapify(window._pending)
        return window


class _Sketch:
    """Counts of terms by the ages of posts; some terms share a count.

    A number holds the counts of all ages side by side, _LANE bits each: one look finds them, and one
    sum moves a post from one to the next. No count ever falls below zero or reaches KEPT + 1.
    """

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)

    def count(self, terms: bytes, number: int, age: int) -> None:
        """Count a post of an age, or count it out."""
        self._counts[_bins(terms)] += number << (_LANE * age)

    def move(self, terms: bytes, before: int, age: int) -> None:
        """Let a post be of another age."""
        self._counts[_bins(terms)] += (1 << (_LANE * age)) - (1 << (_LANE * before))

    def surging(
        self, terms: bytes, least: int, posts: Sequence[int]
    ) -> dict[int, list[tuple[int, int]]]:
        """Return for each age the terms that may surge within it, with their counts.

        Args:
            terms: of posts.
            least: count.
            posts: by age.
        """
        shares = [sum(posts[: age + 1]) / (sum(posts[age + 1 :]) + _PRIOR[1]) for age in _AGES]
        by_age: list[list[tuple[int, int]]] = [[] for _ in _AGES]
        names = np.frombuffer(terms, np.uint32).tolist()
        for term, counts in zip(names, self._counts[_bins(terms)].tolist(), strict=True):
            if counts & _NOT_PAST < least:
                continue  # nearly all: nobody else said it lately
            now, every = 0, counts >> (_LANE * _PAST)
            for age in _AGES:
                every += counts >> (_LANE * age) & _LANES
            for age in _AGES:
                now += counts >> (_LANE * age) & _LANES
                if now >= least and _surges(now, (every - now + _PRIOR[0]) * shares[age], least):
                    by_age[age].append((term, now))
        return {age: found for age, found in enumerate(by_age) if found}


def _bins(terms: bytes) -> Numbers:
    return (np.frombuffer(terms, np.uint32) % _BINS).astype(np.int64)


def _surges(now: float, usual: float, least: int) -> bool:
    """Whether a count is far above what is usual, by more than chance."""
    return now >= least and now >= SURGE * usual and now >= usual + SIGMAS * math.sqrt(usual)


class _Found(NamedTuple):
    members: Mask
    side: Side


class _Ground:
    """The posts of a window as arrays, for one search."""

    def __init__(self, rows: Sequence[_Row], age: int) -> None:
        self.rows = rows
        terms = [row.known or row.terms for row in rows]
        flat = np.frombuffer(b"".join(terms), np.uint32)
        of = np.repeat(np.arange(len(rows)), np.array(list(map(len, terms))) // 4)
        self.recent: Mask = np.array([row.age for row in rows]) <= age
        # A profile knows what two recent posts share, and nothing else.
        bins = flat % _BINS
        shared = np.bincount(bins[self.recent[of]], minlength=_BINS)[bins] > 1
        self.of: Numbers = of[shared]
        self.names, self.terms = np.unique(flat[shared], return_inverse=True)
        free = np.array([not row.matter for row in rows], np.bool_)
        self.past: Mask = ~self.recent & free
        self.free: Mask = self.recent & free
        self.taken: Mask = np.zeros(len(rows), np.bool_)
        seen: dict[str, int] = {}
        for at in np.flatnonzero(self.free).tolist():
            author = rows[at].post.author or ""
            seen[author] = seen.get(author, 0) + 1
            self.free[at] = seen[author] <= OF_ONE_AUTHOR
        self.all: Mask = self.free | self.past
        self.all_number = _number(self.all)
        self.all_counts: Floats = self.counts(self.all)
        self.span = _number(self.free) / max(1, _number(self.past))

    def counts(self, members: Mask) -> Floats:
        """Return in how many of some posts each term occurs."""
        found = np.bincount(self.terms[members[self.of]], minlength=len(self.names))
        return found.astype(np.float64)

    def scores(self, weights: Floats) -> Floats:
        """Return the sum of the weights of each post's terms."""
        return np.bincount(self.of, weights[self.terms], len(self.rows)).astype(np.float64)

    def having(self, term: int) -> Mask:
        """Return which posts have a term."""
        members = np.zeros(len(self.rows), np.bool_)
        members[self.of[self.terms == term]] = True
        return members

    def authors(self, members: Mask) -> int:
        """Return how many authors some posts have."""
        return len({self.rows[at].post.author or "" for at in np.flatnonzero(members).tolist()})

    def surging(self, least: int) -> list[tuple[float, int, int]]:
        """Return the terms that surge, strongest first."""
        now, before = self.counts(self.free), self.counts(self.past)
        share = _number(self.free) / (_number(self.past) + _PRIOR[1])
        usual = (before + _PRIOR[0]) * share
        far = (now >= SURGE * usual) & (now >= usual + SIGMAS * np.sqrt(usual))
        hot = np.flatnonzero(far & (now >= least))
        strength = now[hot] * np.log(now[hot] / usual[hot])
        order = np.lexsort((self.names[hot], -strength))
        return [(float(strength[at]), int(hot[at]), int(now[hot[at]])) for at in order]

    def fit(self, members: Mask, free: Mask, least: int, rounds: int = _ROUNDS) -> _Found | None:
        """Fit a profile to posts and find who belongs to it; None when nobody does.

        Args:
            members: the posts to begin with.
            free: who may belong.
            least: members; it ends early with fewer.
            rounds: of fitting at most; it ends early when nothing changes.
        """
        limit, weights = 0.0, np.zeros(len(self.names))
        for _ in range(rounds):
            weights, without_one = self._weights(members)
            scores = self.scores(weights)
            own = self.scores(without_one)
            scores[members] = own[members]
            limit = self._limit(scores, members, free)
            belonging = free & (scores >= limit)
            if _number(belonging) < least:
                return None
            if np.array_equal(belonging, members):
                break
            members = belonging
        if not self._surges(scores, members, free, AROUND * limit):
            return None
        kept = np.flatnonzero(weights)
        return _Found(
            members,
            Side(
                {int(self.names[at]): float(weights[at]) for at in kept},
                limit,
                _number(members),
            ),
        )

    def _surges(self, scores: Floats, members: Mask, free: Mask, around: float) -> bool:
        """Whether all that is near a matter has become more, not a phrase alone, by chance."""
        now = _number(free & (scores >= around))
        usual = _number(self.past & (scores >= around)) * self.span
        by_chance = SIGMAS * math.sqrt(usual * (1 + self.span))
        return bool(now - usual >= max(EXCESS * _number(members), by_chance))

    def _weights(self, members: Mask) -> tuple[Floats, Floats]:
        """Return the weights of a profile; and for its own members, without what each adds."""
        inside = self.counts(members)
        size = _number(members)
        among = members & self.all
        known = inside if _number(among) == size else self.counts(among)
        outside = (self.all_counts - known + 0.5) / (self.all_number - _number(among) + 1)
        least = max(2.0, _LEAST * size)

        def weigh(count: Floats, of: int) -> Floats:
            share = (count + 0.5) / (of + 1)
            told = np.log(share / outside)
            return np.where((count >= least) & (told > _TELLING), told * share, 0.0)

        weights = weigh(inside, size)
        if np.count_nonzero(weights) > _TERMS:
            weights[weights < np.partition(weights, -_TERMS)[-_TERMS]] = 0.0
        without_one = np.where(weights > 0, weigh(np.maximum(inside - 1, 0.0), size - 1), 0.0)
        return weights, without_one

    def _limit(self, scores: Floats, members: Mask, free: Mask) -> float:
        """Return the lowest score at which next to none belong by chance, halfway to the next."""
        enough = _number(self.past) >= ENOUGH_PAST
        floor = float(np.median(scores[members])) * (CLOSE if enough else CLOSE_WITHOUT_PAST)
        floor = max(floor, 1e-9)
        now = np.sort(scores[free & (scores >= floor)])[::-1]
        before = np.sort(scores[self.past & (scores >= floor)])
        if not len(now):
            return math.inf
        chance = (len(before) - np.searchsorted(before, now, "left")) * self.span
        pure = np.flatnonzero(chance <= (1 - PURE) * np.arange(1, len(now) + 1))
        if not len(pure):
            return math.inf
        lowest = float(now[pure[-1]])
        others = [floor, *now[pure[-1] + 1 :][:1], *before[before < lowest][-1:]]
        return (lowest + float(max(others))) / 2


def _score(side: Side, terms: Iterable[int]) -> float:
    """Return the score of a post's terms by a profile, relative to its limit."""
    get = side.weights.get
    return math.fsum([get(term, 0.0) for term in terms]) / side.limit


def _middle(side: Side, rows: Sequence[_Row]) -> float:
    """Return the middle score of some posts; 0 of none."""
    scores = sorted([_score(side, np.frombuffer(row.terms, np.uint32).tolist()) for row in rows])
    return scores[len(scores) // 2] if scores else 0.0


def _number(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _count(counts: dict[str, int], name: str) -> None:
    """Count a name, if there is room for it."""
    if name in counts or len(counts) < _MOST_WORDS:
        counts[name] = counts.get(name, 0) + 1


def _most(counts: Mapping[str, int], number: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:number]


def _shared(counts: Mapping[str, int], of: int) -> tuple[str, ...]:
    """Return what a quarter of all have at least, the most frequent first."""
    return tuple([name for name, count in _most(counts, _TOLD_NAMES) if 4 * count >= of])
