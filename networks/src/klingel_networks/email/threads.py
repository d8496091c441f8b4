"""Which conversation a mail belongs to; pure.

A conversation is named after two things: the mail that began it, told by the first of `References`
(without: `In-Reply-To`; without: an answer's subject), and the person whom the brand talks with.
Both are part of the name because a mail may claim anything: whoever knows a message id can refer to
it, but only the person who takes part already comes out in the same conversation. A stranger who
refers to it gets a conversation of their own, and `in_reply_to` links the two.

What a mail alone cannot tell the mailbox can: the connector looks for the mails referred to and puts
what it finds into the context (`related_to`). With that, a third person who was written to joins the
conversation, an answer without `References` finds the root, an answer without any reference finds
its subject, and `in_reply_to` names the object that is answered.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from klingel_networks.email.header import Header, date
from klingel_networks.email.who import People, author_id, counterpart_id, person_id

INTERNAL_DATE = "internal_date"
"""Key of the context: when the server got it, as `Date` is written."""
RELATED = "related"
"""Key of the context: what the mailbox knows of the mails that this one refers to, as JSON."""
RELATED_MOST = 5
"""So many mails are looked for, the parent first."""
_ID_CHARACTERS = 900
_PREFIXES = 20
_NEVER = 1 << 62

_REPLY = re.compile(
    r"\s*(?:(?:re|aw|antw(?:ort)?|sv|vs|ref|rif|r|res|odp|ynt|tr|doorst|wg|fwd?|fw|i|enc|rv|vb"
    r"|\uff32\uff25|\u56de\u590d|\u7b54\u590d)(?:\s?[\[(]\d{1,3}[\])])?\s{0,3}[:\uff1a]\s*)",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"\s*(?:\[[^\]]{1,60}\]\s*)?(?:re|aw|antw(?:ort)?|sv|vs|ref|rif|r|res|odp|ynt|\uff32\uff25|\u56de\u590d|\u7b54\u590d)"
    r"(?:\s?[\[(]\d{1,3}[\])])?\s{0,3}[:\uff1a]",
    re.IGNORECASE,
)
_TAG = re.compile(r"\s*\[[^\]]{1,60}\]\s*")
_BLANKS = re.compile(r"\s+")


class Related(msgspec.Struct, frozen=True, gc=False):
    """A mail of the same mailbox that another refers to.

    Attributes:
        id: its object id.
        mid: its message id.
        root: message id of the mail that began its conversation; its own where it did.
        to: whom the brand talks with in it, as a person's id.
        author: id of its author; None where nobody is named.
        people: ids of everybody in it.
        subject: what is left of its subject, as a hash.
        received: when the server got it, seconds since 1970; 0 where it is not told.
    """

    id: str
    mid: str
    root: str
    to: str
    author: str | None
    people: tuple[str, ...]
    subject: str
    received: int


class Place(NamedTuple):
    """Where a mail belongs.

    Attributes:
        conversation: name of the conversation; None where nothing names one: then the mail is one.
        is_root: whether it begins the conversation.
        parent: object id of the mail that it answers; None where it is not known.
        parent_author: id of that mail's author.
        joined: whether it joined another's conversation because its author takes part in it.
        refers_to: another's conversation to which it refers, though its author takes no part in it.
        refers_to_customer: id of whom the brand talks with there.
    """

    conversation: str | None
    is_root: bool
    parent: str | None = None
    parent_author: str | None = None
    joined: bool = False
    refers_to: str | None = None
    refers_to_customer: str | None = None


def references(header: Header) -> list[str]:
    """Return the message ids that a mail refers to, the root first, the parent last."""
    listed = header.message_ids("references")
    parents = [each for each in header.message_ids("in-reply-to") if each not in listed]
    return [*listed, *parents[:1]] if listed else parents[:1]


def own_message_id(header: Header) -> str:
    """Return a mail's own message id; empty without."""
    found = header.message_ids("message-id")
    return found[0] if found else ""


def is_answer(subject: str) -> bool:
    """Whether a subject says that something is answered."""
    return _ANSWER.match(subject) is not None


def base_subject(subject: str) -> str:
    """Return what is left of a subject without prefixes of answers and forwards, in lower case."""
    rest = subject
    for _ in range(_PREFIXES):
        tagged = _TAG.match(rest)
        found = _REPLY.match(rest) or (tagged and _REPLY.match(rest, tagged.end()))
        if not found:
            break
        rest = rest[found.end() :]
    return _BLANKS.sub(" ", rest).strip().casefold()


