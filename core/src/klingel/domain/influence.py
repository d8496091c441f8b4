"""How far an author's word reaches, and how fast a thread moves: numbers with their parts.

    author_influence(followers=12_000, verified=None, engagements=40, public_contacts=0)
    thread_velocity(times, now)

Each part has a name, a value between 0 and 1, its weight and a sentence. What a network does not
tell is unknown (None), never zero: an unknown part neither raises nor lowers the score, and when
nothing is known there is no score.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FULL_REACH: Final = 10_000_000
"""Followers from which on reach is 1."""
FULL_ENGAGEMENT: Final = 100_000
"""Likes, replies, reposts and quotes of one post from which on engagement is 1."""
_LOG_REACH: Final = math.log1p(FULL_REACH)
_LOG_ENGAGEMENT: Final = math.log1p(FULL_ENGAGEMENT)
HALF_CONTACTS: Final = 3
"""Public contacts with the brand at which that part is one half."""

WEIGHTS: Final = {"reach": 0.5, "engagement": 0.25, "verified": 0.15, "public_contacts": 0.1}
"""What each part counts; only their ratios matter."""

RECENT: Final = timedelta(hours=1)
"""What counts as now in a thread's velocity."""
PAST: Final = timedelta(hours=24)
"""How far back a thread's own past is looked at."""
FULL_PACE: Final = 1000.0
"""Replies and reposts an hour from which on pace is 1."""


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of a score.

    Args:
        name: of the part.
        value: 0 to 1, None when unknown.
        weight: what it counts beside the others, above 0.
        why: one sentence with the number behind it.
    """

    name: str
    value: float | None
    weight: float
    why: str


@dataclass(frozen=True, slots=True)
class Influence:
    """Influence of an author.

    Args:
        score: 0 to 1, the weighted mean of the known parts; None when none is known.
        known: share of the weights that is known, 0 to 1: how much to trust the score.
        parts: all parts, always the same ones in the same order.
    """

    score: float | None
    known: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Velocity:
    """How fast a thread moves now, against its own recent past.

    Args:
        score: 0 to 1; None when nobody has said anything in the thread yet.
        per_hour: replies and reposts in the last hour.
        past_per_hour: their mean an hour in the time before, as far as the thread is old enough;
            None for a thread without a past.
        growth: how many times the past pace, with one added on both sides so that few events make
            no storm; None for a thread without a past.
        parts: `pace` and `growth`.
        explanation: one sentence.
    """

    score: float | None
    per_hour: float
    past_per_hour: float | None
    growth: float | None
    parts: tuple[Part, ...]
    explanation: str


def author_influence(
    *,
    followers: int | None = None,
    verified: bool | None = None,
    engagements: int | None = None,
    public_contacts: int | None = None,
) -> Influence:
    """Weigh what is known of an author; every number not below 0, None for unknown.

    The score never falls when one of the numbers rises.

    Args:
        followers: of the account.
        verified: whether the network has verified it.
        engagements: likes, replies, reposts and quotes of the post; of none of them is known
            whether they are zero unless the network gives counts.
        public_contacts: earlier public posts of the author to the brand.
    """
    values = known_values(followers, verified, engagements, public_contacts)
    sentences = {
        "reach": _counted(followers, "followers"),
        "engagement": _counted(engagements, "likes, replies, reposts and quotes"),
        "verified": _said(verified),
        "public_contacts": _counted(public_contacts, "earlier public contacts"),
    }
    parts = tuple(Part(name, values.get(name), WEIGHTS[name], sentences[name]) for name in WEIGHTS)
    known = math.fsum(WEIGHTS[name] for name in values) / math.fsum(WEIGHTS.values())
    return Influence(weigh_influence(values), known, parts)


def known_values(
    followers: int | None,
    verified: bool | None,  # noqa: FBT001 - a fact, as in `author_influence`
    engagements: int | None,
    public_contacts: int | None = None,
) -> dict[str, float]:
    """Return the value of each part that is known, 0 to 1; arguments as in `author_influence`."""
    values: dict[str, float] = {}
    # A negative count is what a network got wrong: unknown.
    if followers is not None and followers >= 0:
        values["reach"] = _on_log_scale(followers, FULL_REACH, _LOG_REACH)
    if engagements is not None and engagements >= 0:
        values["engagement"] = _on_log_scale(engagements, FULL_ENGAGEMENT, _LOG_ENGAGEMENT)
    if verified is not None:
        values["verified"] = float(verified)
    if public_contacts is not None and public_contacts >= 0:
        values["public_contacts"] = _saturating(public_contacts, HALF_CONTACTS)
    return values


def weigh_influence(values: Mapping[str, float]) -> float | None:
    """Return the weighted mean of the known parts; None when none is known."""
    if len(values) == 1:
        return next(iter(values.values()))
    if not values:
        return None
    # Always in the order of the weights, so that plain sums are repeatable, at half the time.
    total = weights = 0.0
    for name, value in values.items():
        weight = WEIGHTS[name]
        total += value * weight
        weights += weight
    return min(1.0, total / weights)


def engagements_of(metrics: dict[str, int] | None) -> int | None:
    """Add up the counts of a post that mean somebody did something; None when none is given.

    Args:
        metrics: counts by the network's name for them; views and impressions are not counted.
    """
    if not metrics:
        return None
    counts = [count for name, count in metrics.items() if name in ENGAGEMENTS and count >= 0]
    return sum(counts) if counts else None


ENGAGEMENTS: Final = frozenset(
    {
        "comments",
        "favourites",
        "likes",
        "quotes",
        "reactions",
        "reblogs",
        "replies",
        "reposts",
        "retweets",
        "shares",
    }
)
"""Names of counts that mean engagement."""


def thread_velocity(times: Iterable[datetime], now: datetime) -> Velocity:
    """Measure a thread: what came in the last hour against its past of up to a day before.

    Args:
        times: of all replies and reposts known, in any order, aware; those after `now` do not
            count, nor do those before the day.
        now: aware.
    """
    heard = sorted(time for time in times if time <= now)
    if not heard:
        return Velocity(
            None, 0.0, None, None, _pace_and_growth(None, None, 0.0), "Nobody has answered yet."
        )
    border = now - RECENT
    recent = sum(time > border for time in heard)
    per_hour = recent / _hours(RECENT)
    past_per_hour = _past_per_hour(heard, border)
    pace = _on_log_scale(per_hour, FULL_PACE, math.log1p(FULL_PACE))
    growth = None if past_per_hour is None else (per_hour + 1) / (past_per_hour + 1)
    # Twice the past pace is one half, the past pace itself or less is nothing.
    grown = None if growth is None else max(0.0, 1 - 1 / growth)
    parts = _pace_and_growth(pace, grown, per_hour)
    score = _mean([(part.value, part.weight) for part in parts if part.value is not None])
    return Velocity(
        score, per_hour, past_per_hour, growth, parts, _velocity_in_words(per_hour, past_per_hour)
    )


def _past_per_hour(heard: Sequence[datetime], border: datetime) -> float | None:
    """Give the mean pace before the last hour; None unless the thread is an hour older than that.

    The past begins with the first event, at most a day ago: an hour without an answer counts.
    """
    begin = max(heard[0], border - PAST)
    span = border - begin
    if span < RECENT:
        return None
    return sum(begin <= time <= border for time in heard) / _hours(span)


def _hours(span: timedelta) -> float:
    return span / timedelta(hours=1)


def _pace_and_growth(pace: float | None, growth: float | None, per_hour: float) -> tuple[Part, ...]:
    return (
        Part("pace", pace, 0.5, f"{per_hour:g} replies and reposts in the last hour."),
        Part(
            "growth",
            growth,
            0.5,
            "The thread has no past to compare with."
            if growth is None
            else "The last hour against the hours before it.",
        ),
    )


def _velocity_in_words(per_hour: float, past: float | None) -> str:
    now = f"{per_hour:g} replies and reposts in the last hour"
    if past is None:
        return f"{now}; the thread is too young to compare."
    return f"{now}, {past:.1f} an hour before that."


def _on_log_scale(count: float, full: float, log_of_full: float) -> float:
    """Map a count to 0..1, each factor of ten alike."""
    # An integer of any size has a logarithm, but not always a float.
    return 1.0 if count >= full else math.log1p(count) / log_of_full


def _saturating(count: int, half: int) -> float:
    return 1.0 if count > half * 10**9 else count / (count + half)


def _mean(weighed: Sequence[tuple[float, float]]) -> float | None:
    """Return the mean of (value, weight); None of nothing."""
    if not weighed:
        return None
    total = math.fsum([value * weight for value, weight in weighed])
    return min(1.0, total / math.fsum([weight for _, weight in weighed]))


def _counted(count: int | None, what: str) -> str:
    if count is None or count < 0:
        return f"The network does not tell the {what}."
    return f"{min(count, 10**18)} {what}."


def _said(verified: bool | None) -> str:  # noqa: FBT001 - the fact itself
    if verified is None:
        return "The network does not tell whether it has verified the account."
    return "Verified by the network." if verified else "Not verified by the network."
