"""A contact form's fields become a generic event; pure.

The kind is `email`: the message is private and its answer goes by e-mail. The author's id is a
keyed hash of the address (ids reach keys, headers and logs); the address itself stands in
`author.handle`, because the answer needs it. The event's id is the idempotency key, so a repeated
submission is the same object `form:<source>:<key>`.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import check_characters, check_text
from klingel_networks.generic import GenericAuthor, GenericEvent

HASH_KEY_MIN = 16
"""Bytes: a shorter key could be guessed, and with it every address."""

_LIMITS = {"name": 640, "email": 254, "subject": 998, "page": 2048, "message": 100_000}
_REQUIRED = ("email", "message")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f<>,;]{1,64}@[^\s@\x00-\x1f\x7f<>,;]{1,189}")
_PAGE = re.compile(r"https?://[^\x00-\x20\x7f]+", re.IGNORECASE)
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
_KEY = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,512}")
_ENCODER = msgspec.json.Encoder()


def email_hash(address: str, key: bytes) -> str:
    """Return the author id of an e-mail address: keyed, case-insensitive, 128 bits in hex.

    Raises:
        ValueError: the key is shorter than HASH_KEY_MIN bytes or longer than 64.
    """
    if not HASH_KEY_MIN <= len(key) <= blake2b.MAX_KEY_SIZE:
        raise ValueError("the key of the address hash must have 16 to 64 bytes")
    digest = blake2b(address.strip().casefold().encode(), key=key, digest_size=16)
    return f"email:{digest.hexdigest()}"


def form_event(
    fields: Mapping[str, str], *, idempotency_key: str, key: bytes, received_at: datetime
) -> bytes:
    """Return the generic event of one submission, as JSON bytes.

    Args:
        fields: `email` and `message` are required, `name`, `subject`, `page` optional; others are
            ignored.
        idempotency_key: becomes the event's id.
        key: of the address hash.
        received_at: aware; when the form came in.

    Raises:
        InvalidMessage: one sentence naming the field.
        ValueError: `received_at` is naive, or the key too short: mistakes of the caller.
    """
    if received_at.tzinfo is None:
        raise ValueError("received_at must be aware")
    if _KEY.fullmatch(idempotency_key) is None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "the idempotency key must have 1 to 512 characters, no control characters",
            path="idempotency_key",
        )
    given = {name: _field(fields, name) for name in _LIMITS}
    email = given["email"].strip()
    if _EMAIL.fullmatch(email) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "email is no e-mail address", path="email")
    page = given["page"]
    if page and _PAGE.fullmatch(page) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "page is no web address", path="page")
    subject, message = given["subject"], given["message"]
    text = f"{subject}\n\n{message}" if subject else message
    check_text(text, "message")
    event = GenericEvent(
        id=idempotency_key,
        network="form",
        author=GenericAuthor(id=email_hash(email, key), handle=email, name=given["name"] or None),
        text=text,
        published_at=received_at.isoformat(),
        kind="email",
        visibility="private",
        direction="inbound",
        url=page or None,
    )
    return _ENCODER.encode(_without_absent(event))


def _without_absent(event: GenericEvent) -> dict[str, object]:
    built: dict[str, object] = {
        name: value
        for name in event.__struct_fields__
        if name != "author" and (value := getattr(event, name)) is not None
    }
    author = event.author
    built["author"] = {
        name: value
        for name in GenericAuthor.__struct_fields__
        if (value := getattr(author, name)) is not None
    }
    return built


def _field(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value.strip() and name in _REQUIRED:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{name} is missing", path=name)
    if len(value) > _LIMITS[name]:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"{name} is longer than {_LIMITS[name]:,} characters", path=name
        )
    check_characters(value, name)
    if name != "message" and _ONE_LINE.fullmatch(value) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{name} holds control characters", path=name)
    return value