def place(header: Header, people: People, mailbox: str, context: Mapping[str, str]) -> Place:
    """Return where a mail belongs.

    Args:
        header: of the mail.
        people: who takes part in it.
        mailbox: scope of all ids.
        context: with what the mailbox knows of related mails, where it was asked.
    """
    listed = references(header)
    counterpart = counterpart_id(people, context)
    subject = header.text("subject")
    known = _known(listed, related_in(context), subject, _parties(people, context))
    nearest = known[-1] if known else None
    parent = None if nearest is None else nearest.id
    parent_author = None if nearest is None else nearest.author
    if known and _takes_part(people, known, context):
        name = _name(mailbox, known[0].root, known[0].to)
        joined = known[0].to != counterpart
        return Place(name, is_root=False, parent=parent, parent_author=parent_author, joined=joined)
    base = base_subject(subject)
    if listed:
        root = known[0].root if known else listed[0]
    elif is_answer(subject) and base and counterpart:
        root = f"subject {base}"
    else:
        own = own_message_id(header)
        return Place(_name(mailbox, own, counterpart) if own else None, is_root=True)
    name = _name(mailbox, root, counterpart)
    placed = Place(name, is_root=False, parent=parent, parent_author=parent_author)
    if not known or people.is_own:
        return placed
    there = _name(mailbox, known[0].root, known[0].to)
    return (
        placed
        if there == name
        else placed._replace(refers_to=there, refers_to_customer=known[0].to or None)
    )


def _parties(people: People, context: Mapping[str, str]) -> frozenset[str]:
    """Return the ids that must be in what a mail without references answers."""
    if people.is_own:
        return frozenset(person_id(each.address, context) for each in people.to)
    return frozenset({author_id(people, context)} - {""})


def _known(
    listed: list[str], related: list[Related], subject: str, parties: frozenset[str]
) -> list[Related]:
    """Return the mails referred to that are known, the root first.

    Of several with one message id the one that the server got first counts: who forges an id has
    read it before. An answer without references answers the newest mail of its subject in which its
    people take part.
    """
    if listed:
        by_id: dict[str, Related] = {}
        for each in related:
            if each.mid not in by_id or _came(each) < _came(by_id[each.mid]):
                by_id[each.mid] = each
        return [by_id[each] for each in listed if each in by_id]
    wanted = subject_hash(subject) if is_answer(subject) else ""
    found = [
        each
        for each in related
        if wanted and each.subject == wanted and not parties.isdisjoint(each.people)
    ]
    return [max(found, key=lambda each: (each.received, each.id))] if found else []


def _came(related: Related) -> tuple[int, str]:
    """Return what orders mails by their receipt, those without one last."""
    return related.received or _NEVER, related.id


def _takes_part(people: People, known: list[Related], context: Mapping[str, str]) -> bool:
    """Whether a mail's author takes part in the conversation that it refers to.

    Who takes part: everybody in the mail that began it, and everybody to whom one of them wrote
    further on. A stranger who wrote into it before is none of them. The brand speaks in it when it
    writes to one of them.
    """
    parts = set(known[0].people)
    for each in known[1:]:
        if each.author in parts:
            parts.update(each.people)
    return not parts.isdisjoint(_parties(people, context))


def _name(mailbox: str, root: str, counterpart: str) -> str:
    digest = blake2b(digest_size=16)
    for part in (root, counterpart):
        digest.update(part.encode("utf-8", "replace") + b"\x00")
    return f"email:{mailbox}:thread/{digest.hexdigest()}"


def subject_hash(subject: str) -> str:
    """Return what is left of a subject as a hash; empty where nothing is."""
    base = base_subject(subject)
    return blake2b(base.encode("utf-8", "replace"), digest_size=8).hexdigest() if base else ""


def related_to(
    header: Header, people: People, object_id: str, context: Mapping[str, str]
) -> Related:
    """Return what another mail needs to know of this one.

    Args:
        header: of this mail.
        people: who takes part in it.
        object_id: of this mail.
        context: with the ids of these people, and when the server got it.
    """
    listed = references(header)
    author = author_id(people, context) or None
    recipients = (person_id(each.address, context) for each in people.to)
    received = date(context.get(INTERNAL_DATE, "")) or header.date("date")
    return Related(
        id=object_id,
        mid=own_message_id(header),
        root=listed[0] if listed else own_message_id(header),
        to=counterpart_id(people, context),
        author=author,
        people=tuple(sorted({*recipients, author or ""} - {""})),
        subject=subject_hash(header.text("subject")),
        received=0 if received is None else int(received.timestamp()),
    )


def written(related: Iterable[Related]) -> str:
    """Return the value of RELATED."""
    return msgspec.json.encode(sorted(related, key=lambda each: each.id)).decode()


def related_in(context: Mapping[str, str]) -> list[Related]:
    """Return what a context knows of related mails; nothing where it cannot be read."""
    try:
        found = _RELATED.decode(context.get(RELATED, "") or "[]")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return []
    return [each for each in found if _is_legal(each)]


def _is_legal(related: Related) -> bool:
    ids = (related.id, related.author or "-")
    return all(0 < len(each) <= _ID_CHARACTERS and each.isprintable() for each in ids)


_RELATED = msgspec.json.Decoder(list[Related])
