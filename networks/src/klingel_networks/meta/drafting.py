"""What the events of the Meta family have in common: authors, links, their place in a thread; pure."""

from collections.abc import Sequence
from typing import NamedTuple

from klingel.domain.draft import Threading
from klingel.model.social_event import Author, Media
from klingel_networks.meta.fields import Id, Part, optional_id, shown_handle, shown_name


class Ref(Part, frozen=True, gc=False):
    """Something that an object names by its id alone."""

    id: Id | None = None


class Actor(Part, frozen=True, gc=False):
    """Somebody, as the network names him."""

    id: Id | None = None
    name: str | None = None
    username: str | None = None


class Place(NamedTuple):
    """Where an object stands in a thread, in the words of a draft."""

    threading: Threading
    conversation_id: str | None
    in_reply_to: str | None


def placed(prefix: str, thread: str | None, answered: str | None) -> Place:
    """Return the place of an object.

    Args:
        prefix: of object ids.
        thread: native id of the post or medium that everything stands under, where it is known.
        answered: native id of what is answered; None for the thread itself.
    """
    parent = answered or thread
    return Place(
        "network" if thread else "parent_only" if parent else "root",
        prefix + thread if thread else None,
        prefix + parent if parent else None,
    )


def named(own_id: str, actor: Actor | None) -> Author:
    """Return an author with the names that the network gives."""
    if actor is None:
        return Author(id=own_id)
    return Author(id=own_id, handle=shown_handle(actor.username), name=shown_name(actor.name))


def author_of(actor: Actor | None) -> Author | None:
    """Return who acted, None where nobody is named; raises InvalidMessage."""
    found = None if actor is None else optional_id(actor.id, "from.id")
    return None if found is None else named(found, actor)


def links_of(media: Sequence[Media]) -> tuple[str, ...]:
    """Return the addresses of what is linked rather than carried, each once, in order."""
    if not media:
        return ()
    return tuple(dict.fromkeys(each.url for each in media if each.kind == "link" and each.url))
