"""What posts cost, by rule, and which rules a budget can no longer carry; pure.

X charges for each post read, once a UTC day however often and by however many rules it comes
(platform docs: "24 h deduplication", a soft promise). A post that several rules matched is divided
among them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

HALF_LIFE_SECONDS = 6 * 3600.0
"""A rule's rate forgets half of what it was in this time."""
RESUME_SHARE = 0.8
"""A paused rule comes back once it would take no more than this share of what is left."""
_SURE_SECONDS = 3600.0
"""Before so much time has passed a rate is no forecast."""


@dataclass(slots=True)
class _Rate:
    """Spending of one rule: what decay has left of it, and when that was."""

    amount: float
    at: datetime


@dataclass(slots=True)
class Meter:
    """Counts what was read and what it costs by rule.

    Args:
        since: when counting began.
    """

    since: datetime
    _rates: dict[str, _Rate] = field(default_factory=dict)
    _day: date = date.min
    _seen: set[str] = field(default_factory=set)

    def note(
        self, post_id: str, rules: Sequence[str], price: float, now: datetime
    ) -> dict[str, float]:
        """Count a post; return what it adds to each rule, nothing for one of the same day."""
        if now.date() != self._day:
            self._day, self._seen = now.date(), set()
        if post_id in self._seen:
            return {}
        self._seen.add(post_id)
        share = price / max(1, len(rules))
        for rule in rules:
            known = self._rates.get(rule)
            amount = 0.0 if known is None else _decayed(known, now)
            self._rates[rule] = _Rate(amount + share, now)
        return dict.fromkeys(rules, share)

    def rates(self, now: datetime) -> dict[str, float]:
        """Return what each rule costs a second; nothing before that can be said."""
        elapsed = (now - self.since).total_seconds()
        if elapsed < _SURE_SECONDS:
            return {}
        seen = HALF_LIFE_SECONDS / math.log(2) * (1 - 0.5 ** (elapsed / HALF_LIFE_SECONDS))
        return {rule: _decayed(rate, now) / seen for rule, rate in self._rates.items()}


def _decayed(rate: _Rate, now: datetime) -> float:
    age = max(0.0, (now - rate.at).total_seconds())
    return rate.amount * float(0.5 ** (age / HALF_LIFE_SECONDS))


def month_left_seconds(now: datetime) -> float:
    """Return the seconds until the month ends, in UTC."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return (following - now).total_seconds()


def affordable(
    ranked: Sequence[str],
    rates: Mapping[str, float],
    left: float | None,
    seconds: float,
    paused: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return the rules that the budget carries to its end: the least valuable are given up first.

    Args:
        ranked: rules, the most valuable first.
        rates: what each costs a second, of a paused one what it did.
        left: what the budget still allows; None without a budget.
        seconds: how long it must last.
        paused: rules that are paused now; they come back only with room to spare.
    """
    if left is None:
        return tuple(ranked)
    if left <= 0:
        return ()
    resting = set(paused)
    kept: list[str] = []
    forecast = 0.0
    for rule in ranked:
        forecast += rates.get(rule, 0.0) * seconds
        if forecast > left * (RESUME_SHARE if rule in resting else 1.0):
            break
        kept.append(rule)
    return tuple(kept)
