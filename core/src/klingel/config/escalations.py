"""Who is told, when and how: targets, escalation levels and early-warning settings of a brand.

    targets:
      - id: shift-chat
        kind: slack
        url_setting: shift_chat_url
    escalation:
      - id: lead
        on: [warned]
        priority: 20
        notify: [shift-chat]
        raise_after: 15m
        raise_to: head
      - id: head
        on: [breached, incident]
        notify: [shift-chat]
    alerts:
      notify: [shift-chat]

No address and no secret stands in a brand file: it names the settings of the notifier that hold
them.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from klingel.config.calendars import Duration
from klingel.config.part import Part, Slug

Setting = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
TargetKind = Literal["slack", "webhook", "email", "alertmanager"]
EscalationCause = Literal[
    "warned", "breached", "rule", "early_warning", "incident", "late_unanswered"
]
ClockName = Literal["first_response", "next_response", "resolution"]
EmailAddress = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]


class Target(Part):
    """Where the notifier sends to."""

    id: Slug = Field(description="Name of the target.")
    kind: TargetKind = Field(description="How it is spoken to.")
    url_setting: Setting | None = Field(
        None, description="Setting of the notifier that holds the address (all but email)."
    )
    secret_setting: Setting | None = Field(
        None, description="Setting that holds the signing secret of a webhook."
    )
    to: tuple[EmailAddress, ...] = Field((), max_length=20, description="email: who gets it.")
    quiet: Slug | None = Field(
        None,
        description="Calendar outside of which this target rests: what comes then is sent together "
        "when it opens; absent: it is always told at once.",
    )
    digest_from: int = Field(
        5, ge=2, le=100, description="From so many at once on they are sent as one digest."
    )
    digest_window: Duration = Field("30s", description="What counts as at once.")


class EscalationLevel(Part):
    """One step: what brings a case here and what is done then, once a case, target and level."""

    id: Slug = Field(description="Name of the level.")
    on: tuple[EscalationCause, ...] = Field(
        (),
        max_length=6,
        description="What brings a case here; none: only a level before it does. early_warning: its "
        "targets are told of alerts. late_unanswered: a word from before the closing came to light "
        "after it, and has no answer.",
    )
    clocks: tuple[ClockName, ...] = Field(
        (), max_length=3, description="Of which clocks; none named: of any."
    )
    queues: tuple[Slug, ...] = Field(
        (), max_length=200, description="Only cases of these queues; none named: of any."
    )
    priority_from: int | None = Field(
        None, ge=1, le=10_000, description="Only cases of this priority or above."
    )
    rules: tuple[Slug, ...] = Field(
        (), max_length=200, description="rule: routing rules whose cases come here at once."
    )
    priority: int = Field(0, ge=0, le=1000, description="Added to the case's priority.")
    queue: Slug | None = Field(None, description="Queue that the case moves to.")
    notify: tuple[Slug, ...] = Field((), max_length=16, description="Targets that are told.")
    raise_after: Duration | None = Field(
        None, description="Time (of the clock on the wall) until the next level is told."
    )
    raise_to: Slug | None = Field(
        None, description="Level that follows unless somebody has acknowledged by then."
    )


class Alerts(Part):
    """Early warning: what is told when something is brewing, and how little of it counts."""

    notify: tuple[Slug, ...] = Field((), max_length=16, description="Targets that are told.")
    incident_notify: tuple[Slug, ...] = Field(
        (), max_length=16, description="Targets that are told of incidents."
    )
    min_authors: int = Field(
        5, ge=2, le=10_000, description="Fewer different authors never raise an alert."
    )
    min_severity: int = Field(1, ge=1, le=10, description="Less severe ones are kept, not told.")
    cool_down: Duration = Field(
        "6h", description="Time after the end of an alert before the same matter rings again."
    )
    incident_from: int = Field(
        10, ge=3, le=10_000, description="So many authors with one question are an incident."
    )
    incident_window: Duration = Field("2h", description="Within so much time of each other.")
    pile_on_from: int | None = Field(
        10,
        ge=3,
        le=10_000,
        description="So many different customers, negative in one thread within an hour, are told; "
        "null: never.",
    )
    dormant_after: dict[str, Duration] = Field(
        default_factory=dict,
        max_length=200,
        description="Channels (network:id, or a network) to the time without any event after which "
        "they count as dormant.",
    )
    nobody_answered_after: Duration | None = Field(
        None, description="Time without any answer of the brand while customers wait."
    )
    oldest_unanswered: Duration | None = Field(
        None, description="Age of the oldest unanswered word from which on it is told."
    )


class Team(Part):
    """People who work together: who they are, which queues are theirs, who is told."""

    id: Slug = Field(description="Name of the team.")
    name: str | None = Field(None, max_length=120, description="Name for people.")
    agents: tuple[Annotated[str, Field(min_length=1, max_length=40)], ...] = Field(
        (), max_length=5000, description="Codes of its agents, as in enrichment.agents."
    )
    queues: tuple[Slug, ...] = Field((), max_length=200, description="Queues of the team.")
    notify: tuple[Slug, ...] = Field(
        (), max_length=16, description="Targets that are told beside those of a level."
    )


class Outreach(Part):
    """Complaints that are not addressed to the brand: whom it goes to, of its own accord."""

    queue: Slug | None = Field(
        None, description="Queue of candidates; absent: talk about the brand opens no case."
    )
    anger_from: float = Field(
        0.6, ge=0, le=1, description="From this probability of anger on, whatever the tone."
    )
    intents: tuple[Slug, ...] = Field(
        ("complaint", "problem", "cancellation"),
        max_length=9,
        description="Or with negative tone and one of these intents.",
    )
    min_followers: int = Field(0, ge=0, description="Authors with fewer followers are left alone.")


DEFAULT_LEVELS: Final = (
    EscalationLevel(id="warned", on=("warned",), priority=20),
    EscalationLevel(id="breached", on=("breached",), priority=40),
    EscalationLevel(id="unanswered", on=("late_unanswered",)),
)
"""Levels of a brand that declares none: urgency grows, and the queue's team alone is told."""
