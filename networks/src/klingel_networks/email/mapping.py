"""Mails in klingel's words; pure.

The native object is the mail as the server keeps it (RFC 5322). Object ids are
`email:<mailbox>:<hash>`, the hash over Message-ID, Date, From and the body: a message id alone proves
nothing, whoever knows one can write it, and some mails have none. Neither the folder nor the UID is
part of the id, so a mail that was moved, or is read again under another UIDVALIDITY, is the same.

The text is what its author says in it: quotations, signatures and legal notices are left out, the
subject stands before the text of a mail that begins a conversation. The original is kept whole.

A mail's nature (`nature.py`) stands in `natures`, one for each that is told. What is nobody's word,
an automatic answer, a bounce, a receipt, is of kind `unknown`.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from klingel.domain.draft import SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.language.reading import Span, own_words
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import TEXT_MAX
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.email.header import Header, date, read_header
from klingel_networks.email.mime import Attachment, Parts, read_attachment, read_parts
from klingel_networks.email.nature import kind_of, natures
from klingel_networks.email.threads import (
    INTERNAL_DATE,
    Related,
    is_answer,
    place,
    related_to,
)
from klingel_networks.email.who import (
    OWN,
    People,
    author_id,
    counterpart_id,
    ids_of,
    own_addresses,
    people_of,
    person_id,
)
from klingel_networks.generic import native_of

MAPPING = "email/2"
MAIL_BYTES = 32 << 20
"""So much of one mail is fetched and read; providers take 20 to 35 MB."""
DEFAULT_MAILBOX = "mailbox"
"""Scope of a mail whose context names no source, such as a file that is mapped by hand."""
FLAGS = "flags"
"""Key of the context: IMAP flags, separated by blanks."""
TRUNCATED = "truncated"
"""Metric of a mail of which a part was left out, for its size, depth or number."""
ATTACHMENTS = 100
LINKS = 50

_MAILBOX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,119}")
_LINK = re.compile(r"https?://[^\s<>\"'\x00-\x20\x7f]{1,2000}", re.IGNORECASE)
_LINK_TAIL = ".,;:!?)]}»“”\u2019*_"
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}")
_BODY_PIECE = 1 << 20


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Return the one mail of a delivery, or why it is none."""
    try:
        identify(delivery.body, delivery.context)
    except InvalidMessage as error:
        return [Refused(delivery.body, error)]
    return [NativeObject(delivery.body, delivery.context)]


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of a mail.

    Raises:
        InvalidMessage: it has no field that mails have, its header is longer than we read, or the
            source is no name.
    """
    header, body = header_of(native)
    found = natures(header, context.get(FLAGS, "").split(), own_addresses(context))
    return Identity(_object_id(native, header, body, context), 0, kind_of(found), "created")


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of a mail; raises InvalidMessage."""
    native, context = bytes(native_of(raw)), raw.context or {}
    header, body = header_of(native)
    mailbox = _mailbox(context)
    found = natures(header, context.get(FLAGS, "").split(), own_addresses(context))
    people = people_of(header, context.get(OWN, "").lower().split())
    placed = place(header, people, mailbox, context)
    parts = read_parts(header, native[:MAIL_BYTES], body)
    said = _said(header, parts)
    recipients = tuple(dict.fromkeys(person_id(each.address, context) for each in people.to))
    metrics = {}
    if not parts.complete or len(native) > MAIL_BYTES or len(said) > TEXT_MAX:
        metrics[TRUNCATED] = 1
    text = said[:TEXT_MAX]
    return SocialDraft(
        mapping=MAPPING,
        kind=kind_of(found),
        change="created",
        visibility="private",
        threading="root" if placed.is_root and placed.conversation is None else "network",
        conversation_id=placed.conversation,
        published_at=header.date("date") or date(context.get(INTERNAL_DATE, "")),
        in_reply_to=placed.parent,
        refers_to=placed.refers_to,
        refers_to_customer=(
            f"email:{placed.refers_to_customer}" if placed.refers_to_customer else None
        ),
        in_reply_to_author=placed.parent_author,
        target=_target(people, recipients, context),
        author=_author(people, context),
        text=text,
        langs=_languages(header),
        media=tuple(_medium(each) for each in parts.attachments[:ATTACHMENTS]),
        links=tuple(dict.fromkeys(_links(text))),
        mentions=recipients,
        metrics=metrics or None,
        natures=found,
        customer_ids=_customer_ids(people, context),
        lone_id=True,
    )


def context_of(mail: bytes, own: Iterable[str], key: bytes) -> dict[str, str]:
    """Return the part of a delivery's context that tells who is who.

    Args:
        mail: as received.
        own: the mailbox's own addresses.
        key: of the ids of people, 16 to 64 bytes.

    Raises:
        InvalidMessage: it is no mail; it may be delivered without.
    """
    header, _ = header_of(mail)
    addresses = frozenset(each.lower() for each in own)
    people = people_of(header, addresses)
    known = {*people.addresses, people.counterpart} - {""}
    return {OWN: " ".join(sorted(addresses)), "ids": ids_of(known, addresses, key)}


def described(mail: bytes, context: Mapping[str, str]) -> Related:
    """Return what a mail that refers to this one needs to know of it.

    Raises:
        InvalidMessage: it is no mail.
    """
    header, body = header_of(mail)
    people = people_of(header, context.get(OWN, "").lower().split())
    return related_to(header, people, _object_id(mail, header, body, context), context)


