"""Customers who rouse each other: the negative replies of one thread that grow, as one matter.

    told = hear(pile_ons, rules, "nordlicht", voice, now)      # on every dated word of a customer
    told = pass_time(pile_ons, read_to)                           # ends, and what is forgotten

A thread piles on once, within an hour of its newest word, `authors` different customers have been
negative in it, twice as many as in the hour before. One alarm stands for a thread until an hour has
passed without a negative word of anybody; it is told again whenever the number of its authors has
doubled. Whether the thread is long, or the brand large, is no matter: what the counts of a whole
brand drown is seen here.

All times are event times, in seconds since 1970. What is remembered is bounded: of a thread its
newest words of two hours, of a brand its threads of that time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from klingel.domain.early_warning import doubled_severity
from klingel.domain.identity import deterministic_id

RECENT_SECONDS: Final = 3_600.0
"""What counts as one wave; the hour before it is what it has to outgrow."""

GROWTH: Final = 2
"""Times as many authors as in the hour before."""

STALE_SECONDS: Final = 3_600.0
"""Nothing opens for words that are older: catching up does not ring for what is long over."""

MOST_THREADS: Final = 1_000
"""Threads of a brand that are remembered; those that have been quiet for longest are forgotten."""

MOST_WORDS: Final = 256
"""Words of a thread that are remembered; the oldest is forgotten."""

EXAMPLES: Final = 5
"""Events that an alarm names: those with the largest reach."""

SWEEP_SECONDS: Final = 300.0
"""How often it is looked which threads are over; an alarm ends up to so much later."""

BEGIN_SEVERITY: Final = 4


class Voice(NamedTuple):
    """A customer's word in a thread.

    Args:
        conversation: id of the thread.
        event_id: of the social event.
        at: seconds since 1970 at which it was said.
        author: 64-bit hash of the author; None if unknown: nobody else then.
        network: name of the network.
        reach: how many people may see it.
        is_negative: whether its tone is negative.
    """

    conversation: str
    event_id: str
    at: float
    author: int | None
    network: str
    reach: float
    is_negative: bool


class Word(msgspec.Struct, array_like=True):
    """What is kept of a voice."""

    at: float
    author: int | None
    event_id: str
    reach: float
    is_negative: bool


class Alarm(msgspec.Struct, array_like=True):
    """An alarm that is open.

    Attributes:
        authors: so many were told last.
    """

    alert_id: str
    since: float
    newest: float
    authors: int
    severity: int
    revision: int


class Thread(msgspec.Struct, array_like=True):
    """One thread: its words in the order of their times, and its alarm."""

    network: str
    newest: float
    words: list[Word] = msgspec.field(default_factory=list)
    alarm: Alarm | None = None


class PileOns(msgspec.Struct, array_like=True):
    """All that is remembered of one brand; plain, and bounded.

    Attributes:
        swept_at: when it was last looked which threads are over.
    """

    threads: dict[str, Thread] = msgspec.field(default_factory=dict)
    swept_at: float = 0.0


@dataclass(frozen=True, slots=True)
class PileOnRules:
    """When a thread piles on.

    Args:
        authors: so many customers, negative within an hour; None never.
    """

    authors: int | None = None


class Told(NamedTuple):
    """An alarm that began, grew or ended.

    Attributes:
        words: of its wave, customers' words of any tone.
        before: customers who were negative in the hour before.
        examples: ids of the events with the largest reach, the largest first.
        negative_share: of its words, 0..1.
    """

    alert_id: str
    conversation: str
    network: str
    state: Literal["open", "ended"]
    revision: int
    severity: int
    since: float
    at: float
    ended_at: float | None
    authors: int
    before: int
    words: int
    reach: float
    negative_share: float
    examples: tuple[str, ...]


def hear(
    pile_ons: PileOns, rules: PileOnRules, brand: str, voice: Voice, now: float
) -> Told | None:
    """Take a word; return the alarm that it opens or makes larger.

    Args:
        pile_ons: changed.
        rules: what is too much.
        brand: name of the brand.
        voice: a word that was not heard before.
        now: the reader's clock, seconds since 1970.
    """
    if rules.authors is None:
        return None
    threads = pile_ons.threads
    thread = threads.get(voice.conversation)
    if thread is None:
        if not voice.is_negative:
            return None  # nothing to pile onto yet
        if len(threads) >= MOST_THREADS and not _forget_quiet(threads):
            return None
        thread = threads[voice.conversation] = Thread(voice.network, voice.at)
    _note(thread, voice)
    if not voice.is_negative or now - voice.at > STALE_SECONDS:
        return None
    return _judge(thread, rules.authors, brand, voice.conversation)


def pass_time(pile_ons: PileOns, until: float) -> list[Told]:
    """Return the alarms that are over; forget the threads of which nothing is to be known any more.

    Args:
        pile_ons: changed.
        until: seconds since 1970 up to which every row was heard.
    """
    told: list[Told] = []
    if until < pile_ons.swept_at + SWEEP_SECONDS:
        return told
    pile_ons.swept_at = until
    for conversation, thread in list(pile_ons.threads.items()):
        alarm = thread.alarm
        if alarm is not None and until - alarm.newest >= RECENT_SECONDS:
            alarm.revision += 1
            thread.alarm = None
            told.append(_told(thread, alarm, conversation, "ended", until))
        if thread.alarm is None and until - thread.newest >= 2 * RECENT_SECONDS:
            del pile_ons.threads[conversation]
    return told


def _note(thread: Thread, voice: Voice) -> None:
    words = thread.words
    words.append(Word(voice.at, voice.author, voice.event_id, voice.reach, voice.is_negative))
    if voice.at < thread.newest:
        words.sort(key=_place_of)
    else:
        thread.newest = voice.at
    least = thread.newest - 2 * RECENT_SECONDS
    stale = 0
    while words[stale].at <= least:
        stale += 1
    stale = max(stale, len(words) - MOST_WORDS)
    if stale:
        del words[:stale]


def _judge(thread: Thread, least: int, brand: str, conversation: str) -> Told | None:
    alarm = thread.alarm
    if len(thread.words) < (least if alarm is None else alarm.authors):
        return None
    border = thread.newest - RECENT_SECONDS
    now = _authors(each for each in thread.words if each.at > border)
    before = _authors(each for each in thread.words if each.at <= border)
    if alarm is None:
        if now < max(least, GROWTH * before):
            return None
        began = next(each.at for each in thread.words if each.at > border and each.is_negative)
        alert_id = deterministic_id("alert", brand, "pile_on", conversation, repr(began))
        alarm = thread.alarm = Alarm(alert_id, began, thread.newest, 0, 0, 0)
    alarm.newest = thread.newest
    if now < 2 * alarm.authors:
        return None
    alarm.authors = now
    alarm.severity = max(alarm.severity, doubled_severity(now / least, BEGIN_SEVERITY))
    alarm.revision += 1
    return _told(thread, alarm, conversation, "open", thread.newest)


def _told(
    thread: Thread, alarm: Alarm, conversation: str, state: Literal["open", "ended"], at: float
) -> Told:
    border = alarm.newest - RECENT_SECONDS
    wave = [each for each in thread.words if each.at > border]
    largest = sorted(
        (each for each in wave if each.is_negative), key=lambda each: (-each.reach, each.event_id)
    )
    negative = len(largest)
    return Told(
        alarm.alert_id,
        conversation,
        thread.network,
        state,
        alarm.revision,
        alarm.severity,
        alarm.since,
        at,
        alarm.newest + RECENT_SECONDS if state == "ended" else None,
        _authors(wave),
        _authors(each for each in thread.words if each.at <= border),
        len(wave),
        sum(each.reach for each in wave),
        negative / len(wave) if wave else 0.0,
        tuple(each.event_id for each in largest[:EXAMPLES]),
    )


def _authors(words: Iterable[Word]) -> int:
    """Return how many customers were negative; a word of nobody known is a voice of its own."""
    return len(
        {
            each.event_id if each.author is None else each.author
            for each in words
            if each.is_negative
        }
    )


def _forget_quiet(threads: dict[str, Thread]) -> bool:
    """Forget the half that has been quiet for longest; False if somebody was told of each."""
    quiet = [
        (each.newest, conversation) for conversation, each in threads.items() if not each.alarm
    ]
    quiet.sort()
    for _, conversation in quiet[: (len(quiet) + 1) // 2]:
        del threads[conversation]
    return bool(quiet)


def _place_of(word: Word) -> tuple[float, str]:
    return word.at, word.event_id
