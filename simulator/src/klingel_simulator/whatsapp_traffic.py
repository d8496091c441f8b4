"""What WhatsApp's Cloud API tells, as pure functions: every type of message and of status.

Forms from developers.facebook.com, "WhatsApp Cloud API: Webhooks" and "Business-scoped user IDs".
The receiver's ids are keyed hashes, so the truth is written with the same key.
"""

from functools import partial
from hashlib import blake2b
from typing import Any

from klingel_simulator.meta_traffic import WHATSAPP_OBJECT, Update
from klingel_simulator.traffic import SimulatedObject

_GONE = 2**42 - 1


def hashed(value: str, key: bytes) -> str:
    """Hash a message id or a phone number as the receiver does."""
    return blake2b(value.encode(), key=key, digest_size=16, person=b"klingel.wa").hexdigest()


def change_of(
    number: str, field: str = "messages", contact: dict[str, Any] | None = None, /, **lists: Any
) -> dict[str, Any]:
    """Build one change of a number."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
    }
    if contact is not None:
        value["contacts"] = [contact]
    return {"field": field, "value": value | lists}


class Customer:
    """A customer of WhatsApp: a phone number, a business-scoped id, a username; any may be absent."""

    def __init__(
        self, phone: str | None = None, user: str | None = None, username: str | None = None
    ) -> None:
        self.phone = phone
        self.user = user
        self.username = username

    def contact(self) -> dict[str, Any]:
        """Build the entry of ``contacts``."""
        profile = {"name": "Erika"} | ({"username": self.username} if self.username else {})
        found: dict[str, Any] = {"profile": profile}
        if self.phone:
            found["wa_id"] = self.phone
        if self.user:
            found["user_id"] = self.user
        return found

    def sender(self) -> dict[str, Any]:
        """Build the sender's members of a message."""
        found = {"from": self.phone} if self.phone else {}
        return found | ({"from_user_id": self.user} if self.user else {})

    def recipient(self) -> dict[str, Any]:
        """Build the recipient's members of a status."""
        found = {"recipient_id": self.phone} if self.phone else {}
        return found | ({"recipient_user_id": self.user} if self.user else {})

    def author(self, key: bytes) -> str:
        """The author id under which the receiver knows the customer."""
        return f"bsuid:{self.user}" if self.user else f"phone:{hashed(self.phone or '', key)}"


_CONTENTS: dict[str, Any] = {
    "text": {"body": "Hallo?"},
    "image": {"id": "11", "mime_type": "image/jpeg", "caption": "So sieht es aus"},
    "video": {"id": "12", "mime_type": "video/mp4"},
    "audio": {"id": "13", "mime_type": "audio/ogg; codecs=opus", "voice": True},
    "document": {"id": "14", "filename": "Rechnung.pdf"},
    "sticker": {"id": "15", "mime_type": "image/webp", "animated": False},
    "location": {"latitude": 54.32, "longitude": 10.13, "name": "Kiel"},
    "contacts": [{"name": {"formatted_name": "Max"}, "phones": [{"phone": "+49 431 1"}]}],
    "button": {"text": "Ja", "payload": "YES"},
    "interactive": {"type": "button_reply", "button_reply": {"id": "a", "title": "Rückruf"}},
    "order": {"catalog_id": "9", "text": "bitte", "product_items": [{"quantity": 1}]},
    "unsupported": {},
}
_NOBODYS = {
    "system": {"body": "User changed", "type": "customer_changed_identity"},
    "request_welcome": {},
    "poll": {"name": "?"},
}
STATUSES = ("sent", "delivered", "read", "played", "failed")


