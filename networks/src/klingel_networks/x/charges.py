"""What a webhook delivery of X costs; pure.

Prices are those of the X Activity API (`x-api/getting-started/pricing`, August 2026), in US dollars: a
post's event 0.005, a direct message that was received 0.010. Of what has no price there (deletions,
likes, messages that we sent) nothing is counted.
"""

from collections.abc import Iterable, Iterator

import msgspec

from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Charge, Delivery
from klingel_networks.x.ids import is_id
from klingel_networks.x.names import family_of, plain
from klingel_networks.x.records import LINE, PIECES

POST_PRICE = 0.005
MESSAGE_PRICE = 0.010
UNIT = "US dollars"

_FREE = "delete"
_RECEIVED = "received"
_UUID_LENGTH = 80


class _Payload(msgspec.Struct, gc=False):
    id: str | None = None


class _Event(msgspec.Struct, gc=False):
    event_type: str = ""
    event_uuid: str | int | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


_EVENT = msgspec.json.Decoder(_Event)
_PAYLOAD = msgspec.json.Decoder(_Payload)


def charges(delivery: Delivery) -> tuple[Charge, ...]:
    """Return what a delivery costs; nothing where it cannot be read.

    The same post is charged once a UTC day, by whatever event it comes; the same event is the same,
    however often it is delivered. Several deliveries in one, and names as X wrote them formerly, are
    taken as the mapping takes them.
    """
    found = _charged(_bodies(delivery.body))
    if not found and b"\n" in delivery.body:
        return tuple(
            _charged(each for line in delivery.body.split(b"\n") for each in _bodies(line))
        )
    return tuple(found)


def _bodies(raw: bytes) -> Iterator[bytes]:
    """Yield the bodies that an array holds; what is no array is one itself."""
    raw = raw.strip()
    if raw[:1] == b"[":
        yield from _pieces(raw)
    else:
        yield raw


def _charged(bodies: Iterable[bytes]) -> list[Charge]:
    charged = (_charge(each) for body in bodies for each in _events(body))
    return [each for each in charged if each is not None]


def _events(body: bytes) -> Iterable[bytes]:
    """Return the events of a body: its data, each of a list, or itself where it wraps nothing."""
    try:
        data = bytes(LINE.decode(body).data)
    except READ_ERRORS:
        return ()
    return _pieces(data) if data[:1] == b"[" else (data or body,)


def _pieces(raw: bytes) -> Iterator[bytes]:
    try:
        yield from map(bytes, PIECES.decode(raw))
    except READ_ERRORS:
        return


def _charge(native: bytes) -> Charge | None:
    try:
        event = _EVENT.decode(native)
    except READ_ERRORS:
        return None
    kind = plain(event.event_type)
    once = f"event/{event.event_uuid}"[:_UUID_LENGTH] if event.event_uuid is not None else ""
    family = family_of(event.event_type)
    if family == "dm" and kind.endswith(_RECEIVED):
        return Charge("webhook/dm.received", MESSAGE_PRICE, once)
    if family == "post" and not kind.endswith(_FREE):
        post = _post_id(event.payload)
        return Charge("webhook/post", POST_PRICE, f"post/{post}" if post else once)
    return None


def _post_id(payload: msgspec.Raw) -> str:
    try:
        found = _PAYLOAD.decode(payload).id
    except READ_ERRORS:
        return ""
    return found if found is not None and is_id(found) else ""
