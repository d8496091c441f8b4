"""The brand file's shape; `schemas/config/brand.schema.json` is generated from it."""

from typing import Annotated, Literal

from pydantic import Field

from klingel.config.calendars import BusinessCalendar, CaseKind, SlaPolicy
from klingel.config.escalations import Alerts, EscalationLevel, Outreach, Target, Team
from klingel.config.part import Part, Slug

NetworkName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]

Entry = Annotated[str, Field(min_length=1, max_length=200)]
QuietNature = Literal["mailing_list", "bulk", "auto_generated", "spam_flag", "forged_sender"]
Tone = Literal["negative", "neutral", "positive"]
Intent = Literal[
    "complaint",
    "problem",
    "question",
    "lead",
    "praise",
    "feedback",
    "cancellation",
    "spam",
    "other",
]


class Account(Part):
    """An account of the brand, by the network's immutable id (a DID, a page id), never a handle."""

    network: NetworkName = Field(description="Network the account is on.")
    id: str = Field(min_length=1, max_length=512, description="Immutable id on the network.")
    handle: str | None = Field(None, description="Handle, for people who read this file.")


class Channel(Part):
    """Something the brand hears whole: everything that comes through it is for the brand."""

    network: NetworkName = Field(description="Network or connector kind, such as webhook.")
    id: str = Field(min_length=1, max_length=256, description="Account, page, inbox or source.")


class Dictionary(Part):
    """Words that rules refer to as `dictionary:<id>`: any of them, in any of their forms."""

    id: Slug = Field(description="Name of the dictionary.")
    words: tuple[Entry, ...] = Field(
        min_length=1,
        max_length=500,
        description="As they are right: a word, several words in a row, or a beginning with *.",
    )
    misspellings: tuple[Entry, ...] = Field(
        (), max_length=500, description="Wrong spellings that are known."
    )
    umlauts: bool = Field(
        default=True, description="Whether ä, ö, ü are also found as ae, oe, ue, and ß as ss."
    )
    typos: bool = Field(
        default=False,
        description="Whether words of six letters or more are also found with a letter left out, "
        "doubled or swapped with the next.",
    )


class ListeningRule(Part):
    """A query in Lucene syntax on `text.rules`; a hit makes the brand hear the event."""

    id: Slug = Field(description="Name of the rule.")
    query: str = Field(min_length=1, max_length=8192, description="Lucene query.")


class RoutingRule(Part):
    """Ordered; the first whose query hits chooses queue and priority."""

    id: Slug = Field(description="Name of the rule.")
    when: str | None = Field(
        None,
        min_length=1,
        max_length=8192,
        description="Lucene query, the same syntax as listening; absent: the conditions alone.",
    )
    tones: tuple[Tone, ...] = Field((), max_length=3, description="Only of these tones.")
    intents: tuple[Intent, ...] = Field((), max_length=9, description="Only with one of these.")
    topics: tuple[Slug, ...] = Field((), max_length=500, description="Only with one of these.")
    kinds: tuple[CaseKind, ...] = Field((), max_length=12, description="Only of these kinds.")
    anger_from: float | None = Field(
        None, ge=0, le=1, description="Only from this probability of anger on."
    )
    influence_from: float | None = Field(
        None, ge=0, le=1, description="Only authors of this influence or more."
    )
    again: bool | None = Field(
        None, description="Only customers who had a case here before (true), or none (false)."
    )
    queue: Slug = Field(description="Queue of the case.")
    priority: int = Field(0, ge=0, le=1000, description="Added to the case's priority.")


class Topic(Part):
    """One matter of the brand's own taxonomy; every topic whose query hits is told."""

    id: Slug = Field(description="Name of the topic.")
    query: str = Field(
        min_length=1, max_length=8192, description="Lucene query, the same syntax as listening."
    )


class NumberFormat(Part):
    """What a number of the brand looks like; found, it is personal data."""

    kind: Literal["customer_number", "contract_number", "order_number"] = Field(
        description="What the number is."
    )
    pattern: str = Field(
        min_length=1,
        max_length=80,
        description="# a digit, @ a letter, * either, anything else itself: KD-########.",
    )
    check: Literal["luhn", "mod11", "mod97", "iso7064"] | None = Field(
        None, description="Check digit; without one the pattern alone decides."
    )


class Agent(Part):
    """Somebody who signs answers of the brand."""

    code: str = Field(min_length=1, max_length=40, description="As signed, without its sign: AB.")
    name: str | None = Field(None, min_length=1, max_length=40, description="Whose it is.")


