"""What is said in the web chat, in klingel's words; pure.

A customer's message is the frame of the page as received, a reply of the brand the record of
`chat-outbox`. Object ids are `chat:<channel>:<session>/<id of the message>` and
`chat:<channel>:<session>/reply/<id of the reply>`; the conversation is `chat:<channel>:<session>`,
the customer is known by the session alone. Nothing said in a chat is edited or taken back.

Context: `channel`, the chat of the brand; `session`; `side: brand` marks a reply, which no page can
claim for its own frames; `at`, when the gateway does not believe the
page's clock, its own time in ms.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.chat_reply import ChatReply
from klingel.model.social_event import Author
from klingel_networks.bounds import READ_ERRORS, check_depth, read_utf8, refusal
from klingel_networks.chat.frames import Say, check_said, read_frame
from klingel_networks.chat.replies import check_reply, object_of
from klingel_networks.chat.sessions import CHANNEL, SESSION
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import native_of

MAPPING = "chat/1"
SIDE = "side"
BRAND = "brand"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REPLY = msgspec.json.Decoder(ChatReply)
_INSTANT = re.compile(r"[0-9]{1,13}")
_YEARS = range(1970, 2200)


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Return the one object of a frame or of a record of `chat-outbox`.

    Raises:
        InvalidMessage: not JSON, not UTF-8, nested too deeply.
    """
    body = delivery.body
    read_utf8(body)
    check_depth(body)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except READ_ERRORS as error:
        raise refusal(error) from None
    try:
        _read(body, delivery.context)
    except InvalidMessage as error:
        return [Refused(body, error)]
    return [NativeObject(body, delivery.context)]


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of a message or a reply; raises InvalidMessage."""
    return Identity(_read(native, context)[0], 0, "chat", "created")


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of a message (inbound) or a reply (outbound); raises InvalidMessage."""
    context = raw.context or {}
    _, said, at = _read(native_of(raw), context)
    channel, session = context["channel"], context["session"]
    customer = f"{channel}/{session}"
    brand = Author(id=channel, name=said.name) if isinstance(said, ChatReply) else None
    return SocialDraft(
        mapping=MAPPING,
        kind="chat",
        change="created",
        visibility="private",
        threading="network",
        conversation_id=f"chat:{channel}:{session}",
        published_at=at,
        author=brand or Author(id=customer),
        target=customer if brand else channel,
        text=said.text,
        direction="outbound" if brand else "inbound",
    )


def _read(
    native: bytes | msgspec.Raw, context: Mapping[str, str]
) -> tuple[str, Say | ChatReply, datetime]:
    """Return object id, content and time of one object; raises InvalidMessage."""
    channel = _fitting(CHANNEL, context, "channel")
    session = _fitting(SESSION, context, "session")
    if context.get(SIDE) == BRAND:
        reply = _reply(native)
        if (reply.channel, reply.session) != (channel, session):
            raise InvalidMessage(
                ErrorType.INVALID_FIELD, "the reply is for another session", path="session"
            )
        at = reply.written_at
        if at.utcoffset() is None or at.year not in _YEARS:
            raise InvalidMessage(
                ErrorType.INVALID_FIELD,
                "written_at is no moment with a time zone",
                path="written_at",
            )
        return object_of(reply), reply, at.astimezone(UTC)
    said = read_frame(native).say
    if said is None:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD, "the frame says nothing: say is missing", path="say"
        )
    check_said(said)
    known = context.get("at", "")
    at_ms = int(known) if _INSTANT.fullmatch(known) else said.at
    return f"chat:{channel}:{session}/{said.id}", said, _EPOCH + timedelta(milliseconds=at_ms)


def _reply(native: bytes | msgspec.Raw) -> ChatReply:
    try:
        reply = _REPLY.decode(native)
    except READ_ERRORS as error:
        raise refusal(error) from None
    check_reply(reply)
    return reply


def _fitting(form: re.Pattern[str], context: Mapping[str, str], name: str) -> str:
    value = context.get(name, "")
    if form.fullmatch(value) is None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, f"the delivery does not tell its {name}", path=name
        )
    return value
