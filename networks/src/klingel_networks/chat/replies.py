"""What the brand says in a session of the web chat, as a record of `chat-outbox`; pure.

A help desk in Python builds its replies here; one in another language writes the same record: key is
the session, the partition Kafka's own of that key, the value JSON of chat-reply.v1. The same reply
written again under its id is one event and is shown once.
"""

import re
from datetime import datetime

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.chat_reply import ChatReply
from klingel_networks.bounds import check_text
from klingel_networks.chat.sessions import Talk

_REPLY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def reply_of(
    talk: Talk, text: str, reply_id: str, at: datetime, name: str | None = None
) -> ChatReply:
    """Return a reply, checked as the gateway checks it.

    Args:
        talk: session that it is for.
        text: what the customer reads, 1 to 10,000 characters.
        reply_id: id within the session, of letters, digits, dots, dashes and underscores.
        at: when it was written, aware.
        name: who speaks, as the customer reads it, at most 80 characters.

    Raises:
        InvalidMessage: a part of it is not what it may be; the sentence repeats nothing of it.
    """
    if not text.strip():
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the reply is empty", path="text")
    given = {
        "channel": talk.channel,
        "session": talk.session,
        "reply_id": reply_id,
        "text": text,
        "name": name,
        "written_at": at,
    }
    try:
        encoded = msgspec.json.encode(
            {key: each for key, each in given.items() if each is not None}
        )
    except UnicodeEncodeError:
        raise InvalidMessage(
            ErrorType.INVALID_TEXT, "the reply is no text in UTF-8", path="text"
        ) from None
    reply = codec.decode(ChatReply, encoded)
    check_reply(reply)
    return reply


def check_reply(reply: ChatReply) -> None:
    """Refuse of a decoded reply what its shape cannot tell; raises InvalidMessage."""
    check_text(reply.text, "text")
    if reply.name is not None:
        check_text(reply.name, "name")
    # The shape's patterns end with $, before which a line may end too.
    if _REPLY_ID.fullmatch(reply.reply_id) is None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "an id of a reply is of letters, digits, dots, dashes and underscores",
            path="reply_id",
        )


def object_of(reply: ChatReply) -> str:
    """Return the object id of the outbound event that a reply becomes."""
    return f"chat:{reply.channel}:{reply.session}/reply/{reply.reply_id}"


def reply_output(reply: ChatReply, source: str) -> Output:
    """Return the record of a reply; its partition is that of its key.

    Args:
        reply: what is said.
        source: who writes it, such as `klingel/cli`.
    """
    return Output(
        topic=Topic.CHAT_OUTBOX,
        key=reply.session.encode(),
        value=codec.encode(reply),
        headers=ce_headers(
            Topic.CHAT_OUTBOX,
            event_id=object_of(reply),
            source=source,
            subject=reply.session,
            time=reply.written_at,
            trace=trace_id(f"chat:{reply.channel}:{reply.session}"),
        ),
    )
