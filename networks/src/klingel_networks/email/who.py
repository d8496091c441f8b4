"""Who takes part in a mail, and under which ids: addresses never become ids as they are; pure.

The id of a person is a keyed hash of the address. The key is the connector's; mappings run where it
is not known, so the connector puts the ids into each delivery's context (`ids_of`), under short
hashes of the addresses. The brand's own addresses are its own names: they stay as they are, and a
brand's configuration names them so.
"""

import re
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from klingel_networks.email.header import Address, Header
from klingel_networks.webhook.form import email_hash

OWN = "own"
"""Key of the context: the mailbox's own addresses, separated by blanks."""
IDS = "ids"
"""Key of the context: ids of people by short hash of their address, as JSON."""
PEOPLE = 50
"""So many recipients are told."""
_ID_CHARACTERS = 512

_IDS = msgspec.json.Decoder(dict[str, str])
_DISOWNED = re.compile(r"\bdmarc\s{0,2}=\s{0,2}fail\b")
_FORWARDERS = ("x-original-from", "x-original-sender", "x-google-original-from")


class People(NamedTuple):
    """Who takes part in a mail.

    Attributes:
        author: whose word it is; None where nobody is named.
        to: whom it goes to, in order, without the author: To, then Cc.
        is_own: whether the brand itself speaks.
        is_forged: whether the receiving server says that the author is not who the mail names.
        counterpart: address of whom the brand talks with: a foreign author, else the first foreign
            recipient; empty where the brand talks with itself or nobody is named.
    """

    author: Address | None
    to: tuple[Address, ...]
    is_own: bool
    is_forged: bool
    counterpart: str

    @property
    def speaker(self) -> str:
        """The author's address; empty where there is none."""
        return "" if self.author is None else self.author.address

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses, the author's first."""
        return tuple(filter(None, (self.speaker, *(each.address for each in self.to))))


def own_addresses(context: Mapping[str, str]) -> frozenset[str]:
    """Return the mailbox's own addresses, in lower case."""
    return frozenset(context.get(OWN, "").lower().split())


def people_of(header: Header, own: Collection[str]) -> People:
    """Return who takes part in a mail.

    A form or a group that writes from the brand's own address names the person in `Reply-To` or in
    a field of its own: then it is that person's word.
    """
    named = header.addresses("from") or header.addresses("sender")
    author = next((each for each in named if each.address), named[0] if named else None)
    if author is not None and author.address in own:
        author = _behind(header, own) or author
    to: dict[str, Address] = {}
    for name in ("to", "cc"):
        for each in header.addresses(name):
            if each.address and (author is None or each.address != author.address):
                to.setdefault(each.address, each)
    recipients = tuple(to.values())[:PEOPLE]
    is_forged = fails_authentication(header)
    is_own = author is not None and author.address in own and not is_forged
    if author is not None and not is_own:
        counterpart = author.address or author.name.lower()
    else:
        foreign = (each.address for each in recipients if each.address not in own)
        counterpart = next(foreign, "")
    return People(author, recipients, is_own, is_forged, counterpart)


def fails_authentication(header: Header) -> bool:
    """Whether the server that received a mail says that its author's domain disowns it (RFC 8601).

    Only the first field counts: each server writes its own above those that came with the mail.
    """
    told = header.value("authentication-results").lower()
    return _DISOWNED.search(told) is not None


def author_id(people: People, context: Mapping[str, str]) -> str:
    """Return the id of a mail's author; empty without an address.

    Whoever forges an address is not the person who has it, least of all the brand.
    """
    if not people.speaker:
        return ""
    if people.is_forged:
        return f"email:{_hash(f'forged {people.speaker}', 16)}"
    return person_id(people.speaker, context)


def counterpart_id(people: People, context: Mapping[str, str]) -> str:
    """Return the id of whom the brand talks with; empty where there is nobody."""
    if people.is_forged:
        return author_id(people, context)
    return person_id(people.counterpart, context) if people.counterpart else ""


def _behind(header: Header, own: Collection[str]) -> Address | None:
    for name in (*_FORWARDERS, "reply-to"):
        for each in header.addresses(name):
            if each.address and each.address not in own:
                return each
    return None


def person_id(address: str, context: Mapping[str, str]) -> str:
    """Return the id of an address: itself where it is the brand's own, else what the context says.

    Without an id in the context (a file that is mapped by hand) it is a hash without a key.
    """
    if address in own_addresses(context):
        return address
    known = _known(context.get(IDS, "")).get(_short(address), "")
    if known and len(known) <= _ID_CHARACTERS and known.isprintable():
        return known
    return f"email:{_hash(address, 16)}"


def ids_of(addresses: Collection[str], own: Collection[str], key: bytes) -> str:
    """Return the value of IDS for some addresses.

    Args:
        addresses: of everybody in a mail.
        own: these keep their names.
        key: 16 to 64 bytes, the connector's; the contact form's gives the same ids.
    """
    ids = {_short(each): email_hash(each, key) for each in addresses if each not in own}
    return msgspec.json.encode(ids, order="sorted").decode()


def _known(value: str) -> dict[str, str]:
    try:
        return _IDS.decode(value) if value else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}


def _short(address: str) -> str:
    return _hash(address, 8)


def _hash(address: str, size: int) -> str:
    folded = address.strip().casefold().encode("utf-8", "replace")
    return blake2b(folded, digest_size=size).hexdigest()
