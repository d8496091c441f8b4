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
- `id`, `ref`, `group`: hashed id of the message, of the one it speaks of, of its group.
- `customer`: typed id of the customer, `bsuid:<id>` or else `phone:<hash>`.
- `ids`: all typed ids that were seen of the customer, blanks between them.
- `name`, `username`, `phone`: as shown, for those who answer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from klingel.errors import InvalidMessage
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


_CHANGE = msgspec.json.Decoder(_Change)
_VALUE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_CONTACTS = msgspec.json.Decoder(list[Contact])
_METADATA = msgspec.json.Decoder(_Metadata)
_NAMED = msgspec.json.Decoder(_Named)
_HISTORY = msgspec.json.Decoder(_History)


@dataclass(frozen=True, slots=True)
class _Value:
    """What the elements of a change share."""

    shared: Mapping[str, str]
    contacts: Sequence[Contact]
    own: str
    key: bytes

    def hashed(self, value: str) -> str:
        return blake2b(
            value.encode(), key=self.key, digest_size=16, person=b"klingel.wa"
        ).hexdigest()


@dataclass(slots=True)
class _Customer:
    """Somebody as one element names him; the first of each is the present one."""

    users: list[Id | None]
    parents: list[Id | None]
    phones: list[Id | None]
    username: str | None = None


def cut(
    change: bytes, entry_id: Id | None, time: Time | None, key: bytes
) -> list[NativeObject | Refused]:
    """Return the objects of one change; one that holds no list is an object itself.

    Args:
        change: `{"field": …, "value": …}` as received.
        entry_id: of the entry: the WhatsApp Business Account.
        time: of the entry.
        key: of the hashes; empty only where nothing leaves the machine.
    """
    try:
        return _objects(change, entry_id, time, key)
    except InvalidMessage as error:
        return [Refused(change, error)]


def _objects(
    change: bytes, entry_id: Id | None, time: Time | None, key: bytes
) -> list[NativeObject | Refused]:
    told = decode(_CHANGE, change)
    shared = {"field": (optional_id(told.field, "field") or "none")[:_FIELD_MAX]}
    account = optional_id(entry_id, "entry.id")
    if account is not None:
        shared["account"] = account
    if time is not None:
        shared["time"] = str(milliseconds(time, "entry.time"))
    value = bytes(told.value)
    if not value.startswith(b"{"):
        return [NativeObject(change, shared)]
    parts = decode(_VALUE, value, "value")
    metadata = (
        decode(_METADATA, parts["metadata"], "value.metadata") if "metadata" in parts else None
    )
    own = ""
    if metadata is not None:
        channel = optional_id(metadata.phone_number_id, "value.metadata.phone_number_id")
        if channel is not None:
            shared["channel"] = channel
        own = _digits(metadata.display_phone_number, "value.metadata.display_phone_number")
    lists = _lists(parts)
    if not lists:
        return [NativeObject(change, shared)]
    contacts: list[Contact] = []
    if bytes(parts.get(_SHARED, _NULL)) != _NULL:
        contacts = decode(_CONTACTS, parts[_SHARED], "value.contacts")
    common = _Value(shared, contacts, own, key[:HASH_KEY_MAX])
    found = [piece for name, raws in lists for raw in raws for piece in _pieces(name, raw, common)]
    return found or [NativeObject(change, shared)]


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


def _pieces(name: str, raw: msgspec.Raw, common: _Value) -> Iterator[NativeObject | Refused]:
    """Yield the objects of one element: itself, or the messages of a piece of history."""
    if name != "history":
        yield _piece(name, bytes(raw), common)
        return
    try:
        threads = decode(_HISTORY, raw, "value.history").threads
    except InvalidMessage as error:
        yield Refused(bytes(raw), error)
        return
    messages = [(each, thread) for thread in threads or () for each in thread.messages or ()]
    if not messages:
        yield _piece(name, bytes(raw), common)
    for message, thread in messages:
        yield _piece(name, bytes(message), common, thread.id)


def _piece(
    name: str, native: bytes, common: _Value, thread: Id | None = None
) -> NativeObject | Refused:
    try:
        named = decode(_NAMED, native)
        return NativeObject(native, _context(name, named, common, thread))
    except InvalidMessage as error:
        return Refused(native, error)


def _context(name: str, named: _Named, common: _Value, thread: Id | None) -> dict[str, str]:
    found = {**common.shared, "of": name}
    for path, value in (("id", named.id), ("ref", _spoken_of(named)), ("group", _group(named))):
        if value is not None and value != "":
            found[path] = common.hashed(native_id(value, path))
    if name == "message_echoes" or (name == "history" and _is_own(named, common.own)):
        found["by"] = "own"
    customer = _customer(name, named, common.own, thread)
    if customer is None:
        return found
    contact = _contact_of(customer, common.contacts)
    if contact is not None:
        customer.users.append(contact.user_id)
        customer.parents.append(contact.parent_user_id)
        customer.phones.append(contact.wa_id)
        if contact.profile is not None:
            customer.username = contact.profile.username
            _put(found, "name", shown_name(contact.profile.name))
            _put(found, "username", shown_handle(contact.profile.username))
    _name(found, customer, common)
    return found


