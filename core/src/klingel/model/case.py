"""Case: generated from schemas/events/case.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

Addressee: TypeAlias = Annotated[str, Meta(pattern='^[0-9a-f]{16}$')]


OriginItem: TypeAlias = Annotated[int, Meta(ge=0)]


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


class Fact(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a case remembers of one social event.
    """

    object: Annotated[
        str,
        Meta(description='64 bits of the object id, in hex.', pattern='^[0-9a-f]{16}$'),
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
        Meta(description='Content hash of that revision.', pattern='^[0-9a-f]{16}$'),
    ]
    at: Annotated[
        datetime,
        Meta(
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
        Annotated[
            datetime,
            Meta(description='When klingel first received it, where that is not `at`.'),
        ]
        | None
    ) = None
    author: (
        Annotated[
            str,
            Meta(
                description='64 bits of the author id, in hex; absent where no author is known.',
                pattern='^[0-9a-f]{16}$',
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
    in_reply_to: (
        Annotated[
            str,
            Meta(
                description="64 bits of the parent's object id, in hex.",
                pattern='^[0-9a-f]{16}$',
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
        Annotated[datetime, Meta(description='When it was deleted.')] | None
    ) = None
    silent: (
        Annotated[
            bool, Meta(description='It says nothing by itself (repost, reaction).')
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
                description='64 bits of the mapping version, in hex.',
                pattern='^[0-9a-f]{16}$',
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
    last_at: Annotated[datetime, Meta(description='Newest.')]
    last_object: Annotated[
        str,
        Meta(
            description='Object of the newest, which orders facts of one instant.',
            pattern='^[0-9a-f]{16}$',
        ),
    ]
    opened_at: Annotated[datetime, Meta(description='Opening of the case.')]
    opening: Opening
    outbound: (
        Annotated[
            int,
            Meta(description='How many of them the brand said; absent for 0.', ge=0),
        ]
        | None
    ) = None
    first_at: Annotated[datetime, Meta(description='Oldest.')] | None = None
    first_response_at: (
        Annotated[datetime, Meta(description='First answer among them.')] | None
    ) = None
    waiting_since: (
        Annotated[
            datetime,
            Meta(
                description='Oldest word among them that no answer among them follows.'
            ),
        ]
        | None
    ) = None
    closed_at: (
        Annotated[datetime, Meta(description='Closing after them, if closed.')]
        | None
    ) = None
    closed_because: (
        Annotated[
            Literal['answered', 'customer_deleted', 'generation_full'],
            Meta(description='Why closed.'),
        ]
        | None
    ) = None


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
        str, Meta(description='Brand.', max_length=60, pattern='^[a-z0-9][a-z0-9-]*$')
    ]
    conversation_id: Annotated[
        str,
        Meta(
            description='Conversation.',
            max_length=1024,
            min_length=1,
            pattern='^[^\\u0000-\\u001f]+$',
        ),
    ]
    customer_id: Annotated[
        str,
        Meta(
            description="Customer; - for the conversation's own record.",
            max_length=1024,
            min_length=1,
            pattern='^[^\\u0000-\\u001f]+$',
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
        Annotated[datetime, Meta(description='Publication of the opener.')] | None
    ) = None
    closed_at: Annotated[datetime, Meta(description='When closed.')] | None = None
    closed_because: (
        Annotated[
            Literal['answered', 'customer_deleted', 'generation_full', 'withdrawn'],
            Meta(
                description='Why closed; withdrawn: later facts say that it should never have been opened. Its facts lie elsewhere.'
            ),
        ]
        | None
    ) = None
    updated_at: Annotated[datetime, Meta(description='Newest fact.')] | None = None
    first_response_at: (
        Annotated[
            datetime, Meta(description='First answer of the brand to this customer.')
        ]
        | None
    ) = None
    waiting_since: (
        Annotated[datetime, Meta(description="Customer's oldest unanswered word.")]
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
        Annotated[list[str], Meta(description='Command ids applied, newest 64.')]
        | None
    ) = None
    merged_into: (
        Annotated[str, Meta(description='Winner of a merge.', max_length=2048)]
        | None
    ) = None