def variants(account: str, number: str, customer: Customer, at_ms: int, key: bytes) -> list[Update]:
    """Build everything that a number can tell, once each."""
    scope = f"whatsapp:{number}:"

    def update(change: dict[str, Any], own_id: str = "", revision: int = 0) -> Update:
        known, of = scope + own_id if own_id else "", WHATSAPP_OBJECT
        return Update(of, account, "changes", change, at_ms, "whatsapp", known, revision)

    def message(kind: str, content: Any, name: str, known: str, revision: int = 0) -> Update:
        told = {
            **customer.sender(),
            "id": f"wamid.{name}=",
            "timestamp": str(at_ms // 1000),
            "type": kind,
            kind: content,
        }
        change = change_of(number, "messages", customer.contact(), messages=[told])
        return update(change, known, revision)

    own = partial(_own, key)
    said = [
        message(kind, content, kind, own(kind)) for kind, content in (_CONTENTS | _NOBODYS).items()
    ]
    event_ms = at_ms // 1000 * 1000
    text = {"type": "text", "text": {"body": "Oh"}}
    edit = {"original_message_id": "wamid.text=", "message": text}
    taken = {"message_id": "wamid.out="}
    reaction = {**taken, "emoji": "👍"}
    reacted = f"{own('out')}/reaction/{customer.author(key)}/one"
    said += [
        message("edit", edit, "e1", own("text"), event_ms),
        message("revoke", {"original_message_id": "wamid.text="}, "e2", own("text"), _GONE),
        message("reaction", reaction, "e3", reacted, event_ms),
        message("reaction", taken, "e4", reacted, event_ms),
    ]
    said += [
        update(
            change_of(number, "messages", customer.contact(), statuses=[told]),
            own("out") if status in {"sent", "failed"} else f"{own('out')}/status/{status}",
            _GONE if status == "failed" else 0,
        )
        for status, told in _statuses(customer, at_ms)
    ]
    echo = change_of(number, "smb_message_echoes", None, message_echoes=[_echo(customer, at_ms)])
    changed = {"user_id_update": [_changed(customer, at_ms)]}
    return [
        *said,
        update(echo, own("app")),
        update(change_of(number, "user_id_update", customer.contact(), **changed)),
        update({"field": "account_update", "value": {"event": "VERIFIED_ACCOUNT"}}),
        update({"field": "something_new", "value": 5}),
    ]


def _own(key: bytes, name: str) -> str:
    return hashed(f"wamid.{name}=", key)


def _statuses(customer: Customer, at_ms: int) -> list[tuple[str, dict[str, Any]]]:
    """Build what becomes of one of our messages, status by status."""
    common = {
        "id": "wamid.out=",
        "timestamp": str(at_ms // 1000),
        **customer.recipient(),
        "pricing": {"category": "service"},
    }
    return [(status, {**common, "status": status}) for status in STATUSES]


def _echo(customer: Customer, at_ms: int) -> dict[str, Any]:
    """Build a message that the brand sent from the Business app."""
    return {
        "from": "15550783881",
        "to": customer.phone,
        "id": "wamid.app=",
        "timestamp": str(at_ms // 1000),
        "type": "text",
        "text": {"body": "Aus der App"},
    }


def _changed(customer: Customer, at_ms: int) -> dict[str, Any]:
    """Build the change of somebody's business-scoped id."""
    return {
        "wa_id": customer.phone,
        "user_id": {"previous": "DE.1", "current": customer.user},
        "timestamp": str(at_ms // 1000),
    }


def to_message(
    said: SimulatedObject, account: str, number: str, at_ms: int, key: bytes
) -> Update | None:
    """Turn simulated talk into a message; None for what WhatsApp cannot tell (the brand's words)."""
    if said.by_brand:
        return None
    digits = int(said.person.did[-8:].encode().hex(), 16) % 10**9
    customer = Customer(f"49171{digits:09d}", f"DE.{10**15 + digits}")
    name = f"wamid.{said.key}="
    told: dict[str, Any] = {
        **customer.sender(),
        "id": name,
        "timestamp": str(at_ms // 1000),
        "type": "text",
        "text": {"body": said.text},
    }
    revision = 0
    if said.operation != "create":
        kind = "edit" if said.operation == "update" else "revoke"
        content: dict[str, Any] = {"original_message_id": name}
        revision = _GONE
        if kind == "edit":
            content["message"] = {"type": "text", "text": {"body": said.text}}
            revision = at_ms // 1000 * 1000
        told |= {"id": f"wamid.{said.key}.{said.revision}=", "type": kind, kind: content}
        del told["text"]
    contact = customer.contact() | {"profile": {"name": said.person.name}}
    change = change_of(number, "messages", contact, messages=[told])
    known = f"whatsapp:{number}:{hashed(name, key)}"
    return Update(WHATSAPP_OBJECT, account, "changes", change, at_ms, "whatsapp", known, revision)
