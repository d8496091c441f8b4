"""Cuts a change of the WhatsApp Cloud API into its objects and names everybody in them; pure.

Source: developers.facebook.com, "WhatsApp Cloud API: Webhooks" (messages, statuses, errors, calls,
smb_message_echoes, history, smb_app_state_sync, user_preferences, user_id_update) and
"Business-scoped user IDs" (March 2026).

Each element of a list of `value` is an object of its own; what it shares with its neighbours
(own number, the sender's profile) goes into its context. Message ids hold the customer's phone
number in base64, and ids reach keys, headers and logs: so they are keyed hashes. The key stands in
the delivery's context under `hash_key` and in no object's. Context of an object:

- `channel`: id of the own number; `account`: id of the business account; `field`: of the webhook;
  `of`: the list, absent for a change without one; `time`: of the entry, epoch milliseconds;
  `by`: `own` where the brand speaks.
- `mode`: `backfill` for what the customer and the brand said before the number was connected: the
  threads of `history`, and the media of them, which follow as `messages` of that field.
- `id`, `ref`, `group`: hashed id of the message, of the one it speaks of, of its group.
- `customer`: typed id of the customer, `bsuid:<id>` or else `phone:<hash>`.
- `ids`: all typed ids that were seen of the customer, blanks between them.
- `name`, `username`, `phone`: as shown, for those who answer.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import msgspec

from klingel.errors import InvalidMessage
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import NativeObject, Refused
from klingel_networks.meta.fields import (
    ABSENT,
    Id,
    Part,
    Time,
    decode,
    milliseconds,
    native_id,
    optional_id,
    shown_handle,
    shown_name,
)

HASH_KEY = "hash_key"
"""Key of a delivery's context: the secret under which phone numbers and message ids are hashed."""
HASH_KEY_MAX = blake2b.MAX_KEY_SIZE

LISTS = (
    "messages",
    "statuses",
    "message_echoes",
    "history",
    "state_sync",
    "calls",
    "user_preferences",
    "user_id_update",
    "errors",
)
"""Lists of a change's value whose elements are objects; `contacts` is what they share."""

OTHER = "other"
"""What a list is called that stands beside known ones and that nobody knows yet."""

_SHARED = "contacts"
_HISTORY_LIST = "history"
_FIELD_MAX = 100
_NULL = b"null"
_CHANGED = re.compile(r" from (\S{1,128}) to (\S{1,128}?)\.?\Z")
_NO_DIGIT = re.compile(r"[^0-9]+")


class Profile(Part, frozen=True, gc=False):
    """How a customer calls himself."""

    name: str | None = None
    username: str | None = None


class Contact(Part, frozen=True, gc=False):
    """A customer in `contacts`."""

    profile: Profile | None = None
    wa_id: Id | None = None
    user_id: Id | None = None
    parent_user_id: Id | None = None


class _Metadata(Part, frozen=True, gc=False):
    display_phone_number: Id | None = None
    phone_number_id: Id | None = None


class _Change(Part, frozen=True, gc=False):
    field: str | None = None
    value: msgspec.Raw = ABSENT


class _Reference(Part, frozen=True, gc=False):
    id: Id | None = None
    message_id: Id | None = None
    original_message_id: Id | None = None


class _Successor(Part, frozen=True, gc=False):
    previous: Id | None = None
    current: Id | None = None


class _System(Part, frozen=True, gc=False):
    body: str | None = None
    wa_id: Id | None = None
    new_wa_id: Id | None = None
    user_id: Id | None = None
    parent_user_id: Id | None = None


class _Phone(Part, frozen=True, gc=False):
    phone: Id | None = None
    wa_id: Id | None = None


class _Card(Part, frozen=True, gc=False):
    phones: list[_Phone] | None = None


class _Named(Part, frozen=True, gc=False, kw_only=True):
    """What names somebody or something in an element, of whichever list."""

    id: Id | None = None
    origin: str | None = None
    from_: Id | None = msgspec.field(default=None, name="from")
    from_user_id: Id | None = None
    from_parent_user_id: Id | None = None
    to: Id | None = None
    to_user_id: Id | None = None
    to_parent_user_id: Id | None = None
    direction: str | None = None
    group_id: Id | None = None
    wa_id: Id | None = None
    user_id: Id | _Successor | None = None
    parent_user_id: Id | _Successor | None = None
    recipient_id: Id | None = None
    recipient_user_id: Id | None = None
    recipient_parent_user_id: Id | None = None
    recipient_type: str | None = None
    recipient_participant_id: Id | None = None
    recipient_participant_user_id: Id | None = None
    recipient_participant_parent_user_id: Id | None = None
    context: _Reference | None = None
    reaction: _Reference | None = None
    revoke: _Reference | None = None
    edit: _Reference | None = None
    system: _System | None = None
    contacts: list[_Card] | None = None


