"""How urgent a case is: a sum of named parts that anyone can read.

| part | points | when |
|---|---|---|
| visibility | 10 public, 5 unlisted | others read along |
| reach | 5, 10, 20, 30 | from 1,000, 10,000, 100,000, 1,000,000 followers on |
| tone | 10 | negative |
| anger | 15 | probability of anger at 0.6 or above |
| signals | 20 cancellation, 5 complaint | what the customer announces |
| rule | as configured | of the routing rule that hit |
| again | 10 | the customer's earlier case here was closed |
| velocity | 5, 10 | 3 or 6 utterances of the customer within an hour |
| waiting, late | as configured | by escalation levels on warning and on breach |
| escalation | as configured | by other escalation levels |
| incident | 10 | many have the same question |
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from klingel.domain.triage import intents_of, tone_of
from klingel.model.case import Priority
from klingel.model.social_event import SocialEvent

_REACH = ((1_000_000, 30), (100_000, 20), (10_000, 10), (1_000, 5))
_VISIBILITY = {"public": 10, "unlisted": 5}
_ANGRY = 0.6
_VELOCITY = ((6, 10), (3, 5))
_HOUR = timedelta(hours=1)
AGAIN = 10
INCIDENT = 10
MOST_OF_EVENT = 85
"""Highest sum of what `event_parts` gives."""


def event_parts(event: SocialEvent) -> dict[str, int]:
    """Return the parts that the opening event itself gives; what is unknown gives nothing."""
    parts: dict[str, int] = {}
    visibility = _VISIBILITY.get(event.visibility)
    if visibility:
        parts["visibility"] = visibility
    followers = event.author.followers if event.author is not None else None
    if followers is not None:
        reach = next((points for least, points in _REACH if followers >= least), 0)
        if reach:
            parts["reach"] = reach
    if tone_of(event) == "negative":
        parts["tone"] = 10
    anger = event.enrichment.anger if event.enrichment is not None else None
    if anger is not None and anger >= _ANGRY:
        parts["anger"] = 15
    wanted = intents_of(event)
    signals = 20 if "cancellation" in wanted else 5 if "complaint" in wanted else 0
    if signals:
        parts["signals"] = signals
    return parts


def velocity(said: Iterable[datetime]) -> int:
    """Return the points of a customer who writes again and again.

    Args:
        said: when the customer's utterances of the case began, in any order.
    """
    times = sorted(said)
    if len(times) < _VELOCITY[-1][0]:
        return 0
    first = most = 0
    for at, time in enumerate(times):
        while time - times[first] > _HOUR:
            first += 1
        most = max(most, at - first + 1)
    return next((points for least, points in _VELOCITY if most >= least), 0)


def summed(parts: dict[str, int]) -> Priority:
    """Return a priority of its parts, without those that give nothing."""
    kept = {name: points for name, points in parts.items() if points}
    return Priority(score=sum(kept.values()), parts=kept)
