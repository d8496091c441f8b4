"""The state of a credential, from what its client learnt of it (K10). Pure."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from klingel_networks.arrival import Credential, CredentialState

WARN_DAYS = 7.0
"""A credential that ends sooner is `expiring`: a working week to find the person who can renew it."""

_DAY_SECONDS = 86_400.0


class Standing(NamedTuple):
    """A credential as it stands now.

    Attributes:
        state: of the closed set.
        days: until it ends, never below 0; None for never or unknown.
        sentence: what is wrong and what to do; empty while all is well.
    """

    state: CredentialState
    days: float | None = None
    sentence: str = ""


def standing(told: Credential | None, now: datetime, idle: CredentialState = "none") -> Standing:
    """Return how a credential stands.

    A refused one is `revoked`, whatever else is known; one that has ended, too. A failed renewal
    outranks the warning of the end, because it says why the end will come.

    Args:
        told: the client's last word; None before the first.
        now: aware.
        idle: state while nothing is known.
    """
    if told is None:
        return Standing(idle)
    days = None
    if told.expires_at is not None:
        days = max(0.0, (told.expires_at - now).total_seconds() / _DAY_SECONDS)
    sentence = told.sentence
    if told.revoked:
        return Standing("revoked", days, sentence or "the network refuses the credential: renew it")
    if days == 0.0:
        return Standing("revoked", days, sentence or "the credential has ended: renew it")
    if told.refresh_failed:
        return Standing(
            "refresh_failed",
            days,
            sentence or "the credential could not be renewed: sign in anew before it ends",
        )
    if days is not None and days < WARN_DAYS:
        return Standing(
            "expiring", days, sentence or f"the credential ends in {days:.1f} days: renew it"
        )
    return Standing("ok", days)


_ORDER: tuple[CredentialState, ...] = ("none", "ok", "expiring", "refresh_failed", "revoked")


def worst(standings: Iterable[Standing], idle: CredentialState = "none") -> Standing:
    """Return the standing that needs a person first; among equals the one that ends first."""
    found = Standing(idle)
    for each in standings:
        if _rank(each) > _rank(found):
            found = each
    return found


def _rank(standing: Standing) -> tuple[int, float]:
    days = math.inf if standing.days is None else standing.days
    return _ORDER.index(standing.state), -days