class _Thread(Part, frozen=True, gc=False):
    id: Id | None = None
    messages: list[msgspec.Raw] | None = None


class _History(Part, frozen=True, gc=False):
    threads: list[_Thread] | None = None


class _UsualValue(Part, frozen=True, gc=False, forbid_unknown_fields=True):
    messaging_product: str | None = None
    metadata: _Metadata | None = None
    contacts: list[Contact] | None = None
    messages: list[msgspec.Raw] | None = None
    statuses: list[msgspec.Raw] | None = None


class _Usual(Part, frozen=True, gc=False):
    value: _UsualValue
    field: str | None = None


_USUAL = msgspec.json.Decoder(_Usual)
_CHANGE = msgspec.json.Decoder(_Change)
_VALUE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_CONTACTS = msgspec.json.Decoder(list[Contact])
_METADATA = msgspec.json.Decoder(_Metadata)
_NAMED = msgspec.json.Decoder(_Named)
_HISTORY = msgspec.json.Decoder(_History)


# Structs are made in half the time of named tuples, and several are made for every message.
class _Told(msgspec.Struct, frozen=True, gc=False):
    """A change: its field, what the elements of its value share, and the elements by list."""

    field: str | None
    is_object: bool = False
    metadata: _Metadata | None = None
    contacts: Sequence[Contact] = ()
    lists: Sequence[tuple[str, list[msgspec.Raw]]] = ()


@lru_cache(maxsize=4)
def _hasher(key: bytes) -> blake2b:
    return blake2b(key=key, digest_size=16, person=b"klingel.wa")


class _Common(msgspec.Struct, frozen=True, gc=False):
    """What the elements of one list of a change share."""

    shared: Mapping[str, str]
    contacts: Sequence[Contact]
    own: str
    hasher: blake2b

    def hashed(self, value: str) -> str:
        found = self.hasher.copy()
        found.update(value.encode())
        return found.hexdigest()


_Several = tuple[Id | None, ...]
_Customer = tuple[_Several, _Several, _Several]
"""Somebody as one element names him: users, parents, phones; the first of each is the present one."""


def shared_context(entry_id: Id | None, time: Time | None) -> dict[str, str]:
    """Return what all objects of an entry share; raises InvalidMessage.

    Args:
        entry_id: of the entry: the WhatsApp Business Account.
        time: of the entry.
    """
    shared = {}
    account = optional_id(entry_id, "entry.id")
    if account is not None:
        shared["account"] = account
    if time is not None:
        shared["time"] = str(milliseconds(time, "entry.time"))
    return shared


def cut(change: bytes, shared: Mapping[str, str], key: bytes) -> list[NativeObject | Refused]:
    """Return the objects of one change; one that holds no list is an object itself.

    Args:
        change: `{"field": …, "value": …}` as received.
        shared: context of the entry.
        key: of the hashes; empty only where nothing leaves the machine.
    """
    try:
        return _objects(change, shared, key)
    except InvalidMessage as error:
        return _refused(change, error)


def _refused(change: bytes, error: InvalidMessage) -> list[NativeObject | Refused]:
    """Return each object of a change of which what they share cannot be read, or the change."""
    try:
        parts = decode(_VALUE, decode(_CHANGE, change).value)
        lists = _lists(parts)
    except InvalidMessage:
        lists = []
    found: list[NativeObject | Refused] = [
        Refused(bytes(raw), error) for _, raws in lists for raw in raws
    ]
    return found or [Refused(change, error)]


def _objects(change: bytes, entry: Mapping[str, str], key: bytes) -> list[NativeObject | Refused]:
    told = _told(change)
    shared = {**entry, "field": _field(told.field)}
    if not told.is_object:
        return [NativeObject(change, shared)]
    own, metadata = "", told.metadata
    if metadata is not None:
        channel, own = _own_number(metadata.phone_number_id, metadata.display_phone_number)
        if channel:
            shared["channel"] = channel
    hasher = _hasher(key[:HASH_KEY_MAX])
    found: list[NativeObject | Refused] = []
    for listed, raws in told.lists:
        # The media of what was said before follow as messages of the same field.
        name = _HISTORY_LIST if told.field == _HISTORY_LIST and listed == "messages" else listed
        common = _Common({**shared, "of": name}, told.contacts, own, hasher)
        for raw in raws:
            if listed == _HISTORY_LIST:
                found += _told_before(raw, common)
            else:
                found.append(_piece(name, bytes(raw), common))
    return found or [NativeObject(change, shared)]


