"""Cuts a webhook delivery of the Meta family: all entries, all lists, all elements; pure.

Source: developers.facebook.com, "Graph API: Webhooks getting started" (object, entry, changes;
batches of up to 1,000), "Messenger Platform: Webhooks" (messaging, standby), "Instagram Platform:
Webhook notification examples" (an entry that holds field and value itself; messages as a change).

| object | in an entry | network |
|---|---|---|
| `page` | `messaging`, `standby`; `changes` of a messaging field (test deliveries) | messenger |
| `page` | other `changes` | facebook |
| `instagram` | everything | instagram |
| `whatsapp_business_account` | `changes` | whatsapp |
| any other | everything, as kind `unknown` | facebook |

Context of an object: `channel` the entry's id (page, Instagram account), `by` the list it stood in
(`messaging`, `standby`, `changes`, `entry`), `time` of the entry in epoch milliseconds, `object`
where it is none of the family's own. WhatsApp: see `cloud.py`.
"""

from collections.abc import Callable, Mapping

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import READ_ERRORS, check_depth, check_utf8
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.meta import cloud
from klingel_networks.meta.fields import (
    ABSENT,
    Id,
    Part,
    Time,
    decode,
    is_given,
    milliseconds,
    optional_id,
)

Piece = tuple[str, NativeObject | Refused]
"""Name of the network, and an object of it."""

FACEBOOK, INSTAGRAM, MESSENGER, WHATSAPP = "facebook", "instagram", "messenger", "whatsapp"
NETWORKS = (FACEBOOK, INSTAGRAM, MESSENGER, WHATSAPP)

VIA = "via"
"""Key of a delivery's context: absent for webhooks, else `graph` or `deletion`."""

_OBJECT = {"page": FACEBOOK, "instagram": INSTAGRAM, "whatsapp_business_account": WHATSAPP}
_SAMPLE_OBJECT = {name: each for each, name in _OBJECT.items()} | {MESSENGER: "page"}
_MESSAGING = (
    "message",
    "messaging",
    "standby",
    "inbox_labels",
    "response_feedback",
    "business_integrity",
)
_BLANKS = b" \t\r\n"


class _Entry(Part, frozen=True, gc=False):
    id: Id | None = None
    time: Time | None = None
    messaging: list[msgspec.Raw] | None = None
    standby: list[msgspec.Raw] | None = None
    changes: list[msgspec.Raw] | None = None
    field: str | None = None
    value: msgspec.Raw = ABSENT


class _Body(Part, frozen=True, gc=False):
    object: str | None = None
    entry: list[msgspec.Raw] | None = None
    field: str | None = None
    value: msgspec.Raw = ABSENT


class _Usual(Part, frozen=True, gc=False):
    object: str
    entry: list[_Entry]


class _Change(Part, frozen=True, gc=False):
    field: str | None = None
    value: msgspec.Raw = ABSENT


class _Sides(Part, frozen=True, gc=False):
    sender: msgspec.Raw = ABSENT
    recipient: msgspec.Raw = ABSENT


_USUAL = msgspec.json.Decoder(_Usual)
_BODY = msgspec.json.Decoder(_Body)
_BODIES = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)
_CHANGE = msgspec.json.Decoder(_Change)
_SIDES = msgspec.json.Decoder(_Sides)


def explode(delivery: Delivery) -> list[Piece]:
    """Return every object of a webhook delivery with its network: n in, n out.

    Raises:
        InvalidMessage: the body cannot be read as a whole: not JSON, not UTF-8, nested too deeply,
            or no webhook of Meta.
    """
    return _pieces(delivery.body, _key(delivery.context), "")


def exploder(network: str) -> Callable[[Delivery], list[NativeObject | Refused]]:
    """Return the `explode` of one network: what is another's is refused with its name.

    A body of `field` and `value` alone, as the dashboard shows its samples, is taken for one of the
    network's own.
    """

    def of_one(delivery: Delivery) -> list[NativeObject | Refused]:
        found = _pieces(delivery.body, _key(delivery.context), _SAMPLE_OBJECT[network])
        return [piece if name == network else _foreign(piece, name) for name, piece in found]

    return of_one


def _foreign(piece: NativeObject | Refused, name: str) -> Refused:
    if isinstance(piece, Refused):
        return piece
    return Refused(
        piece.native,
        InvalidMessage(ErrorType.UNKNOWN_NETWORK, f"the object is one of {name}", path="object"),
    )


def _key(context: Mapping[str, str]) -> bytes:
    return context.get(cloud.HASH_KEY, "").encode("utf-8", "surrogateescape")


def _pieces(body: bytes, key: bytes, sample_object: str) -> list[Piece]:
    check_utf8(body)  # msgspec does not look into strings that it skips
    check_depth(body)
    found: list[Piece] = []
    if body[:1] == b"{" or body.lstrip(_BLANKS)[:1] != b"[":
        _of_body(body, key, sample_object, found)
        return found
    for each in decode(_BODIES, body):
        _of_body(bytes(each), key, sample_object, found)
    return found


