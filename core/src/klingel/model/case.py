"""Case: generated from schemas/events/case.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

SimilarToItem: TypeAlias = Annotated[str, Meta(max_length=2048)]


Addressee: TypeAlias = Annotated[str, Meta(min_length=16, max_length=16)]


OriginItem: TypeAlias = Annotated[int, Meta(ge=0)]


Intent: TypeAlias = Annotated[str, Meta(max_length=40)]


class Priority(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A sum of named parts.
    """

    score: Annotated[int, Meta(description='Sum.', ge=0)]
    parts: Annotated[dict[str, int], Meta(description='Named parts.')]


class Opening(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a case takes from the fact that opens it, decided when that arrived.
    """

    queue: Annotated[str, Meta(description='Queue.', max_length=120)]
    priority: Priority
    rule: (
        Annotated[
            str,
            Meta(
                description='Routing rule that chose it; absent for the default.',
                max_length=120,
            ),
        ]
        | None
    ) = None
    network: Annotated[str, Meta(description='Network.', max_length=40)] | None = None
    channel: (
        Annotated[str, Meta(description='Channel.', max_length=256)] | None
    ) = None
    terms: (
        Annotated[
            str,
            Meta(
                description='Key of what the clocks are promised; absent where no policy matched.',
                min_length=16, max_length=16,
            ),
        ]
        | None
    ) = None
    intents: (
        Annotated[
            list[Intent],
            Meta(description='Intents of the opener, for people.', max_length=9),
        ]
        | None
    ) = None
    revision: (
        Annotated[
            int,
            Meta(
                description='Revision of the event that this was decided from; absent for 0.',
                ge=0,
            ),
        ]
        | None
    ) = None
    offset: (
        Annotated[int, Meta(description='Offset of that event in social-events.', ge=0)]
        | None
    ) = None


class Terms(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a policy promised when a clock started.
    """

    policy: Annotated[str, Meta(description='Policy.', max_length=120)]
    version: Annotated[
        str, Meta(description="Version of the brand's configuration.", max_length=64)
    ]
    calendar: Annotated[
        str, Meta(description="The calendar's definition, as JSON.", max_length=16384)
    ]
    first_response_seconds: (
        Annotated[
            int, Meta(description='Target of the first response, business time.', ge=0)
        ]
        | None
    ) = None
    next_response_seconds: (
        Annotated[
            int,
            Meta(description='Target of each further response, business time.', ge=0),
        ]
        | None
    ) = None
    resolution_seconds: (
        Annotated[
            int, Meta(description='Target of the resolution, business time.', ge=0)
        ]
        | None
    ) = None
    warn_share: (
        Annotated[
            float,
            Meta(
                description='Share of the target after which is warned.', ge=0.0, le=1.0
            ),
        ]
        | None
    ) = None
    warn_seconds: (
        Annotated[
            int,
            Meta(
                description='Business time before the deadline at which is warned.',
                ge=0,
            ),
        ]
        | None
    ) = None
    pause_when: (
        Annotated[
            list[Literal['snoozed', 'waiting']],
            Meta(
                description='States in which the resolution clock stands.', max_length=2
            ),
        ]
        | None
    ) = None
    close_when: (
        Annotated[
            Literal['never', 'answered'],
            Meta(description='Whether an answer closes the case.'),
        ]
        | None
    ) = None
    reopen_within_seconds: (
        Annotated[
            int,
            Meta(
                description='A later word reopens within this, else opens a generation.',
                ge=0,
            ),
        ]
        | None
    ) = None
    utterance_seconds: (
        Annotated[
            int,
            Meta(
                description='Posts of one author within this time are one utterance; absent: each is one.',
                ge=0,
            ),
        ]
        | None
    ) = None


class Turns(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Sums over the next-response clocks that have ended.
    """

    count: Annotated[int, Meta(description='How many were met or missed.', ge=0)]
    late: (
        Annotated[int, Meta(description='How many of them after the deadline.', ge=0)]
        | None
    ) = None
    business_seconds: (
        Annotated[float, Meta(description='Counted time of all.', ge=0.0)] | None
    ) = None
    wall_seconds: (
        Annotated[float, Meta(description='Time of all.', ge=0.0)] | None
    ) = None
    longest_seconds: (
        Annotated[float, Meta(description='Longest counted time.', ge=0.0)] | None
    ) = None


class Fired(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A timer that fired.
    """

    id: Annotated[
        str,
        Meta(
            description='16 hex digits of case, clock, start and kind.',
            min_length=16, max_length=16,
        ),
    ]
    kind: Annotated[
        Literal['warned', 'breached', 'unsnoozed', 'raised', 'quiet'],
        Meta(
            description='What it was; quiet: nobody said any more in what goes on elsewhere.'
        ),
    ]
    due: Annotated[datetime, Meta(tz=True, description='When it was due.')]
    fired_at: Annotated[datetime, Meta(tz=True, description='When it fired.')]
    clock: (
        Annotated[
            Literal['first_response', 'next_response', 'resolution'],
            Meta(description='Which clock.'),
        ]
        | None
    ) = None
    level: (
        Annotated[str, Meta(description='Escalation level.', max_length=120)]
        | None
    ) = None
    provisional: (
        Annotated[
            bool, Meta(description='Fired before all was read that lay before it.')
        ]
        | None
    ) = None
    withdrawn: (
        Annotated[
            bool, Meta(description='Later facts say that it should not have fired.')
        ]
        | None
    ) = None


Target: TypeAlias = Annotated[str, Meta(max_length=120)]


class Escalated(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Escalation of this case to one level.
    """

    level: Annotated[str, Meta(description='Level.', max_length=120)]
    state: Annotated[
        Literal['raised', 'acknowledged', 'withdrawn', 'ended'],
        Meta(description='State.'),
    ]
    at: Annotated[datetime, Meta(tz=True, description='When raised.')]
    reason: Annotated[
        Literal['warned', 'breached', 'rule', 'early_warning', 'incident', 'late_unanswered', 'not_acknowledged'],
        Meta(description='Why.'),
    ]
    cause: (
        Annotated[
            str, Meta(description='Timer, rule, alert or incident.', max_length=256)
        ]
        | None
    ) = None
    targets: (
        Annotated[list[Target], Meta(description='Who is told.', max_length=16)]
        | None
    ) = None
    raise_at: (
        Annotated[datetime, Meta(tz=True, 
                description='When the next level is told unless somebody acknowledges.'
            ),
        ]
        | None
    ) = None
    next_level: (
        Annotated[str, Meta(description='Level that follows.', max_length=120)]
        | None
    ) = None
    priority: (
        Annotated[int, Meta(description='Added to the priority.', ge=0)] | None
    ) = None
    queue: (
        Annotated[str, Meta(description='Queue it moved the case to.', max_length=120)]
        | None
    ) = None
    revision: (
        Annotated[int, Meta(description='Counts changes of this escalation.', ge=0)]
        | None
    ) = None
    clock: (
        Annotated[
            Literal['first_response', 'next_response', 'resolution'],
            Meta(description='Which clock.'),
        ]
        | None
    ) = None


class Overrides(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What people decided; it wins over rules.
    """

    queue: Annotated[str, Meta(description='Queue.', max_length=120)] | None = None
    priority: Annotated[int, Meta(description='Score.', ge=0)] | None = None
    by: (
        Annotated[str, Meta(description='Who decided last.', max_length=120)]
        | None
    ) = None
    at: Annotated[datetime, Meta(tz=True, description='When.')] | None = None


class AppliedCommand(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A command that was taken, as the fold needs it.
    """

    id: Annotated[
        str,
        Meta(
            description='Command.',
            max_length=128,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    kind: Annotated[
        Literal['acknowledge', 'assign', 'snooze', 'close', 'reopen', 'override', 'merge', 'split', 'similar_to', 'incident_joined', 'incident_closed'],
        Meta(description='What is wanted.'),
    ]
    at: Annotated[datetime, Meta(tz=True, description='When it was given.')]
    by: Annotated[str, Meta(description='Who gave it.', max_length=120)]
    anchor: (
        Annotated[
            str,
            Meta(
                description='Object that tells which case is meant, whatever its generation: its opener then.',
                min_length=16, max_length=16,
            ),
        ]
        | None
    ) = None
    customer: (
        Annotated[
            str,
            Meta(description='Customer of that case.', max_length=1024, min_length=1),
        ]
        | None
    ) = None
    assignee: (
        Annotated[str, Meta(description='Agent; absent: nobody.', max_length=120)]
        | None
    ) = None
    until: Annotated[datetime, Meta(tz=True, description='Snoozed until.')] | None = None
    queue: Annotated[str, Meta(description='Queue.', max_length=120)] | None = None
    priority: Annotated[int, Meta(description='Score.', ge=0)] | None = None
    object: (
        Annotated[
            str,
            Meta(
                description='Object that an override or a split is about.',
                min_length=16, max_length=16,
            ),
        ]
        | None
    ) = None
    tone: (
        Annotated[Literal['negative', 'neutral', 'positive'], Meta(description='Tone.')]
        | None
    ) = None
    intents: (
        Annotated[list[Intent], Meta(description='Intents.', max_length=9)] | None
    ) = None
    target: (
        Annotated[str, Meta(description='Other case, or incident.', max_length=2048)]
        | None
    ) = None
    into_conversation: (
        Annotated[
            str,
            Meta(
                description='merge: conversation whose cases go on with it.',
                max_length=1024,
            ),
        ]
        | None
    ) = None
    into_customer: (
        Annotated[
            str,
            Meta(
                description="merge: customer whose case goes on with it; absent: each customer's own.",
                max_length=1024,
            ),
        ]
        | None
    ) = None


class Pause(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    When a clock stood.
    """

    from_at: Annotated[datetime, Meta(tz=True, description='From.')]
    to_at: (
        Annotated[datetime, Meta(tz=True, description='Until; absent while it stands.')]
        | None
    ) = None


class Counted(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a clock counted up to an instant, where the pauses before it are not kept.
    """

    until: Annotated[datetime, Meta(tz=True, description='Up to when.')]
    seconds: Annotated[
        int, Meta(description='Business time until then, without pauses.', ge=0)
    ]
    deadline: (
        Annotated[datetime, Meta(tz=True, description='The deadline, where it was reached by then.')
        ]
        | None
    ) = None
    warn_at: (
        Annotated[datetime, Meta(tz=True, description='When was warned, where that was reached by then.'),
        ]
        | None
    ) = None


class Fact(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a case remembers of one social event.
    """

    object: Annotated[
        str,
        Meta(description='64 bits of the object id, in hex.', min_length=16, max_length=16),
    ]
    revision: Annotated[
        int,
        Meta(
            description='Newest revision that says something; of the deletion while only that is known.',
            ge=0,
            le=4398046511103,
        ),
    ]
    content: Annotated[
        str,
        Meta(description='Content hash of that revision.', min_length=16, max_length=16),
    ]
    at: Annotated[datetime, Meta(tz=True, 
            description='When it was said: the earliest believed published_at, or received_at where unknown; of the deletion while only that is known.'
        ),
    ]
    direction: Annotated[
        Literal['inbound', 'outbound', 'third_party'],
        Meta(description='Seen from the brand.'),
    ]
    change: Annotated[
        Literal['created', 'updated', 'deleted', 'completed'],
        Meta(
            description='What happened to it in that revision; deleted only while nothing but the deletion is known.'
        ),
    ]
    received_at: (
        Annotated[datetime, Meta(tz=True, description='When klingel first received it, where that is not `at`.'),
        ]
        | None
    ) = None
    author: (
        Annotated[
            str,
            Meta(
                description='64 bits of the author id, in hex; absent where no author is known.',
                min_length=16, max_length=16,
            ),
        ]
        | None
    ) = None
    customer: (
        Annotated[
            str,
            Meta(
                description='Customer who said it; absent for what the brand or others said.',
                max_length=1024,
                min_length=1,
            ),
        ]
        | None
    ) = None
    moved: (
        Annotated[
            bool, Meta(description="A merge of two customers' cases told whose it is.")
        ]
        | None
    ) = None
    in_reply_to: (
        Annotated[
            str,
            Meta(
                description="64 bits of the parent's object id, in hex.",
                min_length=16, max_length=16,
            ),
        ]
        | None
    ) = None
    addressees: (
        Annotated[
            list[Addressee],
            Meta(
                description='Whom an outbound post is addressed to or mentions, 64 bits each in hex.',
                max_length=8,
            ),
        ]
        | None
    ) = None
    guessed: (
        Annotated[
            bool,
            Meta(
                description='Neither parent nor mention tells whom an outbound post answers: the only open case, if there is one.'
            ),
        ]
        | None
    ) = None
    removed: (
        Annotated[
            int,
            Meta(
                description='Revision of the newest deletion; it is deleted where this is not below `revision`.',
                ge=0,
                le=4398046511103,
            ),
        ]
        | None
    ) = None
    removed_at: (
        Annotated[datetime, Meta(tz=True, description='When it was deleted.')] | None
    ) = None
    silent: (
        Annotated[
            bool,
            Meta(
                description='It says nothing by itself (repost, reaction), or asks for nothing (thanks).'
            ),
        ]
        | None
    ) = None
    needs_answer: (
        Annotated[
            bool,
            Meta(
                description='Some revision needed an answer and came in time to open a case.'
            ),
        ]
        | None
    ) = None
    opening: Opening | None = None
    decision: (
        Annotated[
            int,
            Meta(
                description="Number of care's decision on the newest revision; absent for 0.",
                ge=0,
            ),
        ]
        | None
    ) = None
    version: (
        Annotated[
            str,
            Meta(
                description='64 bits of the versions of mapping and models, in hex.',
                min_length=16, max_length=16,
            ),
        ]
        | None
    ) = None
    origin: (
        Annotated[
            list[OriginItem],
            Meta(
                description='partition, offset in social-events.',
                max_length=2,
                min_length=2,
            ),
        ]
        | None
    ) = None
    agent: (
        Annotated[
            str, Meta(description='Agent who signed an outbound post.', max_length=120)
        ]
        | None
    ) = None
    tone: (
        Annotated[
            Literal['negative', 'neutral', 'positive'],
            Meta(description='Tone, overruled by a person.'),
        ]
        | None
    ) = None
    intents: (
        Annotated[
            list[Intent],
            Meta(description='Intents, overruled by a person.', max_length=9),
        ]
        | None
    ) = None
    overruled_by: (
        Annotated[
            str, Meta(description='Who overruled tone or intents.', max_length=120)
        ]
        | None
    ) = None


class Summary(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Facts older than the newest, and what the case was after them: folding goes on from there.
    """

    hashes: Annotated[
        str,
        Meta(
            description='8 bytes of each object, base64, newest 1,024.',
            max_length=16384,
        ),
    ]
    count: Annotated[int, Meta(description='How many objects.', ge=0)]
    last_at: Annotated[datetime, Meta(tz=True, description='Newest.')]
    last_object: Annotated[
        str,
        Meta(
            description='Object of the newest, which orders facts of one instant.',
            min_length=16, max_length=16,
        ),
    ]
    opened_at: Annotated[datetime, Meta(tz=True, description='Opening of the case.')]
    opening: Opening
    outbound: (
        Annotated[
            int,
            Meta(description='How many of them the brand said; absent for 0.', ge=0),
        ]
        | None
    ) = None
    first_at: Annotated[datetime, Meta(tz=True, description='Oldest.')] | None = None
    first_response_at: (
        Annotated[datetime, Meta(tz=True, description='First answer among them.')] | None
    ) = None
    waiting_since: (
        Annotated[datetime, Meta(tz=True, 
                description='Oldest word among them that no answer among them follows.'
            ),
        ]
        | None
    ) = None
    closed_at: (
        Annotated[datetime, Meta(tz=True, description='Closing after them, if closed.')]
        | None
    ) = None
    closed_because: (
        Annotated[
            Literal['answered', 'customer_deleted', 'generation_full', 'command'],
            Meta(description='Why closed.'),
        ]
        | None
    ) = None
    turns: Turns | None = None
    counted: Counted | None = None


class Clock(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One promise: started by a word of the customer, met by a word of the brand or by the closing.
    """

    name: Annotated[
        Literal['first_response', 'next_response', 'resolution'],
        Meta(description='What is promised.'),
    ]
    policy: Annotated[str, Meta(description='Policy.', max_length=120)]
    terms: Annotated[str, Meta(description='Key in `terms`.', min_length=16, max_length=16)]
    target_seconds: Annotated[int, Meta(description='Target, business time.', ge=0)]
    started_at: Annotated[datetime, Meta(tz=True, description='The word that started it.')]
    counts_from: Annotated[datetime, Meta(tz=True, 
            description='First counted instant: the opening where it started out of hours.'
        ),
    ]
    deadline: Annotated[datetime, Meta(tz=True, description='When it is breached.')]
    state: Annotated[
        Literal['running', 'paused', 'met', 'met_late', 'cancelled'],
        Meta(
            description='State as the facts say; whether a running one is late is told by its deadline.'
        ),
    ]
    out_of_hours: (
        Annotated[bool, Meta(description='It started out of hours.')] | None
    ) = None
    warn_at: Annotated[datetime, Meta(tz=True, description='When is warned.')] | None = None
    met_at: Annotated[datetime, Meta(tz=True, description='When it was met.')] | None = None
    ended_at: (
        Annotated[datetime, Meta(tz=True, description='When it ended without being met.')]
        | None
    ) = None
    business_seconds: (
        Annotated[float, Meta(description='Counted time until it was met.', ge=0.0)]
        | None
    ) = None
    wall_seconds: (
        Annotated[float, Meta(description='Time until it was met.', ge=0.0)] | None
    ) = None
    pauses: (
        Annotated[
            list[Pause],
            Meta(
                description='When it stood: the newest 64, after `counted`.',
                max_length=64,
            ),
        ]
        | None
    ) = None
    counted: Counted | None = None


class Case(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Full state of one customer's matter in one conversation with one brand: a fold over its facts.
    """

    case_id: Annotated[
        str,
        Meta(
            description='<brand>:<conversation>:<customer>#<generation>',
            max_length=2048,
            min_length=1,
        ),
    ]
    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    conversation_id: Annotated[
        str,
        Meta(
            description='Conversation.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    customer_id: Annotated[
        str,
        Meta(
            description="Customer; - for the conversation's own record.",
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    generation: Annotated[
        int,
        Meta(description="0 for the conversation's own record, else 1, 2, ...", ge=0),
    ]
    revision: Annotated[int, Meta(description='Counts changes of this record.', ge=0)]
    state: Annotated[
        Literal['open', 'waiting', 'closed', 'snoozed', 'merged', 'held'],
        Meta(description="State of the case; held is the conversation's own record."),
    ]
    facts: Annotated[list[Fact], Meta(description='The newest 96, by time.')]
    config_version: Annotated[
        str, Meta(description='Configuration that decided last.', max_length=64)
    ]
    network: (
        Annotated[str, Meta(description='Network of the opener.', max_length=40)]
        | None
    ) = None
    channel: (
        Annotated[str, Meta(description='Channel of the opener.', max_length=256)]
        | None
    ) = None
    summary: Summary | None = None
    opened_at: (
        Annotated[datetime, Meta(tz=True, description='Publication of the opener.')] | None
    ) = None
    closed_at: Annotated[datetime, Meta(tz=True, description='When closed.')] | None = None
    closed_because: (
        Annotated[
            Literal['answered', 'customer_deleted', 'generation_full', 'withdrawn', 'command', 'merged'],
            Meta(
                description='Why closed; withdrawn: later facts say that it should never have been opened. Its facts lie elsewhere.'
            ),
        ]
        | None
    ) = None
    updated_at: Annotated[datetime, Meta(tz=True, description='Newest fact.')] | None = None
    first_response_at: (
        Annotated[datetime, Meta(tz=True, description='First answer of the brand to this customer.')
        ]
        | None
    ) = None
    waiting_since: (
        Annotated[datetime, Meta(tz=True, description="Customer's oldest unanswered word.")]
        | None
    ) = None
    queue: Annotated[str, Meta(description='Queue.', max_length=120)] | None = None
    assignee: Annotated[str, Meta(description='Agent.', max_length=120)] | None = None
    priority: Priority | None = None
    rule: (
        Annotated[
            str, Meta(description='Routing rule that chose the queue.', max_length=120)
        ]
        | None
    ) = None
    explain: Annotated[list[str], Meta(description='Why this queue.')] | None = None
    counts: (
        Annotated[dict[str, int], Meta(description='Facts by direction.')] | None
    ) = None
    commands: (
        Annotated[
            list[str],
            Meta(
                description='Ids of commands that are known and folded away, newest 64.'
            ),
        ]
        | None
    ) = None
    merged_into: (
        Annotated[str, Meta(description='Winner of a merge.', max_length=2048)]
        | None
    ) = None
    applied: (
        Annotated[
            list[AppliedCommand],
            Meta(description='Commands in force, by time; at most 64.', max_length=64),
        ]
        | None
    ) = None
    terms: (
        Annotated[
            dict[str, Terms],
            Meta(
                description='What its clocks were promised, by 64 bits of the content in hex: policies and calendars may change afterwards.'
            ),
        ]
        | None
    ) = None
    clocks: (
        Annotated[
            list[Clock],
            Meta(
                description='Clocks: of first response and resolution, and of the newest 8 turns.'
            ),
        ]
        | None
    ) = None
    turns: Turns | None = None
    snoozed_until: (
        Annotated[datetime, Meta(tz=True, description='While snoozed: until when.')] | None
    ) = None
    acknowledged_at: (
        Annotated[datetime, Meta(tz=True, description='First acknowledgement after the newest opening.'),
        ]
        | None
    ) = None
    acknowledged_by: (
        Annotated[str, Meta(description='Who acknowledged.', max_length=120)]
        | None
    ) = None
    responded_by: (
        Annotated[
            str,
            Meta(description='Agent who signed the first response.', max_length=120),
        ]
        | None
    ) = None
    reopened_at: (
        Annotated[datetime, Meta(tz=True, description='Newest reopening.')] | None
    ) = None
    fired: (
        Annotated[
            list[Fired],
            Meta(
                description='Timers that fired, newest 32: none fires twice.',
                max_length=32,
            ),
        ]
        | None
    ) = None
    escalations: (
        Annotated[
            list[Escalated], Meta(description='Escalations, at most 32.', max_length=32)
        ]
        | None
    ) = None
    incident: (
        Annotated[
            str,
            Meta(
                description='Incident it belongs to.',
                max_length=128,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    similar_to: (
        Annotated[
            list[SimilarToItem],
            Meta(
                description='Cases in which the same was said elsewhere, newest 8.',
                max_length=8,
            ),
        ]
        | None
    ) = None
    overrides: Overrides | None = None
    due_at: (
        Annotated[datetime, Meta(tz=True, description='Earliest deadline of a clock that runs.')]
        | None
    ) = None
    late: (
        Annotated[
            list[Literal['first_response', 'next_response', 'resolution']],
            Meta(description='Clocks of which a deadline was missed.', max_length=3),
        ]
        | None
    ) = None
    routed_queue: (
        Annotated[
            str,
            Meta(
                description='Queue that routing chose, where another one counts now.',
                max_length=120,
            ),
        ]
        | None
    ) = None