# A business has few numbers and hears of them in every change.
@lru_cache(maxsize=256)
def _own_number(phone_number_id: Id | None, shown: Id | None) -> tuple[str, str]:
    """Return id and digits of the own number, empty for none; raises InvalidMessage."""
    path = "value.metadata.phone_number_id"
    own_id = native_id(phone_number_id, path) if phone_number_id else ""
    return own_id, _digits(shown, "value.metadata.display_phone_number")


@lru_cache(maxsize=64)
def _field(name: str | None) -> str:
    return (optional_id(name, "field") or "none")[:_FIELD_MAX]


def _told(change: bytes) -> _Told:
    """Return field and value of a change; of a value without a known list only the metadata.

    The usual change, one list of messages or of statuses, is read in one pass.
    """
    try:
        usual = _USUAL.decode(change)
    except READ_ERRORS:
        return _told_slowly(change)
    value = usual.value
    lists = []
    if value.messages is not None:
        lists.append(("messages", value.messages))
    if value.statuses is not None:
        lists.append(("statuses", value.statuses))
    if not lists:
        return _told_slowly(change)
    return _Told(usual.field, True, value.metadata, value.contacts or (), lists)  # noqa: FBT003 - positions cost half of names


def _told_slowly(change: bytes) -> _Told:
    told = decode(_CHANGE, change)
    value = bytes(told.value)
    if not value.startswith(b"{"):
        return _Told(told.field)
    parts = decode(_VALUE, value, "value")
    metadata = None
    if "metadata" in parts:
        metadata = decode(_METADATA, parts["metadata"], "value.metadata")
    lists = _lists(parts)
    contacts = None
    if lists and bytes(parts.get(_SHARED, _NULL)) != _NULL:
        contacts = decode(_CONTACTS, parts[_SHARED], "value.contacts")
    return _Told(told.field, True, metadata, contacts or (), lists)  # noqa: FBT003 - as above


def _lists(parts: Mapping[str, msgspec.Raw]) -> list[tuple[str, list[msgspec.Raw]]]:
    """Return the lists of a value; ones that nobody knows yet count only beside known ones."""
    found = [
        (name, decode(_ELEMENTS, parts[name], f"value.{name}"))
        for name in LISTS
        if name in parts and bytes(parts[name]) != _NULL
    ]
    if found and len(parts) > len(found):
        found += [
            (OTHER, decode(_ELEMENTS, raw, "value.(unknown field)"))
            for name, raw in parts.items()
            if name not in LISTS and name != _SHARED and bytes(raw).startswith(b"[")
        ]
    return found


def _told_before(raw: msgspec.Raw, common: _Common) -> list[NativeObject | Refused]:
    """Return the messages of a piece of history; one without messages is an object itself."""
    try:
        threads = decode(_HISTORY, raw, "value.history").threads
    except InvalidMessage as error:
        return [Refused(bytes(raw), error)]
    found = [
        _piece(_HISTORY_LIST, bytes(message), common, thread.id)
        for thread in threads or ()
        for message in thread.messages or ()
    ]
    return found or [_piece(_HISTORY_LIST, bytes(raw), common)]


def _piece(
    name: str, native: bytes, common: _Common, thread: Id | None = None
) -> NativeObject | Refused:
    try:
        named = decode(_NAMED, native)
        return NativeObject(native, _context(name, named, common, thread))
    except InvalidMessage as error:
        return Refused(native, error)


def _context(name: str, named: _Named, common: _Common, thread: Id | None) -> dict[str, str]:
    found = {**common.shared}
    if name == _HISTORY_LIST:
        found["mode"] = "backfill"
    if named.id:
        found["id"] = common.hashed(native_id(named.id, "id"))
    ref, group = _spoken_of(named), _group(named)
    if ref:
        found["ref"] = common.hashed(native_id(ref, "ref"))
    if group:
        found["group"] = common.hashed(native_id(group, "group"))
    if name == "message_echoes" or (name == "history" and _is_own(named, common.own)):
        found["by"] = "own"
    customer = _customer(name, named, common.own, thread)
    if customer is not None:
        _name(found, customer, common)
    return found


def _name(found: dict[str, str], customer: _Customer, common: _Common) -> None:
    """Write everything that names a customer, with what his contact adds."""
    users, parents, phones = customer
    contact, username = _contact_of(users, phones, common.contacts), None
    if contact is not None:
        username = _show(found, contact)
        if contact.user_id not in users:
            users += (contact.user_id,)
        if contact.wa_id not in phones:
            phones += (contact.wa_id,)
        if contact.parent_user_id is not None:
            parents += (contact.parent_user_id,)
    ids = ["bsuid:" + _plain(each) for each in users if each]
    _call(found, ids, phones, common)
    ids += ["parent:" + _plain(each) for each in parents if each]
    if ids:
        found["customer"] = ids[0]
        if username:
            ids.append("username:" + common.hashed(username.removeprefix("@").casefold()))
        found["ids"] = " ".join(dict.fromkeys(ids))


