"""SocialEvent: generated from schemas/events/social-event.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta, field

SpanItem: TypeAlias = Annotated[int, Meta(ge=0)]


Span: TypeAlias = Annotated[
    list[SpanItem], Meta(description='start, end', max_length=2, min_length=2)
]


class Match(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One reason to hear an event.
    """

    how: Annotated[
        Literal['channel', 'rule', 'reply', 'tracked', 'mention', 'directory'],
        Meta(
            description='Channel of the brand, listening rule, reply to its own object, open case, mention of its account, or heard before.'
        ),
    ]
    rule: (
        Annotated[str, Meta(description='Listening rule id.', max_length=120)]
        | None
    ) = None
    version: (
        Annotated[
            str,
            Meta(
                description='Version of the rule: over what it means, dictionaries written out.',
                max_length=40,
            ),
        ]
        | None
    ) = None
    spans: (
        Annotated[
            list[Span], Meta(description='Hits in text: start, end in code points.')
        ]
        | None
    ) = None


class Origin(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Raw coordinates.
    """

    topic: Annotated[str, Meta(description='Topic.', min_length=1)]
    partition: Annotated[int, Meta(description='Partition.', ge=0)]
    offset: Annotated[int, Meta(description='Offset.', ge=0)]
    mode: Annotated[
        Literal['live', 'gap_fill', 'backfill', 'remap'],
        Meta(description='How it reached us.'),
    ]


class Author(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Who acted.
    """

    id: Annotated[
        str,
        Meta(
            description='Immutable id on the network.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    handle: Annotated[str, Meta(description='Handle.', max_length=256)] | None = None
    name: (
        Annotated[str, Meta(description='Display name.', max_length=640)] | None
    ) = None
    followers: Annotated[int, Meta(description='Followers.', ge=0)] | None = None
    verified: (
        Annotated[bool, Meta(description='Verified by the network.')] | None
    ) = None


class Lang(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Language.
    """

    code: Annotated[
        str, Meta(description='BCP 47 primary subtag or und.', extra_json_schema={'pattern': '^[a-z]{2,3}$'})
    ]
    score: Annotated[float, Meta(description='0 to 1.', ge=0.0, le=1.0)]
    from_: Annotated[Literal['network', 'detector', 'both', 'none'], Meta(description='Who says so.')] = field(
        name='from'
    )


class Media(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Attachment.
    """

    kind: Annotated[
        Literal['image', 'video', 'audio', 'file', 'sticker', 'location', 'link'],
        Meta(description='Kind of medium.'),
    ]
    id: (
        Annotated[str, Meta(description='Id on the network.', max_length=512)]
        | None
    ) = None
    url: Annotated[str, Meta(description='Address.', max_length=4096)] | None = None
    sha256: (
        Annotated[
            str, Meta(description='Of the stored bytes.', extra_json_schema={'pattern': '^[0-9a-f]{64}$'})
        ]
        | None
    ) = None
    status: (
        Annotated[
            Literal['remote', 'stored', 'failed'],
            Meta(description='Whether the bytes are here.'),
        ]
        | None
    ) = None
    alt: Annotated[str, Meta(description='Alternative text.')] | None = None


class Reply(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    How it can be answered.
    """

    channel: Annotated[
        str, Meta(description='Channel to answer through.', max_length=256)
    ]
    target: (
        Annotated[
            str, Meta(description='Object or account to answer.', max_length=1024)
        ]
        | None
    ) = None
    permalink: Annotated[str, Meta(description='Address to open.')] | None = None
    window_until: (
        Annotated[datetime, Meta(tz=True, description='End of the reply window.')] | None
    ) = None
    policy: (
        Annotated[str, Meta(description='Reply policy of the network.', max_length=120)]
        | None
    ) = None


class Signature(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Who of the brand's people signed.
    """

    code: (
        Annotated[str, Meta(description='Code as written, such as AB.', max_length=40)]
        | None
    ) = None
    agent: (
        Annotated[
            str,
            Meta(description='Name that the brand gives to the code.', max_length=120),
        ]
        | None
    ) = None


Topic: TypeAlias = Annotated[str, Meta(max_length=60)]


OwnWordItem: TypeAlias = Annotated[int, Meta(ge=0)]


OwnWord: TypeAlias = Annotated[
    list[OwnWordItem], Meta(description='start, end', max_length=2, min_length=2)
]


Model: TypeAlias = Annotated[str, Meta(max_length=120)]


class Tone(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Tone towards the brand, as probabilities.
    """

    label: Annotated[
        Literal['negative', 'neutral', 'positive'], Meta(description='The most likely.')
    ]
    negative: Annotated[float, Meta(description='Probability.', ge=0.0, le=1.0)]
    neutral: Annotated[float, Meta(description='Probability.', ge=0.0, le=1.0)]
    positive: Annotated[float, Meta(description='Probability.', ge=0.0, le=1.0)]


class Intent(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One intent.
    """

    name: Annotated[
        str,
        Meta(
            description="complaint, problem, question, lead, praise, feedback, cancellation, spam, other, or the brand's own.",
            max_length=60,
            extra_json_schema={'pattern': '^[a-z0-9][a-z0-9_-]*$'},
        ),
    ]
    score: Annotated[float, Meta(description='How sure.', ge=0.0, le=1.0)]


class PersonalData(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One finding.
    """

    kind: Annotated[
        str, Meta(description='What it is.', max_length=40, extra_json_schema={'pattern': '^[a-z][a-z_]*$'})
    ]
    start: Annotated[int, Meta(description='First code point.', ge=0)]
    end: Annotated[int, Meta(description='Behind the last code point.', ge=0)]


class Influence(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    How far the author's word carries.
    """

    score: Annotated[
        float, Meta(description='From the parts that are known.', ge=0.0, le=1.0)
    ]
    parts: (
        Annotated[dict[str, float], Meta(description='Named parts, each 0 to 1.')]
        | None
    ) = None


class Enrichment(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What was found in the text; what is absent is unknown, never zero.
    """

    tone: Tone | None = None
    intents: (
        Annotated[
            list[Intent],
            Meta(
                description='What the author wants, most likely first; several at once.'
            ),
        ]
        | None
    ) = None
    topics: (
        Annotated[list[Topic], Meta(description="Topics of the brand's own taxonomy.")]
        | None
    ) = None
    anger: (
        Annotated[
            float,
            Meta(description='Probability that the author is angry.', ge=0.0, le=1.0),
        ]
        | None
    ) = None
    offence: (
        Annotated[
            float,
            Meta(
                description='Probability that the words insult; only in languages that a model knows.',
                ge=0.0,
                le=1.0,
            ),
        ]
        | None
    ) = None
    own_words: (
        Annotated[
            list[OwnWord],
            Meta(
                description="Spans of the author's own words, in code points; absent where the whole text is."
            ),
        ]
        | None
    ) = None
    pii: (
        Annotated[
            list[PersonalData],
            Meta(description='Personal data found in text, masked in text_public.'),
        ]
        | None
    ) = None
    influence: Influence | None = None
    models: (
        Annotated[
            list[Model],
            Meta(
                description='Versions that found it, one for each model and rule set.'
            ),
        ]
        | None
    ) = None


class SocialEvent(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a brand hears: canonical, deduplicated; one event per brand.
    """

    event_id: Annotated[
        str,
        Meta(
            description='<brand>/<object_id>@<revision>',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    object_id: Annotated[
        str,
        Meta(
            description='<network>:<scope>:<native id>',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    kind: Annotated[
        Literal['post', 'reply', 'repost', 'quote', 'comment', 'direct_message', 'email', 'review', 'reaction', 'story', 'chat', 'unknown'],
        Meta(description='What the thing is; meanings follow ActivityStreams 2.'),
    ]
    change: Annotated[
        Literal['created', 'updated', 'deleted', 'completed'],
        Meta(description='What happened to it.'),
    ]
    revision: Annotated[int, Meta(description='See raw event.', ge=0, le=4398046511103)]
    brand: Annotated[
        str,
        Meta(
            description='Brand that hears it.',
            max_length=60,
            extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'},
        ),
    ]
    matches: Annotated[list[Match], Meta(description='Why the brand hears it.')]
    network: Annotated[
        str, Meta(description='Network.', max_length=40, extra_json_schema={'pattern': '^[a-z][a-z0-9_]*$'})
    ]
    connector: Annotated[str, Meta(description='Connector instance.', min_length=1)]
    origin: Origin
    direction: Annotated[
        Literal['inbound', 'outbound', 'third_party'],
        Meta(description='Seen from the brand.'),
    ]
    addressing: Annotated[
        Literal['direct', 'indirect'],
        Meta(description='Addressed to the brand or about it.'),
    ]
    visibility: Annotated[
        Literal['public', 'unlisted', 'followers', 'private'],
        Meta(description='Who can see it.'),
    ]
    received_at: Annotated[datetime, Meta(tz=True, description='When klingel first saw it.')]
    conversation_id: Annotated[
        str,
        Meta(
            description="Conversation; the network's own where it names one.",
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    threading: Annotated[
        Literal['network', 'root', 'parent_only', 'directory'],
        Meta(description='Where the conversation comes from.'),
    ]
    index: Annotated[
        str,
        Meta(
            description='Month of the index, fixed at first sight.',
            extra_json_schema={'pattern': '^([0-9]{4}\\.[0-9]{2}|undated)$'},
        ),
    ]
    content_hash: Annotated[
        str,
        Meta(
            description='64 bits over kind, text, media ids and references, in hex.',
            extra_json_schema={'pattern': '^[0-9a-f]{16}$'},
        ),
    ]
    mapping: Annotated[
        str,
        Meta(
            description='Network mapping and its version.',
            extra_json_schema={'pattern': '^[a-z][a-z0-9_]*/[0-9]+$'},
        ),
    ]
    config_version: Annotated[
        str,
        Meta(
            description="Version of the brand's configuration that matched.",
            max_length=64,
        ),
    ]
    label: (
        Annotated[
            str,
            Meta(
                description='Network as named by a generic source; only a label.',
                max_length=60,
            ),
        ]
        | None
    ) = None
    channel: (
        Annotated[
            str,
            Meta(
                description='Channel of the brand it came through or was addressed to.',
                max_length=256,
            ),
        ]
        | None
    ) = None
    published_at: (
        Annotated[datetime, Meta(tz=True, 
                description="When the author published this object; for an edit still the object's publication where the network tells it."
            ),
        ]
        | None
    ) = None
    changed_at: (
        Annotated[datetime, Meta(tz=True, 
                description='When this revision happened, where the network tells it.'
            ),
        ]
        | None
    ) = None
    in_reply_to: (
        Annotated[str, Meta(description='Object it replies to.', max_length=1024)]
        | None
    ) = None
    quotes: (
        Annotated[str, Meta(description='Object it quotes.', max_length=1024)]
        | None
    ) = None
    reposts: (
        Annotated[str, Meta(description='Object it reposts.', max_length=1024)]
        | None
    ) = None
    target: (
        Annotated[
            str,
            Meta(description='Account or object it is addressed to.', max_length=1024),
        ]
        | None
    ) = None
    author: Author | None = None
    customer_id: (
        Annotated[
            str,
            Meta(
                description='Customer the author is, as far as known.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    text: Annotated[str, Meta(description='Text as said, unaltered.')] | None = None
    text_public: (
        Annotated[
            str,
            Meta(
                description='Text with personal data masked; absent where there is none: then text is for everybody.'
            ),
        ]
        | None
    ) = None
    lang: Lang | None = None
    signature: Signature | None = None
    enrichment: Enrichment | None = None
    media: Annotated[list[Media], Meta(description='Attachments.')] | None = None
    links: Annotated[list[str], Meta(description='Web addresses.')] | None = None
    hashtags: (
        Annotated[list[str], Meta(description='Without the sign, lower case.')]
        | None
    ) = None
    mentions: (
        Annotated[
            list[str],
            Meta(description='Accounts mentioned: id where known, else handle.'),
        ]
        | None
    ) = None
    metrics: (
        Annotated[dict[str, int], Meta(description='Counts given by the network.')]
        | None
    ) = None
    refers_to: (
        Annotated[
            str,
            Meta(
                description='Conversation that it refers to without being part of it, such as one whose mail a stranger answers.',
                max_length=1024,
                min_length=1,
            ),
        ]
        | None
    ) = None
    natures: (
        Annotated[
            list[Literal['auto_reply', 'bounce', 'read_receipt', 'abuse_report', 'auto_generated', 'mailing_list', 'bulk', 'spam_flag', 'forged_sender']],
            Meta(
                description="What it is beside its words: a machine's answer, a list, what a filter said; absent for plain words.",
                max_length=9,
            ),
        ]
        | None
    ) = None
    reply: Reply | None = None
    url: Annotated[str, Meta(description='Permalink.')] | None = None
    fingerprint: (
        Annotated[
            str,
            Meta(
                description='64 bits over the normalised text, in hex.',
                extra_json_schema={'pattern': '^[0-9a-f]{16}$'},
            ),
        ]
        | None
    ) = None
