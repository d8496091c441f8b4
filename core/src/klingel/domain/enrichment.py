"""What a brand is told of a text beside the text: tone and intents, topics, whose words, PII.

What a model finds depends on the text alone and is found for a whole batch at once
(`klingel.language.sense`); the rest depends on the brand that hears it, and is found here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from klingel.config.compiled import CompiledBrand
from klingel.domain.direction import Direction
from klingel.domain.draft import SocialDraft
from klingel.domain.influence import engagements_of, known_values, weigh_influence
from klingel.domain.matching import RuleDocument, RuleSet
from klingel.language.pii import find, mask
from klingel.language.sense import Likely, Sense
from klingel.language.signature import find_signature
from klingel.model.social_event import Enrichment, Influence, PersonalData, Signature

READING = "reading/1"
"""Version of the code that finds personal data, signatures and whose words they are."""

LONGEST_CODE = 40
"""Characters of a signature's code, as the shape of the event allows."""


class Found(NamedTuple):
    """What stands beside a text; None where nothing was found or nothing can be known.

    Attributes:
        enrichment: everything that has no field of its own.
        text_public: the text with personal data masked; None where there is nothing to mask.
        signature: who of the brand's people signed.
    """

    enrichment: Enrichment | None
    text_public: str | None
    signature: Signature | None


def enrich(
    brand: CompiledBrand,
    draft: SocialDraft,
    document: RuleDocument,
    direction: Direction,
    sense: Sense | None,
) -> Found:
    """Find what one brand is told of an event.

    Args:
        brand: who hears it.
        draft: what was said.
        document: the same as rules see it.
        direction: who speaks; only the brand's own people sign.
        sense: what the brand's model makes of the words; None without a model.
    """
    text = draft.text
    if not text:
        return Found(None, None, None)
    pii = find(text, document.lang, brand.numbers)
    signature = None
    if direction == "outbound":
        signed = find_signature(text, brand.agents)
        if signed is not None and len(signed.code) <= LONGEST_CODE:
            signature = Signature(code=signed.code, agent=signed.agent)
    topics = topics_of(brand.topics, document, sense.topics if sense is not None else ())
    masked = mask(text, pii) if pii else None
    if sense is None and not pii and not topics:
        return Found(None, None, signature)
    versions = [READING, f"brand/{brand.reading_version}"]
    if sense is not None:
        versions.insert(0, sense.model)
    return Found(
        Enrichment(
            tone=sense.tone if sense is not None else None,
            intents=list(sense.intents) if sense is not None and sense.intents else None,
            topics=topics or None,
            anger=sense.anger if sense is not None else None,
            offence=sense.offence if sense is not None else None,
            own_words=_spans(sense.own_words) if sense is not None else None,
            pii=[PersonalData(kind=each.kind, start=each.start, end=each.end) for each in pii]
            or None,
            influence=_influence(draft) if sense is not None else None,
            models=versions,
        ),
        masked,
        signature,
    )


def topics_of(
    taxonomy: RuleSet, document: RuleDocument, likely: Sequence[Likely] = ()
) -> list[str]:
    """Return the topics of an event: by keyword in the order of the taxonomy, then by the model.

    A keyword is never overruled. A model may know topics that the brand does not have (any more, or
    another brand's): these are not told.

    Args:
        taxonomy: the brand's topics as rules.
        document: what was said, as rules see it.
        likely: topics that the brand's model is sure enough of.
    """
    if not taxonomy.rules:
        return []
    topics = [hit.rule_id for hit in taxonomy.match(document)]
    if likely:
        known = {each.rule.id for each in taxonomy.rules}.difference(topics)
        topics += [each.topic for each in likely if each.topic in known]
    return topics


def _influence(draft: SocialDraft) -> Influence | None:
    author = draft.author
    values = known_values(
        author.followers if author is not None else None,
        author.verified if author is not None else None,
        engagements_of(draft.metrics),
    )
    score = weigh_influence(values)
    if score is None:
        return None
    return Influence(
        score=_rounded(score), parts={name: _rounded(value) for name, value in values.items()}
    )


def _rounded(value: float) -> float:
    """Return three digits of a value between 0 and 1: a fifth of the time of `round(value, 3)`."""
    return round(value * 1000) / 1000


def _spans(spans: Sequence[tuple[int, int]] | None) -> list[list[int]] | None:
    return None if spans is None else [list(span) for span in spans]
