"""Which queue, how urgent, and why: ordered rules, the first that hits wins."""

from typing import NamedTuple

from klingel.config.compiled import CompiledBrand
from klingel.domain.matching import RuleDocument
from klingel.model.case import Priority
from klingel.model.social_event import SocialEvent

_NAMED_MISSES = 8
_REACH = ((1_000_000, 30), (100_000, 20), (10_000, 10), (1_000, 5))
_VISIBILITY = {"public": 10, "unlisted": 5}


class Routing(NamedTuple):
    """Where an event would take the case that it opens.

    Attributes:
        queue: id of the queue.
        priority: sum of named parts.
        rule: id of the rule that hit; None for the default queue.
        explain: one line a rule, in order, the deciding one last; never an author's words.
    """

    queue: str
    priority: Priority
    rule: str | None
    explain: tuple[str, ...]


def route(event: SocialEvent, brand: CompiledBrand) -> Routing:
    """Route an event by the brand's rules."""
    rule = None
    if brand.routing:
        hits = brand.routing_set.match(_document(event))
        rule = hits[0].rule_id if hits else None
    queue, added = brand.default_queue, 0
    if rule is not None:
        chosen = brand.routing[brand.place_of(rule) or 0]
        queue, added = chosen.queue, chosen.priority
    return Routing(queue, _priority(event, added), rule, explain(brand, rule))


def explain(brand: CompiledBrand, rule: str | None) -> tuple[str, ...]:
    """Say which rule decided and which were tried before it.

    Args:
        brand: whose rules they are.
        rule: id of the deciding rule, None for the default queue.
    """
    place = len(brand.routing) if rule is None else brand.place_of(rule)
    if place is None:
        return (f"{rule}: hit under an earlier configuration",)
    tried = brand.routing[:place]
    lines = [f"{missed.id}: its query does not hit" for missed in tried[-_NAMED_MISSES:]]
    if len(tried) > _NAMED_MISSES:
        lines.insert(0, f"{len(tried) - _NAMED_MISSES} rules before: their queries do not hit")
    if rule is None:
        lines.append(f"no rule hits: default queue {brand.default_queue}")
    else:
        chosen = brand.routing[place]
        lines.append(f"{rule}: hits, queue {chosen.queue}, priority +{chosen.priority}")
    return tuple(lines)


def _priority(event: SocialEvent, added: int) -> Priority:
    parts = {"rule": added} if added else {}
    visibility = _VISIBILITY.get(event.visibility)
    if visibility:
        parts["visibility"] = visibility
    followers = event.author.followers if event.author is not None else None
    if followers is not None:
        for least, points in _REACH:
            if followers >= least:
                parts["reach"] = points
                break
    return Priority(score=sum(parts.values()), parts=parts)


def _document(event: SocialEvent) -> RuleDocument:
    author = event.author
    return RuleDocument(
        text=event.text or "",
        lang=event.lang.code if event.lang is not None else None,
        network=event.network,
        kind=event.kind,
        author_id=author.id if author is not None else None,
        author_handle=author.handle if author is not None else None,
        followers=author.followers if author is not None else None,
        has_link=bool(event.links),
        hashtags=event.hashtags or (),
        mentions=event.mentions or (),
        visibility=event.visibility,
        media=[media.kind for media in event.media or ()],
    )