class Enrichment(Part):
    """What is found in texts."""

    model: Slug = Field(
        "care",
        description="Model of tone, intents, anger and offence: care (it is shipped), none, or your own.",
    )
    optional: bool = Field(
        default=False, description="Whether events go on without a model that cannot be loaded."
    )
    numbers: tuple[NumberFormat, ...] = Field((), max_length=50, description="Numbers to mask.")
    agents: tuple[Agent, ...] = Field((), max_length=5000, description="Who signs answers.")


class Queue(Part):
    """Where a case waits for people with a skill."""

    id: Slug = Field(description="Name of the queue.")
    name: str | None = Field(None, max_length=120, description="Name for people.")
    topic: bool = Field(
        default=False,
        description="Whether its events also go to a topic queue-<brand>-<queue>; config apply makes it.",
    )


class Triage(Part):
    """What opens a case."""

    open_indirect: bool = Field(
        default=False, description="Whether talk about the brand, not addressed to it, opens cases."
    )
    praise_queue: Slug | None = Field(
        None, description="Queue of praise that asks nothing; absent: routed like all else."
    )
    spam_from: float = Field(
        0.8, ge=0.5, le=1, description="From this probability on, spam opens no case."
    )
    needs_no_answer: tuple[Intent, ...] = Field(
        (),
        max_length=9,
        description="What has only these intents opens no case, such as other or praise.",
    )
    natures_without_answer: tuple[QuietNature, ...] = Field(
        ("mailing_list", "spam_flag"),
        max_length=5,
        description="Mail of such a nature opens no case; answers of programs never do.",
    )
    advocates: tuple[Account, ...] = Field(
        (), max_length=1000, description="Customers who answer customers: theirs opens no case."
    )
    utterance_seconds: int = Field(
        180, ge=0, le=3600, description="Posts of one author within this time are one utterance."
    )


class CasePolicy(Part):
    """How long a case lives."""

    max_open_age_days: int = Field(
        7, ge=1, le=90, description="An event older than this when received opens nothing."
    )
    close_when: Literal["never", "answered"] = Field(
        "never", description="Whether an answer of the brand closes the case by itself."
    )
    reopen_within_days: int = Field(
        14, ge=0, le=400, description="A later word reopens within this; else a new generation."
    )


class Retention(Part):
    """How long documents are kept."""

    posts_days: int = Field(400, ge=1, le=400, description="Not above the directory's 400 days.")
    cases_days: int = Field(
        1095,
        ge=1,
        le=3650,
        description="Cases, since they ended; what happened to them and who was told, since then.",
    )
    warnings_days: int = Field(
        400, ge=1, le=3650, description="Alerts and incidents, since they changed last."
    )


class Brand(Part):
    """One brand: who it is, what it hears, where its cases go."""

    brand: Slug = Field(description="Name of the brand in ids, topics and indices.")
    name: str = Field(min_length=1, max_length=120, description="Name for people.")
    accounts: tuple[Account, ...] = Field((), description="Own accounts.")
    channels: tuple[Channel, ...] = Field((), description="What the brand hears whole.")
    dictionaries: tuple[Dictionary, ...] = Field((), description="Words that rules refer to.")
    listening: tuple[ListeningRule, ...] = Field((), description="Listening rules.")
    topics: tuple[Topic, ...] = Field((), max_length=500, description="The brand's own taxonomy.")
    enrichment: Enrichment = Field(
        default_factory=Enrichment, description="What is found in texts."
    )
    triage: Triage = Field(default_factory=Triage, description="What opens a case.")
    queues: tuple[Queue, ...] = Field(min_length=1, description="Queues; the first is the default.")
    routing: tuple[RoutingRule, ...] = Field((), description="Ordered routing rules.")
    calendars: tuple[BusinessCalendar, ...] = Field(
        (), max_length=50, description="When people are there; the first is the default."
    )
    sla: tuple[SlaPolicy, ...] = Field(
        (), max_length=200, description="Ordered promises; the first that fits decides."
    )
    teams: tuple[Team, ...] = Field((), max_length=500, description="Who works in which queues.")
    targets: tuple[Target, ...] = Field((), max_length=200, description="Who can be told.")
    escalation: tuple[EscalationLevel, ...] = Field(
        (), max_length=50, description="What happens to cases that are late, or that matter more."
    )
    alerts: Alerts = Field(default_factory=Alerts, description="Early warning.")
    outreach: Outreach = Field(
        default_factory=Outreach, description="Complaints not addressed to the brand."
    )
    cases: CasePolicy = Field(default_factory=CasePolicy, description="Life of a case.")
    retention: Retention = Field(default_factory=Retention, description="How long is kept.")
