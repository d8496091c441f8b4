"""The seeded traffic model: who says what, in which thread, in which order it is delivered.

Pure: the same (seed, brand, account, mix, dialect, count) gives the same objects on every machine.
Times are relative (``lag_seconds`` before delivery); outlets turn them into real ones.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, Generic, TypeVar

from klingel_simulator import hostile, phrases
from klingel_simulator.brand import Brand
from klingel_simulator.people import Person, to_person

RECENT: Final = 2_048
"""An edit, deletion, duplicate, quote or repost refers to one of the last so many deliveries."""
OPEN_THREADS: Final = 512
OVERDUE_SECONDS: Final = (1_800.0, 4_800.0)
"""How long before its delivery an overdue post was said: a network was away and is heard again."""
CRISIS_PERIOD: Final = 20_000
"""Without an end, and where nothing else is asked for, a crisis returns once in so many objects."""

_EDITABLE: Final = frozenset({"post", "reply", "quote"})
_DELETABLE: Final = _EDITABLE | {"repost", "reaction"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of all objects, each between 0 and 1.

    ``noise``: what no brand hears. ``addressed``: opens or changes a case of the brand. The rest
    of what is heard talks about the brand. ``out_of_order``: held back and delivered later.
    ``overdue``: of the customers' first posts to the brand, those that were said 30 to 80 minutes
    before they are delivered. ``crisis_share``: of what is said between ``crisis_start`` and ``crisis_end`` (fractions of the
    run, or of ``period`` objects where the run has no end) about and to the brand.
    """

    noise: float = 0.3
    addressed: float = 0.2
    edits: float = 0.03
    deletions: float = 0.02
    duplicates: float = 0.02
    out_of_order: float = 0.03
    hostile: float = 0.03
    overdue: float = 0.0
    crisis_start: float = 0.5
    crisis_end: float = 0.65
    crisis_share: float = 0.7
    people: int = 5_000
    period: int = CRISIS_PERIOD

    def __post_init__(self) -> None:
        """Refuse shares that do not fit together (``ValueError``, one sentence)."""
        for name in (
            *("noise", "addressed", "edits", "deletions", "duplicates", "out_of_order"),
            *("hostile", "overdue", "crisis_start", "crisis_end", "crisis_share"),
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mix: {name} must lie between 0 and 1")
        if self.people < 100:
            raise ValueError("mix: people must be at least 100")
        if self.period < 1:
            raise ValueError("mix: period must be at least 1")
        fresh = 1 - self.edits - self.deletions - self.duplicates
        if fresh <= 0 or fresh * (1 - self.noise) + 1e-9 < self.addressed:
            raise ValueError("mix: noise, addressed, edits, deletions and duplicates exceed 1")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an outlet's network can express and promises.

    ``bare_replies``: a reply names its root's author, so answers under the brand's own post are
    heard without a term. ``reposts_carry_text``: a repost repeats the text. ``reactions``: likes
    travel the same stream. ``author_order``: what one author did arrives in the order it was done.
    """

    bare_replies: bool
    reposts_carry_text: bool
    reactions: bool
    author_order: bool
    max_text_bytes: int


BLUESKY: Final = Dialect(
    bare_replies=True,
    reposts_carry_text=False,
    reactions=True,
    author_order=True,
    max_text_bytes=3_000,
)
GENERIC: Final = Dialect(
    bare_replies=False,
    reposts_carry_text=True,
    reactions=False,
    author_order=False,
    max_text_bytes=20_000,
)


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a simulated thing at one of its revisions."""

    key: int
    did: str
    revision: int


@dataclass(frozen=True, slots=True)
class SimulatedObject:
    """One delivery: something that somebody did, or the same once more.

    ``key`` names the thing (counts from 1); ``revision`` is its edit counter, 0 when created.
    ``kind``: post, reply, quote, repost, reaction. ``operation``: create, update, delete.
    ``mentions`` holds (handle in the text, did). ``heard``: the brand must hear it.
    ``repeated``: the same delivery was made before. A deletion has no text.
    """

    key: int
    person: Person
    kind: str
    operation: str
    revision: int
    text: str
    language: str
    intent: str
    tone: str
    topic: str
    heard: bool
    addressed: bool = False
    by_brand: bool = False
    root: Ref | None = None
    parent: Ref | None = None
    about: Ref | None = None
    mentions: tuple[tuple[str, str], ...] = ()
    hostile: str | None = None
    repeated: bool = False
    lag_seconds: float = 0.0

    @property
    def ref(self) -> Ref:
        """A reference to this thing at this revision."""
        return Ref(self.key, self.person.did, self.revision)


@dataclass(slots=True)
class _Living:
    """A thing that can still be edited, deleted, delivered again."""

    latest: SimulatedObject
    delivered: SimulatedObject
    deleted: bool = False


@dataclass(slots=True)
class _Thread:
    """A customer's conversation with the brand."""

    root: Ref
    last: Ref
    customer: Person
    topic: str
    brand_is_next: bool = True
    turns: int = 1


class _Ring(Generic[T]):
    """The last ``size`` things, chosen from at random."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: list[T] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: T) -> None:
        """Remember an item, forget the oldest."""
        if len(self._items) < self._size:
            self._items.append(item)
        else:
            self._items[self._next] = item
            self._next = (self._next + 1) % self._size

    def choose(self, rng: Random) -> T:
        """Choose one; the ring must not be empty."""
        return self._items[int(rng.random() * len(self._items))]


_SLOT_VALUES: Final[dict[str, Callable[[Random, Brand], object]]] = {
    "brand": lambda _rng, brand: brand.name,
    "product": lambda rng, brand: rng.choice(brand.products),
    "city": lambda rng, brand: rng.choice(brand.cities),
    "competitor": lambda rng, brand: rng.choice(brand.competitors),
    "days": lambda rng, _brand: rng.randint(2, 14),
    "hour": lambda rng, _brand: rng.randint(6, 23),
    "minutes": lambda rng, _brand: rng.randint(5, 95),
    "number": lambda rng, _brand: rng.randint(2, 42),
    "customer": lambda rng, _brand: f"KD-{rng.randint(10_000_000, 99_999_999)}",
    "speed": lambda rng, _brand: rng.choice((16, 50, 100, 250, 1000)),
    "price": lambda rng, _brand: rng.choice(("9,99", "19,99", "34,95", "49,90", "120")),
}


class _Slots(dict[str, str]):
    """Fills a template's slots on first use, the same slot with the same value."""

    def __init__(self, rng: Random, brand: Brand, **fixed: str) -> None:
        super().__init__(fixed)
        self._rng = rng
        self._brand = brand

    def __missing__(self, slot: str) -> str:
        value = str(_SLOT_VALUES[slot](self._rng, self._brand))
        self[slot] = value
        return value


def to_pattern(brand: Brand, account: str) -> re.Pattern[str]:
    """Build the expression that finds the brand's account or a term as a word of its own."""
    words = "|".join(re.escape(word) for word in (f"@{account}", *brand.terms))
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


class Traffic:
    """An iterator over simulated objects in the order of delivery.

    ``account`` is the brand's account as it is mentioned at this outlet (without ``@``). With
    ``count`` 0 the traffic has no end.
    """

    def __init__(
        self,
        seed: int,
        *,
        count: int,
        dialect: Dialect,
        brand: Brand | None = None,
        account: str | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.seed = seed
        self.brand = brand or Brand()
        self.account = account or self.brand.handle
        self.mix = mix or Mix()
        self.dialect = dialect
        self.count = count
        self._rng = Random(f"klingel/{seed}")  # noqa: S311 seeded traffic, not cryptography
        self._pattern = to_pattern(self.brand, self.account)
        self._hashtag = next(
            (term for term in self.brand.terms if term.startswith("#")), self.brand.name
        )
        self._voice = Person(
            number=0,
            did=self.brand.did,
            handle=self.account,
            name=self.brand.name,
            language="de",
            followers=84_000,
        )
        self._crisis_city = self._rng.choice(self.brand.cities)
        self._people: dict[int, Person] = {}
        self._position = 0
        self._last_key = 0
        self._held: list[tuple[int, int, SimulatedObject]] = []
        self._held_authors: dict[str, int] = {}
        self._recent: _Ring[_Living] = _Ring(RECENT)
        self._heard_posts: _Ring[SimulatedObject] = _Ring(256)
        self._noise_posts: _Ring[SimulatedObject] = _Ring(256)
        self._brand_posts: _Ring[SimulatedObject] = _Ring(64)
        self._overtaken: dict[int, _Living] = {}
        self._threads: list[_Thread] = []

    def hears(self, text: str) -> bool:
        """Say whether a text mentions the brand's account or uses one of its terms."""
        return self._pattern.search(text) is not None

    def __iter__(self) -> Iterator[SimulatedObject]:
        """Yield ``count`` objects, or objects for ever."""
        while not self.count or self._position + len(self._held) < self.count:
            if self._held and self._held[0][0] <= self._position:
                yield self._release()
                continue
            said = self._next()
            if self._is_held_back(said):
                yield from self._hold(said)
            else:
                yield self._delivered(said)
        while self._held:
            yield self._release()

    # --- order of delivery -------------------------------------------------------------------

    def _is_held_back(self, said: SimulatedObject) -> bool:
        if said.repeated or said.operation != "create" or said.lag_seconds >= OVERDUE_SECONDS[0]:
            return False
        return self._rng.random() < self.mix.out_of_order

    def _hold(self, said: SimulatedObject) -> Iterator[SimulatedObject]:
        late = replace(said, lag_seconds=said.lag_seconds + self._rng.uniform(2, 120))
        until = self._position + self._rng.randint(2, 60)
        heappush(self._held, (until, late.key, late))
        did = late.person.did
        self._held_authors[did] = self._held_authors.get(did, 0) + 1
        room = not self.count or self._position + len(self._held) < self.count
        if not room or late.kind != "post" or self._rng.random() < 0.7:
            return
        if self._threads and self._threads[-1].root.key == late.key:
            # the answer comes before the question, when its author is free to speak
            if self._voice.did not in self._held_authors:
                yield self._delivered(self._turn(len(self._threads) - 1, self._threads[-1]))
        elif not self.dialect.author_order:
            # where the network promises no order, an edit may overtake what it edits
            edited = self._edited(late)
            self._overtaken[late.key] = _Living(edited, edited)
            yield self._delivered(edited)

    def _release(self) -> SimulatedObject:
        said = heappop(self._held)[2]
        did = said.person.did
        self._held_authors[did] -= 1
        if not self._held_authors[did]:
            del self._held_authors[did]
        return self._delivered(said)

    def _delivered(self, said: SimulatedObject) -> SimulatedObject:
        self._position += 1
        if said.operation == "create" and not said.repeated:
            overtaken = said.key in self._overtaken
            living = self._overtaken.pop(said.key) if overtaken else _Living(said, said)
            self._recent.append(living)
            self._remember(said)
        return said

    def _remember(self, said: SimulatedObject) -> None:
        if said.kind != "post":
            return
        if said.by_brand:
            self._brand_posts.append(said)
        elif said.heard:
            self._heard_posts.append(said)
        else:
            self._noise_posts.append(said)

    # --- what comes next ---------------------------------------------------------------------

    def _next(self) -> SimulatedObject:
        mix, draw = self.mix, self._rng.random()
        if draw < mix.duplicates:
            return self._again() or self._fresh()
        draw -= mix.duplicates
        if draw < mix.edits:
            return self._edit() or self._fresh()
        draw -= mix.edits
        if draw < mix.deletions:
            return self._deletion() or self._fresh()
        return self._fresh()

    def _fresh(self) -> SimulatedObject:
        mix = self.mix
        share = 1 - mix.edits - mix.deletions - mix.duplicates
        draw = self._rng.random()
        if draw < mix.noise:
            return self._noise()
        if draw < mix.noise + mix.addressed / share:
            return self._addressed()
        return self._brand_talk()

    def _pick_living(self, kinds: frozenset[str]) -> _Living | None:
        """Choose something that a customer can still change."""
        for _ in range(16 if len(self._recent) else 0):
            living = self._recent.choose(self._rng)
            last = living.latest
            if living.deleted or last.by_brand or last.kind not in kinds:
                continue
            if last.person.did not in self._held_authors:
                return living
        return None

    def _again(self) -> SimulatedObject | None:
        if not len(self._recent):
            return None
        return replace(self._recent.choose(self._rng).delivered, repeated=True)

    def _edited(self, said: SimulatedObject) -> SimulatedObject:
        note = self._rng.choice(phrases.EDIT[said.language])
        text = hostile.clip(f"{said.text} {note}", self.dialect.max_text_bytes)
        return replace(
            said, operation="update", revision=said.revision + 1, text=text, lag_seconds=0.1
        )

    def _edit(self) -> SimulatedObject | None:
        living = self._pick_living(_EDITABLE)
        if living is None:
            return None
        edited = self._edited(living.latest)
        living.latest = living.delivered = edited
        return edited

    def _deletion(self) -> SimulatedObject | None:
        living = self._pick_living(_DELETABLE)
        if living is None:
            return None
        last = living.latest
        living.deleted = True
        living.latest = living.delivered = replace(
            last,
            operation="delete",
            revision=last.revision + 1,
            text="",
            mentions=(),
            hostile=None,
            lag_seconds=0.1,
        )
        return living.latest

    # --- people and words --------------------------------------------------------------------

    def _someone(self) -> Person:
        while True:
            # some write a lot, most write little
            number = 1 + int(self._rng.random() ** 2 * self.mix.people)
            person = self._people.get(number)
            if person is None:
                person = self._people[number] = to_person(self.seed, number)
            if not self.dialect.author_order or person.did not in self._held_authors:
                return person

    def _fill(self, templates: tuple[str, ...], mood: str = "neutral", **fixed: str) -> str:
        text = self._rng.choice(templates).format_map(_Slots(self._rng, self.brand, **fixed))
        return text + self._rng.choice(phrases.TAILS[mood])

    def _to_brand(self, text: str) -> str:
        at = f"@{self.account}"
        return f"{at} {text}" if self._rng.random() < 0.8 else f"{text} {at}"

    def _with_term(self, text: str) -> str:
        return text if self.hears(text) else f"{text} {self._hashtag}"

    def _said(self, person: Person, text: str, **more: Any) -> SimulatedObject:
        """Make a new thing; text may turn hostile, never so that hearing it changes."""
        self._last_key += 1
        kind_of_hostility = None
        if text and not more.get("by_brand") and self._rng.random() < self.mix.hostile:
            kind = self._rng.choice(tuple(hostile.KINDS))
            twisted = hostile.KINDS[kind](text, self._rng)
            if self.hears(hostile.clip(twisted, self.dialect.max_text_bytes)) == self.hears(text):
                text, kind_of_hostility = twisted, kind
        values: dict[str, Any] = {
            "kind": "post",
            "language": person.language,
            "intent": "small_talk",
            "tone": "neutral",
            "topic": "none",
            "heard": False,
            "lag_seconds": self._rng.expovariate(1.0),
        }
        values.update(more)
        return SimulatedObject(
            key=self._last_key,
            person=person,
            operation="create",
            revision=0,
            text=hostile.clip(text, self.dialect.max_text_bytes),
            hostile=kind_of_hostility,
            **values,
        )

    @property
    def _in_crisis(self) -> bool:
        period = self.count or self.mix.period
        start, end = self.mix.crisis_start * period, self.mix.crisis_end * period
        here = start <= self._position % period < end
        return here and self._rng.random() < self.mix.crisis_share

    def _concern(self, language: str) -> tuple[str, str, str, str]:
        """Choose (text, intent, tone, topic) of something that needs an answer."""
        if self._in_crisis:
            text = self._fill(phrases.CRISIS[language], "negative", city=self._crisis_city)
            return text, "complaint", "negative", "outage"
        draw = self._rng.random()
        if draw < 0.4:
            topics = phrases.COMPLAINT[language]
            topic = self._rng.choice(tuple(topics))
            return self._fill(topics[topic], "negative"), "complaint", "negative", topic
        if draw < 0.65:
            return self._fill(phrases.PROBLEM[language], "negative"), "problem", "negative", "fault"
        if draw < 0.9:
            return self._fill(phrases.QUESTION[language]), "question", "neutral", "product"
        return self._fill(phrases.LEAD[language]), "lead", "neutral", "sales"

    # --- to the brand ------------------------------------------------------------------------

    def _addressed(self) -> SimulatedObject:
        if self._threads and self._rng.random() < 0.55:
            index = int(self._rng.random() * len(self._threads))
            thread = self._threads[index]
            speaker = self._voice.did if thread.brand_is_next else thread.customer.did
            if not self.dialect.author_order or speaker not in self._held_authors:
                return self._turn(index, thread)
        return self._opening()

    def _opening(self) -> SimulatedObject:
        person = self._someone()
        text, intent, tone, topic = self._concern(person.language)
        said = self._said(
            person,
            self._to_brand(text),
            intent=intent,
            tone=tone,
            topic=topic,
            heard=True,
            addressed=True,
            mentions=((self.account, self.brand.did),),
        )
        # Nothing is drawn where nothing is overdue: the same seed goes on giving the same traffic.
        if self.mix.overdue and self._rng.random() < self.mix.overdue:
            said = replace(said, lag_seconds=self._rng.uniform(*OVERDUE_SECONDS))
        if len(self._threads) >= OPEN_THREADS:
            self._threads.pop(0)
        self._threads.append(_Thread(said.ref, said.ref, person, topic))
        return said

    def _turn(self, index: int, thread: _Thread) -> SimulatedObject:
        said = self._answer(thread) if thread.brand_is_next else self._follow_up(thread)
        thread.last = said.ref
        thread.brand_is_next = not thread.brand_is_next
        thread.turns += 1
        if said.intent == "thanks" or thread.turns > 8:
            self._threads.pop(index)
        return said

    def _answer(self, thread: _Thread) -> SimulatedObject:
        customer = thread.customer
        words = self._fill(phrases.AGENT_REPLY[customer.language], "none")
        agent = self._rng.choice(self.brand.agents)
        return self._said(
            self._voice,
            f"@{customer.handle} {words} ^{agent}",
            kind="reply",
            language=customer.language,
            intent="agent_reply",
            topic=thread.topic,
            heard=True,
            addressed=True,
            by_brand=True,
            root=thread.root,
            parent=thread.last,
            mentions=((customer.handle, customer.did),),
        )

    def _follow_up(self, thread: _Thread) -> SimulatedObject:
        grateful = thread.turns >= 2 and self._rng.random() < 0.4
        table = phrases.THANKS if grateful else phrases.FOLLOW_UP
        mood = "positive" if grateful else "negative"
        return self._said(
            thread.customer,
            self._to_brand(self._fill(table[thread.customer.language], mood)),
            kind="reply",
            intent="thanks" if grateful else "follow_up",
            tone=mood,
            topic=thread.topic,
            heard=True,
            addressed=True,
            root=thread.root,
            parent=thread.last,
            mentions=((self.account, self.brand.did),),
        )

    # --- about the brand ---------------------------------------------------------------------

    def _brand_talk(self) -> SimulatedObject:
        draw = self._rng.random()
        if self._in_crisis:
            return self._crisis_post()
        if draw < 0.04 and self._voice.did not in self._held_authors:
            return self._announcement()
        if draw < 0.16 and len(self._brand_posts):
            return self._under_brand_post()
        if draw < 0.26 and len(self._heard_posts):
            return self._quote()
        if draw < 0.36 and len(self._heard_posts) and self.dialect.reposts_carry_text:
            return self._repost(self._heard_posts.choose(self._rng))
        return self._mention_by_term()

    def _crisis_post(self) -> SimulatedObject:
        person = self._someone()
        text = self._fill(phrases.CRISIS[person.language], "negative", city=self._crisis_city)
        return self._said(
            person,
            self._with_term(text),
            intent="complaint",
            tone="negative",
            topic="outage",
            heard=True,
        )

    def _announcement(self) -> SimulatedObject:
        language = "de" if self._rng.random() < 0.8 else "en"
        return self._said(
            self._voice,
            self._fill(phrases.ANNOUNCEMENT[language], "none"),
            language=language,
            intent="announcement",
            topic="product",
            heard=True,
            by_brand=True,
        )

    def _under_brand_post(self) -> SimulatedObject:
        post = self._brand_posts.choose(self._rng)
        person = self._someone()
        text = self._fill(phrases.UNDER_BRAND_POST[person.language])
        if not (self.dialect.bare_replies and self._rng.random() < 0.6):
            text = self._with_term(text)
        return self._said(
            person, text, kind="reply", topic="product", heard=True, root=post.ref, parent=post.ref
        )

    def _quote(self) -> SimulatedObject:
        person = self._someone()
        quoted = self._heard_posts.choose(self._rng)
        return self._said(
            person,
            self._with_term(self._fill(phrases.QUOTE[person.language])),
            kind="quote",
            tone="negative",
            topic=quoted.topic,
            heard=True,
            about=quoted.ref,
        )

    def _repost(self, original: SimulatedObject) -> SimulatedObject:
        person = self._someone()
        text = ""
        if self.dialect.reposts_carry_text:
            text = f"RT @{original.person.handle}: {original.text}"
            text = hostile.clip(text, self.dialect.max_text_bytes)
        self._last_key += 1
        return SimulatedObject(
            key=self._last_key,
            person=person,
            kind="repost",
            operation="create",
            revision=0,
            text=text,
            language=original.language,
            intent="repost",
            tone=original.tone,
            topic=original.topic,
            heard=self.hears(text),
            about=original.ref,
            lag_seconds=self._rng.expovariate(1.0),
        )

    def _mention_by_term(self) -> SimulatedObject:
        person = self._someone()
        draw = self._rng.random()
        if draw < 0.3:
            text, intent, tone, topic = self._concern(person.language)
        elif draw < 0.55:
            text = self._fill(phrases.PRAISE[person.language], "positive")
            intent, tone, topic = "praise", "positive", "service"
        else:
            text = self._fill(phrases.BRAND_TALK[person.language])
            intent, tone, topic = "small_talk", "neutral", "none"
        return self._said(
            person, self._with_term(text), intent=intent, tone=tone, topic=topic, heard=True
        )

    # --- noise -------------------------------------------------------------------------------

    def _noise(self) -> SimulatedObject:
        draw = self._rng.random()
        if len(self._noise_posts):
            post = self._noise_posts.choose(self._rng)
            if draw < 0.12 and self.dialect.reactions:
                return self._reaction(post)
            if draw < 0.22:
                return self._repost(post)
            if draw < 0.4:
                person = self._someone()
                return self._said(
                    person,
                    self._fill(phrases.NOISE_REPLY[person.language]),
                    kind="reply",
                    root=post.ref,
                    parent=post.ref,
                )
        person = self._someone()
        rival = draw > 0.85
        table = phrases.COMPETITOR if rival else phrases.NOISE_POST
        return self._said(
            person,
            self._fill(table[person.language]),
            intent="competitor" if rival else "small_talk",
        )

    def _reaction(self, post: SimulatedObject) -> SimulatedObject:
        return self._said(self._someone(), "", kind="reaction", intent="like", about=post.ref)
