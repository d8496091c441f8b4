"""The words that page and gateway exchange over a websocket, one JSON object a frame; pure.

The page says
    {"hello": {}}                                      a new session
    {"resume": {"token": "…", "seen": 17}}             its session again; replies after 17 are missing
    {"say": {"id": "<32 hex>", "at": 1763640000000, "text": "…"}}
    {"seen": 18}                                       replies up to 18 are shown
    {"typing": true}                                   ignored

and the gateway
    {"welcome": {"token": "…", "now": 1763640000000, "resumed": false}}
    {"ack": "<id>"}                                    durable
    {"wait": {"id": "<id>", "seconds": 2}}             not taken; say it again, the same, later
    {"refused": {"id": "<id>", "why": "too_long"}}     never to be taken
    {"reply": {"n": 18, "at": 1763640000000, "text": "…", "name": "…"}}

Ids of messages are made by the page, and it keeps a message with its id and time until it is
acknowledged: the same message sent again is the same object, whichever gateway takes it. Numbers of
replies rise within a session and may have holes.
"""

from typing import Annotated

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import READ_ERRORS, check_text, refusal

TEXT_MAX = 4_000
"""Characters of one message of a customer."""
FRAME_BYTES = 64 << 10
"""Of one frame of the page; a text of TEXT_MAX characters fits however it is escaped."""
_INSTANT_MAX = 2**42

MessageId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Token = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=_INSTANT_MAX)]
Number = Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)]


class Hello(msgspec.Struct, frozen=True):
    """A new session is wanted."""


class Resume(msgspec.Struct, frozen=True):
    """A session goes on.

    Attributes:
        token: as the gateway gave it.
        seen: number of the last reply that the page has; -1 for none.
    """

    token: Token
    seen: Number = -1


class Say(msgspec.Struct, frozen=True):
    """What the customer says.

    Attributes:
        id: 128 random bits of the page.
        text: as typed.
        at: ms since 1970, on the gateway's clock as the page knows it.
    """

    id: MessageId
    text: str
    at: Instant


class Frame(msgspec.Struct, frozen=True):
    """One frame of the page; what else it holds is ignored."""

    hello: Hello | None = None
    resume: Resume | None = None
    say: Say | None = None
    seen: Number | None = None
    typing: bool | None = None


_DECODER = msgspec.json.Decoder(Frame)


def read_frame(data: bytes | msgspec.Raw) -> Frame:
    """Read a frame of the page.

    Raises:
        InvalidMessage: no frame; the sentence repeats nothing of it.
    """
    try:
        return _DECODER.decode(data)
    except READ_ERRORS as error:
        raise refusal(error) from None


def check_said(said: Say) -> None:
    """Refuse a text that is empty, too long, or holds a NUL character; raises InvalidMessage."""
    if not said.text.strip():
        raise InvalidMessage(ErrorType.INVALID_FIELD, "say.text is empty", path="say.text")
    if len(said.text) > TEXT_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE,
            f"say.text is longer than {TEXT_MAX:,} characters",
            path="say.text",
        )
    check_text(said.text, "say.text")