def attachment_of(mail: bytes, digest: str) -> bytes | None:
    """Return the bytes of an attachment by its SHA-256 in hex; None where the mail has none such.

    Raises:
        InvalidMessage: it is no mail.
    """
    header, body = header_of(mail)
    return read_attachment(header, mail[:MAIL_BYTES], body, digest)


def header_of(native: bytes) -> tuple[Header, int]:
    """Return a mail's header and where its body begins.

    Empty lines and the line that mailbox files put before the header are passed over.

    Raises:
        InvalidMessage: it has no field that mails have, or its header is longer than we read.
    """
    start = len(native) - len(native.lstrip(b"\r\n")) if native[:1] in b"\r\n" else 0
    if native.startswith(b"From ", start):
        start = native.find(b"\n", start) + 1 or len(native)
    header, body = read_header(native, start)
    if not header.is_of_a_mail:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD, "the object is no mail: it has no header", path="header"
        )
    return header, body


def is_mailbox_name(name: str) -> bool:
    """Whether a name may be the scope of object ids."""
    return _MAILBOX.fullmatch(name) is not None


def _mailbox(context: Mapping[str, str]) -> str:
    mailbox = context.get("source", DEFAULT_MAILBOX)
    if not is_mailbox_name(mailbox):
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "the source must be letters, digits, dots, dashes, underscores, plus or at signs",
            path="context.source",
        )
    return mailbox


def _object_id(native: bytes, header: Header, body: int, context: Mapping[str, str]) -> str:
    """Return the object id.

    Servers fold fields and end lines in their own ways, and add empty lines at the end: none of
    that counts.
    """
    digest = blake2b(digest_size=16)
    for name in ("message-id", "date", "from"):
        digest.update(b" ".join(header.raw(name).split()) + b"\x00")
    content = memoryview(native[body:MAIL_BYTES].rstrip(b"\r\n"))
    for at in range(0, len(content), _BODY_PIECE):
        digest.update(bytes(content[at : at + _BODY_PIECE]).replace(b"\r", b""))
    return f"email:{_mailbox(context)}:{digest.hexdigest()}"


def _said(header: Header, parts: Parts) -> str:
    """Return the author's words: of a mail that begins something, its subject first."""
    text = kept(parts.text)
    subject = header.text("subject")
    if not subject or is_answer(subject):
        return text
    return f"{subject}\n\n{text}" if text else subject


def kept(text: str) -> str:
    """Return a mail's text without what it quotes and what programs and lawyers add.

    The closing with the author's name stays, and quotations that the author answers line by line.
    A mail of nothing but a quotation is forwarded: then all of it is what is said. The rules are
    klingel's own: of 25 recorded replies with a stated outcome they hold all, mail-parser-reply 1.36
    eleven, quotequail 0.5.4 four.
    """
    reply = own_words(text, "email").reply
    if not reply:
        return text.strip()
    return "".join(_joined(text, reply))


def _joined(text: str, spans: tuple[Span, ...]) -> Iterable[str]:
    """Yield the spans and, between neighbours, the white space as it was."""
    before: int | None = None
    for start, end in spans:
        if before is not None:
            between = text[before:start]
            yield between if not between or between.isspace() else "\n\n"
        yield text[start:end]
        before = end


def _author(people: People, context: Mapping[str, str]) -> Author | None:
    author = people.author
    if author is None:
        return None
    if not author.address:  # a daemon without an address is no person, but has a name
        return Author(id=person_id(author.name, context), name=author.name)
    return Author(
        id=author_id(people, context),
        handle=author.address[:256],
        name=author.name or None,
    )


def _customer_ids(people: People, context: Mapping[str, str]) -> tuple[str, ...]:
    """Return the customer's id: a foreign author's, in the brand's own mail whom it is written to.

    A forged author is nobody's customer.
    """
    if people.is_forged or not people.counterpart:
        return ()
    return (f"email:{counterpart_id(people, context)}",)


def _target(people: People, recipients: tuple[str, ...], context: Mapping[str, str]) -> str | None:
    """Return who is addressed: the brand's own address where it is one of them."""
    own = context.get(OWN, "").lower().split()
    mine = next((each.address for each in people.to if each.address in own), None)
    if people.is_own or mine is None:
        return recipients[0] if recipients else None
    return mine


def _medium(attachment: Attachment) -> Media:
    """Return an attachment; its bytes lie within the original (`attachment_of`), nothing is fetched."""
    kind = attachment.type.partition("/")[0]
    return Media(
        kind=kind if kind in {"image", "video", "audio"} else "file",  # type: ignore[arg-type]  # one of the closed set
        id=f"sha256:{attachment.sha256}",
        sha256=attachment.sha256,
        alt=attachment.filename,
    )


def _links(text: str) -> Iterable[str]:
    for number, found in enumerate(_LINK.finditer(text)):
        if number == LINKS:
            return
        yield found[0].rstrip(_LINK_TAIL)


def _languages(header: Header) -> tuple[str, ...]:
    listed = header.value("content-language").split(",")[:5]
    return tuple(tag for each in listed if _LANGUAGE.fullmatch(tag := each.strip()))