def _put(found: dict[str, str], key: str, value: str | None) -> None:
    if value is not None:
        found[key] = value


def _name(found: dict[str, str], customer: _Customer, common: _Value) -> None:
    """Write a customer's typed ids, and the phone number that one can call back."""
    users = _distinct(customer.users, "user_id")
    phones = _all_digits(customer.phones)
    if found.get("by") == "own":
        phones = [digits for digits in phones if digits != common.own]
    ids = [f"bsuid:{each}" for each in users]
    ids += [f"phone:{common.hashed(each)}" for each in phones]
    if not ids:
        ids += [f"parent:{each}" for each in _distinct(customer.parents, "parent_user_id")]
    if not ids:
        return
    found["customer"] = ids[0]
    if phones:
        _put(found, "phone", shown_handle(phones[0]))
    ids += [f"parent:{each}" for each in _distinct(customer.parents, "parent_user_id")]
    if customer.username:
        username = customer.username.removeprefix("@").casefold()
        ids.append(f"username:{common.hashed(username)}")
    found["ids"] = " ".join(dict.fromkeys(ids))


def _distinct(values: Iterable[Id | None], path: str) -> list[str]:
    """Return ids that can stand in a list with blanks between."""
    found = dict.fromkeys(native_id(each, path) for each in values if each not in {None, ""})
    return [each.replace(" ", "") for each in found if each.strip()]


def _all_digits(values: Iterable[Id | None]) -> list[str]:
    return [each for each in dict.fromkeys(_digits(value, "phone") for value in values) if each]


def _digits(value: Id | None, path: str) -> str:
    """Return a phone number's digits; what holds none stands for itself."""
    text = optional_id(value, path) or ""
    return _NO_DIGIT.sub("", text) or text


def _spoken_of(named: _Named) -> Id | None:
    """Return the id of the message that an element edits, revokes, reacts to or answers."""
    for part in (named.revoke, named.edit):
        if part is not None and part.original_message_id is not None:
            return part.original_message_id
    if named.reaction is not None:
        return named.reaction.message_id
    return None if named.context is None else named.context.id


def _group(named: _Named) -> Id | None:
    if named.group_id is not None:
        return named.group_id
    return named.recipient_id if named.recipient_type == "group" else None


def _customer(name: str, named: _Named, own: str, thread: Id | None) -> _Customer | None:
    """Return the customer of an element; None where it concerns nobody."""
    if name == "statuses":
        return _recipient(named)
    if name == "history" and _is_own(named, own):
        return _Customer([named.to_user_id], [named.to_parent_user_id], [named.to, thread])
    if name == "message_echoes" or (name == "calls" and named.direction == "BUSINESS_INITIATED"):
        return _Customer([named.to_user_id], [named.to_parent_user_id], [named.to])
    if name in {"messages", "history", "calls"}:
        return _sender(named)
    if name in {"user_preferences", "user_id_update"}:
        return _Customer(_both(named.user_id), _both(named.parent_user_id), [named.wa_id])
    return None


def _is_own(named: _Named, own: str) -> bool:
    return own != "" and _digits(named.from_, "from") == own


def _recipient(named: _Named) -> _Customer:
    if named.recipient_type == "group":
        return _Customer(
            [named.recipient_participant_user_id],
            [named.recipient_participant_parent_user_id],
            [named.recipient_participant_id],
        )
    return _Customer(
        [named.recipient_user_id], [named.recipient_parent_user_id], [named.recipient_id]
    )


def _both(value: Id | _Successor | None) -> list[Id | None]:
    return [value.current, value.previous] if isinstance(value, _Successor) else [value]


def _sender(named: _Named) -> _Customer:
    """Return who sent a message, with what a system message says of his old and new ids."""
    found = _Customer([named.from_user_id], [named.from_parent_user_id], [named.from_])
    system = named.system
    if system is not None:
        found.users.append(system.user_id)
        found.parents.append(system.parent_user_id)
        found.phones += [system.wa_id, system.new_wa_id]
        # The name before it is the customer's own choice; what we wrote ourselves stands at the end.
        changed = _CHANGED.search((system.body or "")[-300:])
        if changed is not None and changed[2] == system.user_id:
            found.users.append(changed[1])
    if named.origin == "contact_request":
        # He was asked for his number and sent it: it is his own.
        for card in named.contacts or ():
            found.phones += [phone.wa_id or phone.phone for phone in card.phones or ()]
    return found


def _contact_of(customer: _Customer, contacts: Sequence[Contact]) -> Contact | None:
    """Return a customer's profile: the only one, else the one with the same id.

    A WhatsApp id and a phone number may differ, so a single contact is not asked for its number.
    """
    if len(contacts) == 1:
        return contacts[0]
    users, phones = set(customer.users) - {None}, set(customer.phones) - {None}
    for contact in contacts:
        if contact.user_id in users or contact.wa_id in phones:
            return contact
    return None