def _of_body(body: bytes, key: bytes, sample_object: str, found: list[Piece]) -> None:
    """Add the objects of one body; the usual one, each entry with a list, is read in one pass."""
    try:
        usual = _USUAL.decode(body)
    except READ_ERRORS:
        _of_unusual(body, key, sample_object, found)
        return
    start = len(found)
    try:
        for entry in usual.entry:
            if not (entry.changes or entry.messaging or entry.standby):
                break
            _of_entry(b"", entry, usual.object, key, found)
        else:
            if usual.entry:
                return
    except InvalidMessage:
        pass  # which entry is at fault, and its bytes, the other way finds out
    del found[start:]
    _of_unusual(body, key, sample_object, found)


def _of_unusual(body: bytes, key: bytes, sample_object: str, found: list[Piece]) -> None:
    told = decode(_BODY, body)
    of = told.object or ""
    if told.entry is None:
        if told.field is None or not is_given(told.value):
            raise InvalidMessage(
                ErrorType.MISSING_FIELD,
                "the body is no webhook of Meta: entry is missing",
                path="entry",
            )
        _of_change(body.strip(_BLANKS), of or sample_object, _Entry(), {}, key, found)
        return
    if not told.entry:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "the delivery holds no entry", path="entry")
    for raw in told.entry:
        native = bytes(raw)
        try:
            _of_entry(native, decode(_ENTRY, native, "entry"), of, key, found)
        except InvalidMessage as error:
            found.append((_OBJECT.get(of, FACEBOOK), Refused(native, error)))


def _of_entry(native: bytes, entry: _Entry, of: str, key: bytes, found: list[Piece]) -> None:
    """Add the objects of one entry; raises InvalidMessage before it adds any.

    Args:
        native: of the entry; needed only where it holds no list.
        entry: as decoded.
        of: object of the webhook.
        key: of the hashes.
        found: what is added to.
    """
    network = _OBJECT.get(of, FACEBOOK)
    if network == WHATSAPP:
        _of_account(native, entry, key, found)
        return
    context = _context(entry, of)
    before = len(found)
    owner = MESSENGER if of == "page" else network
    if entry.messaging:
        context["by"] = "messaging"
        found += [(owner, NativeObject(bytes(each), context)) for each in entry.messaging]
    if entry.standby:
        where = {**context, "by": "standby"}
        found += [(owner, NativeObject(bytes(each), where)) for each in entry.standby]
    if entry.changes:
        where = {**context, "by": "changes"}
        for each in entry.changes:
            _of_change(bytes(each), of, entry, where, key, found)
    if len(found) == before:
        _of_change(native, of, entry, {**context, "by": "entry"}, key, found)


def _of_account(native: bytes, entry: _Entry, key: bytes, found: list[Piece]) -> None:
    """Add the objects of an entry of WhatsApp; one without changes is an object itself."""
    shared = cloud.shared_context(entry.id, entry.time)
    changes = entry.changes or entry.messaging or entry.standby or ()
    if entry.changes and (entry.messaging or entry.standby):
        changes = [*entry.changes, *(entry.messaging or ()), *(entry.standby or ())]
    for change in map(bytes, changes) if changes else (native,):
        found += [(WHATSAPP, piece) for piece in cloud.cut(change, shared, key)]


def _context(entry: _Entry, of: str) -> dict[str, str]:
    found = {}
    channel = optional_id(entry.id, "entry.id")
    if channel is not None:
        found["channel"] = channel
    if entry.time is not None:
        found["time"] = str(milliseconds(entry.time, "entry.time"))
    if of not in _OBJECT:
        found["object"] = optional_id(of, "object") or "none"
    return found


def _of_change(
    native: bytes,
    of: str,
    entry: _Entry,
    context: Mapping[str, str],
    key: bytes,
    found: list[Piece],
) -> None:
    network = _OBJECT.get(of, FACEBOOK)
    if network == WHATSAPP:
        shared = cloud.shared_context(entry.id, entry.time)
        found += [(network, piece) for piece in cloud.cut(native, shared, key)]
        return
    try:
        change = decode(_CHANGE, native, "changes")
    except InvalidMessage as error:
        found.append((network, Refused(native, error)))
        return
    if change.field is None or of not in _OBJECT or not change.field.startswith(_MESSAGING):
        found.append((network, NativeObject(native, context)))
        return
    # What the dashboard sends as a test is a message inside a change.
    value = bytes(change.value)
    message = value if _is_message(value) else native
    owner = MESSENGER if of == "page" else network
    found.append((owner, NativeObject(message, context)))


def _is_message(value: bytes) -> bool:
    try:
        sides = _SIDES.decode(value)
    except READ_ERRORS:
        return False
    return is_given(sides.sender) or is_given(sides.recipient)