def _show(found: dict[str, str], contact: Contact) -> str | None:
    """Write how a customer calls himself; return his username."""
    profile = contact.profile
    if profile is None:
        return None
    _put(found, "name", shown_name(profile.name))
    if profile.username:
        _put(found, "username", shown_handle(profile.username))
    return profile.username


def _put(found: dict[str, str], key: str, value: str | None) -> None:
    if value is not None:
        found[key] = value


def _call(
    found: dict[str, str], ids: list[str], phones: tuple[Id | None, ...], common: _Common
) -> None:
    """Add a customer's phone numbers to his ids, and the one that one can call back."""
    own = common.own if "by" in found else None
    for each in phones:
        if each:
            digits = _digits(each, "phone")
            if digits != own:
                ids.append("phone:" + common.hashed(digits))
                if "phone" not in found:
                    _put(found, "phone", shown_handle(digits))


def _plain(value: Id) -> str:
    """Return an id that can stand in a list with blanks between."""
    text = native_id(value, "user_id")
    return text.replace(" ", "_") if " " in text else text


def _digits(value: Id | None, path: str) -> str:
    """Return a phone number's digits; what holds none stands for itself."""
    if value is None or value == "":
        return ""
    text = native_id(value, path)
    return text if text.isdecimal() else _NO_DIGIT.sub("", text) or text


def _spoken_of(named: _Named) -> Id | None:
    """Return the id of the message that an element edits, revokes, reacts to or answers."""
    if named.revoke is not None and named.revoke.original_message_id is not None:
        return named.revoke.original_message_id
    if named.edit is not None and named.edit.original_message_id is not None:
        return named.edit.original_message_id
    if named.reaction is not None:
        return named.reaction.message_id
    return None if named.context is None else named.context.id


def _group(named: _Named) -> Id | None:
    if named.group_id is not None:
        return named.group_id
    return named.recipient_id if named.recipient_type == "group" else None


def _customer(name: str, named: _Named, own: str, thread: Id | None) -> _Customer | None:
    """Return the customer of an element; None where it concerns nobody."""
    if name == "messages":
        return _sender(named)
    if name == "statuses":
        return _recipient(named)
    if name in {"user_preferences", "user_id_update"}:
        return (_both(named.user_id), _both(named.parent_user_id), (named.wa_id,))
    if name not in _BOTH_WAYS:
        return None
    ours = name == "message_echoes" or (name == "calls" and named.direction == _CALLED)
    if ours or (name == _HISTORY_LIST and _is_own(named, own)):
        return ((named.to_user_id,), (named.to_parent_user_id,), (named.to, thread))
    return _sender(named)


_BOTH_WAYS = frozenset({"message_echoes", "history", "calls"})
_CALLED = "BUSINESS_INITIATED"


def _is_own(named: _Named, own: str) -> bool:
    return own != "" and _digits(named.from_, "from") == own


def _recipient(named: _Named) -> _Customer:
    if named.recipient_type == "group":
        return (
            (named.recipient_participant_user_id,),
            (named.recipient_participant_parent_user_id,),
            (named.recipient_participant_id,),
        )
    return ((named.recipient_user_id,), (named.recipient_parent_user_id,), (named.recipient_id,))


def _both(value: Id | _Successor | None) -> tuple[Id | None, ...]:
    return (value.current, value.previous) if isinstance(value, _Successor) else (value,)


def _sender(named: _Named) -> _Customer:
    """Return who sent a message, with what a system message says of his old and new ids."""
    users, parents = (named.from_user_id,), (named.from_parent_user_id,)
    system = named.system
    if system is not None:
        changed = _CHANGED.search((system.body or "")[-300:])
        # The name before it is the customer's own choice; the network's words stand at the end.
        told = changed is not None and changed[2] == system.user_id
        return (
            (*users, system.user_id, changed[1] if changed is not None and told else None),
            (*parents, system.parent_user_id),
            (named.from_, system.wa_id, system.new_wa_id),
        )
    if named.origin == "contact_request":
        # He was asked for his number and sent it: it is his own.
        cards = [phone for card in named.contacts or () for phone in card.phones or ()]
        return (users, parents, (named.from_, *(each.wa_id or each.phone for each in cards)))
    return (users, parents, (named.from_,))


def _contact_of(users: _Several, phones: _Several, contacts: Sequence[Contact]) -> Contact | None:
    """Return a customer's profile: the only one, else the one with the same id.

    A WhatsApp id and a phone number may differ, so a single contact is not asked for its number.
    """
    if len(contacts) == 1:
        return contacts[0]
    for contact in contacts:
        user, phone = contact.user_id, contact.wa_id
        if (user is not None and user in users) or (phone is not None and phone in phones):
            return contact
    return None
