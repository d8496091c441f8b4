"""Events of the stream as files and websockets hold them; pure.

Source: https://docs.joinmastodon.org/methods/streaming/. The client hears server-sent events one by
one and names each in the context; what was recorded whole comes as text of such events, or as frames
of a websocket: `{"stream": […], "event": "update", "payload": "<JSON in a string>"}`.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import READ_ERRORS, refusal

EVENT = "event"
"""Key of a context: the name of the stream's event."""
NO_DATA = b"{}"
"""Stands for what an event without data tells, such as `filters_changed`."""
_DELETED = re.compile(rb"[0-9A-Za-z_-]{1,128}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._:-]{0,63}")
_FIELD = re.compile(rb"(?:event|data|id|retry)?:")


class _Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame of a websocket."""

    event: str
    payload: msgspec.Raw = msgspec.Raw(b"")


_FRAME = msgspec.json.Decoder(_Frame)
_STRING = msgspec.json.Decoder(str)


def is_text(body: bytes) -> bool:
    """Whether a body is text of server-sent events: JSON never begins so."""
    return _FIELD.match(body[:64].lstrip()) is not None


def events(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and data of every event in a text of server-sent events; comments are none."""
    name, data = "message", list[bytes]()
    for line in [*body.splitlines(), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
        elif not line:
            if data or name != "message":
                yield name, b"\n".join(data)
            name, data = "message", []


def data_of(event: str | None, data: bytes) -> bytes:
    """Return the data of an event as one JSON value.

    The id of what was deleted comes bare, and is JSON only where it is a number: Mastodon's are,
    those of other servers with its interface are not.
    """
    data = data.strip()
    if event is None or data[:1] in {b"{", b"[", b'"'}:
        return data
    if data in {b"", b"undefined", b"null"}:
        return NO_DATA
    is_number = data.isdigit() and (data[:1] != b"0" or data == b"0")
    return data if is_number or _DELETED.fullmatch(data) is None else b'"' + data + b'"'


def of_frame(native: bytes, context: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """Return what a websocket's frame carries, and the context that names its event.

    Raises:
        InvalidMessage: the frame has no event, or its payload is neither JSON in a string nor JSON.
    """
    try:
        frame = _FRAME.decode(native)
        payload = bytes(frame.payload)
        data = _STRING.decode(payload).encode() if payload[:1] == b'"' else payload
    except READ_ERRORS as error:
        raise refusal(error) from None
    return data_of(frame.event, data), named(frame.event, context)


def named(event: str, context: Mapping[str, str]) -> Mapping[str, str]:
    """Return the context of an event; raises InvalidMessage when its name is none."""
    if _NAME.fullmatch(event) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "event is no name", path=EVENT)
    return {**context, EVENT: event}
