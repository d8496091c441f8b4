"""Which queue, how urgent, what is promised, and why: ordered rules, the first that hits wins."""

from collections.abc import Collection
from typing import NamedTuple

from klingel.config.brand import RoutingRule
from klingel.config.compiled import CompiledBrand
from klingel.domain.clocks import terms_of
from klingel.domain.matching import RuleDocument
from klingel.domain.priority import event_parts
from klingel.domain.triage import intents_of, is_candidate, is_praise, tone_of
from klingel.model.case import Priority, Terms
from klingel.model.social_event import SocialEvent

_NAMED_MISSES = 8


class Routing(NamedTuple):
    """Where an event would take the case that it opens.

    Attributes:
        queue: id of the queue.
        priority: sum of named parts.
        rule: id of the rule that hit; None for a queue that no rule chose.
        brand: whose rules they are.
        special: no rule was tried: praise, or a candidate for outreach.
        terms: what is promised to the case, with its key.
    """

    queue: str
    priority: Priority
    rule: str | None
    brand: CompiledBrand
    special: bool = False
    terms: tuple[str, Terms] | None = None

    @property
    def explain(self) -> tuple[str, ...]:
        """One line a rule, in order, the deciding one last; never an author's words."""
        if self.special:
            return (explain_special(self.queue),)
        return explain(self.brand, self.rule)


def route(event: SocialEvent, brand: CompiledBrand, *, again: bool = False) -> Routing:
    """Route an event by the brand's rules.

    Args:
        event: what may open a case.
        brand: whose rules they are.
        again: whether the customer had a case in this conversation before.
    """
    document = document_of(event) if brand.routing or brand.policy_set is not None else None
    rule: str | None = None
    added = 0
    special = special_queue(event, brand)
    if special is not None:
        queue = special
    else:
        hits = _hits(brand, document)
        chosen = next(
            (each for each in brand.routing if _takes(each, event, hits, again=again)), None
        )
        queue = chosen.queue if chosen is not None else brand.default_queue
        if chosen is not None:
            rule, added = chosen.id, chosen.priority
    parts = event_parts(event)
    if added:
        parts["rule"] = added
    priority = Priority(score=sum(parts.values()), parts=parts)
    terms = _terms(event, brand, document, queue, priority.score)
    return Routing(queue, priority, rule, brand, special is not None, terms)


def special_queue(event: SocialEvent, brand: CompiledBrand) -> str | None:
    """Return the queue of praise or of candidates, where the event belongs there."""
    if brand.outreach.queue is not None and is_candidate(event, brand):
        return brand.outreach.queue
    praise = brand.triage.praise_queue
    return praise if praise is not None and is_praise(event) else None


def explain_special(queue: str) -> str:
    """Say why no routing rule was tried."""
    return f"praise or a candidate for outreach: queue {queue}"


def _hits(brand: CompiledBrand, document: RuleDocument | None) -> Collection[str]:
    if document is None or not brand.routing:
        return ()
    return {hit.rule_id for hit in brand.routing_set.match(document)}


def _takes(rule: RoutingRule, event: SocialEvent, hits: Collection[str], *, again: bool) -> bool:
    """Whether all conditions of a rule hold; what is not known holds no condition."""
    if rule.when is not None and rule.id not in hits:
        return False
    if rule.again is not None and rule.again != again:
        return False
    return all(holds(rule, event) for holds in _HOLD)


def _kind_holds(rule: RoutingRule, event: SocialEvent) -> bool:
    return not rule.kinds or event.kind in rule.kinds


def _tone_holds(rule: RoutingRule, event: SocialEvent) -> bool:
    return not rule.tones or tone_of(event) in rule.tones


def _intent_holds(rule: RoutingRule, event: SocialEvent) -> bool:
    return not rule.intents or not intents_of(event).isdisjoint(rule.intents)


def _topic_holds(rule: RoutingRule, event: SocialEvent) -> bool:
    topics = event.enrichment.topics if event.enrichment is not None else None
    return not rule.topics or not set(rule.topics).isdisjoint(topics or ())


def _anger_holds(rule: RoutingRule, event: SocialEvent) -> bool:
    anger = event.enrichment.anger if event.enrichment is not None else None
    return rule.anger_from is None or (anger is not None and anger >= rule.anger_from)


def _influence_holds(rule: RoutingRule, event: SocialEvent) -> bool:
    influence = event.enrichment.influence if event.enrichment is not None else None
    least = rule.influence_from
    return least is None or (influence is not None and influence.score >= least)


_HOLD = (_kind_holds, _tone_holds, _intent_holds, _topic_holds, _anger_holds, _influence_holds)


def _terms(
    event: SocialEvent,
    brand: CompiledBrand,
    document: RuleDocument | None,
    queue: str,
    priority: int,
) -> tuple[str, Terms]:
    hits: Collection[str] = ()
    if document is not None and brand.policy_set is not None:
        hits = {hit.rule_id for hit in brand.policy_set.match(document)}
    promise = brand.policies.choose(hits, queue, priority, event.kind).promise
    return terms_of(
        promise,
        close_when=brand.close_when,
        reopen_within_seconds=round(brand.reopen_within.total_seconds()),
        utterance_seconds=brand.triage.utterance_seconds,
    )


def explained(brand: CompiledBrand, rule: str | None) -> list[str]:
    """Return what `explain` says as a case holds it; of one brand the same list each time."""
    known = brand.explained.get(rule)
    if known is None:
        known = brand.explained[rule] = [*explain(brand, rule)]
    return known


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
    lines = [f"{missed.id}: {_missed(missed)}" for missed in tried[-_NAMED_MISSES:]]
    if len(tried) > _NAMED_MISSES:
        lines.insert(0, f"{len(tried) - _NAMED_MISSES} rules before: their queries do not hit")
    if rule is None:
        lines.append(f"no rule hits: default queue {brand.default_queue}")
    else:
        chosen = brand.routing[place]
        lines.append(f"{rule}: hits, queue {chosen.queue}, priority +{chosen.priority}")
    return tuple(lines)


def _missed(rule: RoutingRule) -> str:
    conditions = [name for name in _CONDITIONS if getattr(rule, name) not in (None, ())]
    if not conditions:
        return "its query does not hit"
    asked = (["query"] if rule.when is not None else []) + conditions
    return f"not all of {', '.join(asked)} hold"


_CONDITIONS = ("tones", "intents", "topics", "kinds", "anger_from", "influence_from", "again")


def document_of(event: SocialEvent) -> RuleDocument:
    """Return what rules look at in an event."""
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
