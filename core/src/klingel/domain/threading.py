"""Conversations of sources that name only the parent: which one an object belongs to.

    placed = place("forum:1:reply", "forum:1:post", links, lying_ahead={})

A conversation is named after an object: the first of all, or the topmost one that was named and has
not been seen. When that one is seen and answers another itself, its conversation goes on in that of
its parent. So the names are the roots of a union-find: who belongs together comes out the same in
whatever order it arrives, only names and merges differ.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from klingel.domain.identity import case_id, deterministic_id
from klingel.model.case_command import CaseCommand

WAIT: Final = timedelta(seconds=5)
"""So long after its receipt an object waits for a parent that is unknown."""

BY: Final = "understand"
"""Who gives the commands that merge."""

_FEW: Final = 1000
"""Steps of one walk. What is cut short ends in a conversation that goes on further: care sends on."""
_FRESH: Final = frozenset({"live", "gap_fill"})


class Placed(NamedTuple):
    """Where an object belongs.

    Args:
        conversation: name of the conversation.
        sure: whether waiting could change nothing: the way up to it is known, or others talk in it
            already.
    """

    conversation: str
    sure: bool


Links = Callable[[str], str | None]
"""Finds the conversation that an object talks in, or that others talk in under its id; None where
neither is known."""


def source_instance(object_id: str) -> str:
    """Return what all objects of one source share: `<network>:<scope>`, as their ids begin.

    An object and its parent share it, whichever connector hears them, and so does a later edit.
    """
    network, _, rest = object_id.partition(":")
    return f"{network}:{rest.partition(':')[0]}"


def goes_on_in(conversation: str, links: Links) -> str:
    """Return the conversation in which one goes on now; itself where it is not merged."""
    for _ in range(_FEW):
        known = links(conversation)
        if known is None or known == conversation:
            return conversation
        conversation = known
    return conversation


def place(
    object_id: str, parent: str | None, links: Links, lying_ahead: Mapping[str, str | None]
) -> Placed:
    """Return where an object belongs that is seen for the first time.

    Args:
        object_id: the object.
        parent: object that it answers; None where it answers none.
        links: what is known.
        lying_ahead: parents of objects that are not decided yet but at hand, by object.
    """
    if parent is None:
        return Placed(object_id, sure=True)
    passed = {object_id}
    for _ in range(_FEW):
        if parent in passed:  # a broken source: they answer each other in a circle
            return Placed(parent, sure=True)
        known = links(parent)
        if known is not None:
            return Placed(goes_on_in(known, links), sure=True)
        if parent not in lying_ahead:
            return Placed(parent, sure=False)
        above = lying_ahead[parent]
        if above is None:
            return Placed(parent, sure=True)
        passed.add(parent)
        parent = above
    return Placed(parent, sure=False)


def waits_until(mode: str, received_at: datetime, now: datetime) -> datetime | None:
    """Return until when an object waits for what lies above it; None where it need not wait.

    Only what is fresh waits: of what is imported or read again, everything has come long since.
    A receipt that lies far in the future holds nothing up.
    """
    until = received_at + WAIT
    if mode in _FRESH and now < until <= now + 2 * WAIT:
        return until
    return None


def merge(brand: str, conversation: str, into: str, cause: str, at: datetime) -> CaseCommand:
    """Return the command by which a conversation of a brand goes on in another.

    The same two conversations have the same id, whatever noticed that they belong together.

    Args:
        brand: brand.
        conversation: the one that gives up.
        into: the one that goes on.
        cause: event that tells that they belong together.
        at: when that event was received.
    """
    return CaseCommand(
        command_id=deterministic_id("link", brand, conversation, into),
        brand=brand,
        conversation_id=conversation,
        kind="merge",
        at=at,
        by=BY,
        into_conversation_id=into,
        cause=cause,
    )


def refer(
    brand: str,
    conversation: str,
    customer: str,
    other: tuple[str, str],
    *,
    about: str,
    cause: str,
    at: datetime,
) -> CaseCommand:
    """Return the command by which a customer's case names another's, to which he refers.

    Both stay what they are. The same two have the same id, whatever refers. It names the object that
    refers: care, which may not have read that yet, keeps the command until it has.

    Args:
        brand: brand.
        conversation: of who refers.
        customer: who refers.
        other: conversation that is referred to, and whose it is: of its first case.
        about: object that refers.
        cause: event that refers.
        at: when that event was received.
    """
    named = case_id(brand, *other, 1)
    return CaseCommand(
        command_id=deterministic_id("refer", brand, conversation, customer, named),
        brand=brand,
        conversation_id=conversation,
        customer_id=customer,
        object_id=about,
        kind="similar_to",
        at=at,
        by=BY,
        target=named,
        cause=cause,
    )
