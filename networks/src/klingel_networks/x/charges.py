"""What a webhook delivery of X costs; pure.

Prices are those of the X Activity API (`x-api/getting-started/pricing`, August 2026), in US dollars: a
post's event 0.005, a direct message that was received 0.010. Of what has no price there (deletions,
likes, messages that we sent) nothing is counted.
"""

import msgspec

from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Charge, Delivery
from klingel_networks.x.ids import is_id

POST_PRICE = 0.005
MESSAGE_PRICE = 0.010
UNIT = "US dollars"

_POSTS = "post."
_FREE = "delete"
_MESSAGE = "dm.received"
_UUID_LENGTH = 80


class _Payload(msgspec.Struct, gc=False):
    id: str | None = None


class _Event(msgspec.Struct, gc=False):
    event_type: str = ""
    event_uuid: str | int | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct, gc=False):
    data: _Event | None = None


_BODY = msgspec.json.Decoder(_Body)
_PAYLOAD = msgspec.json.Decoder(_Payload)


def charges(delivery: Delivery) -> tuple[Charge, ...]:
    """Return what a delivery costs; nothing where it cannot be read.

    The same post is charged once a UTC day, by whatever event it comes; the same event is the same,
    however often it is delivered.
    """
    try:
        event = _BODY.decode(delivery.body).data
    except READ_ERRORS:
        return ()
    if event is None:
        return ()
    kind = event.event_type.lower()
    once = f"event/{event.event_uuid}"[:_UUID_LENGTH] if event.event_uuid is not None else ""
    if kind == _MESSAGE:
        return (Charge(f"webhook/{kind}", MESSAGE_PRICE, once),)
    if kind.startswith(_POSTS) and not kind.endswith(_FREE):
        post = _post_id(event.payload)
        return (Charge("webhook/post", POST_PRICE, f"post/{post}" if post else once),)
    return ()


def _post_id(payload: msgspec.Raw) -> str:
    try:
        found = _PAYLOAD.decode(payload).id
    except READ_ERRORS:
        return ""
    return found if found is not None and is_id(found) else ""
