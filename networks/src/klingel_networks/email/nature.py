"""What kind of mail a mail is: somebody's word, or a machine's; pure, from the header alone.

Sources: RFC 3834 (automatic responses: `Auto-Submitted`), RFC 3464 and 3461 (delivery reports), RFC
8098 (receipts), RFC 5965 (complaints of a provider), RFC 2919 and 2369 (lists), RFC 2076
(`Precedence`), SpamAssassin's and Exchange's own fields; subjects as mail programs word them.

A machine's *answer* is told only by signs that no person's mail has: a customer's mail taken for a
machine's would get no answer. A form that sends in a customer's name calls itself `auto-generated`,
too; that alone makes it a person's word.
"""

import re
from collections.abc import Collection
from typing import Final

from klingel.domain.draft import Kind, Nature
from klingel_networks.email.header import Address, Header
from klingel_networks.email.who import fails_authentication

AUTO_REPLY: Final[Nature] = "auto_reply"
"""An absence, a receipt of a ticket: a program answered a mail."""
BOUNCE: Final[Nature] = "bounce"
"""A mail could not be delivered, or is delayed."""
RECEIPT: Final[Nature] = "read_receipt"
"""A mail was shown, or thrown away unread."""
COMPLAINT: Final[Nature] = "abuse_report"
"""A provider tells that somebody called a mail spam."""
GENERATED: Final[Nature] = "auto_generated"
"""A program sent it by itself: a notice, a form."""
LIST: Final[Nature] = "mailing_list"
"""It came through a list."""
BULK: Final[Nature] = "bulk"
"""It went to many."""
SPAM: Final[Nature] = "spam_flag"
"""A filter before us called it spam."""
FORGED: Final[Nature] = "forged_sender"
"""The receiving server says that the author's domain disowns it."""
NATURES: Final[tuple[Nature, ...]] = (
    AUTO_REPLY,
    BOUNCE,
    RECEIPT,
    COMPLAINT,
    GENERATED,
    LIST,
    BULK,
    SPAM,
    FORGED,
)

_NOBODYS_WORD = frozenset({AUTO_REPLY, BOUNCE, RECEIPT, COMPLAINT})
_REPORTS = {
    "delivery-status": BOUNCE,
    "disposition-notification": RECEIPT,
    "feedback-report": COMPLAINT,
}
_DAEMONS = frozenset({"mailer-daemon", "mail-daemon", "maildaemon", "mailerdaemon", "postmaster"})
_BOUNCE_SUBJECT = re.compile(
    r"(?:undeliver|delivery (?:status )?(?:notification|failure|failed|delayed|has failed)"
    r"|mail delivery (?:failed|failure|system|subsystem|deferred)|failure notice"
    r"|returned mail|non remis|unzustellbar|nicht zugestellt|zustellung.{0,40}fehlgeschlagen"
    r"|message non distribu|mail could not be delivered|warning: message .{0,60}delayed)",
    re.IGNORECASE,
)
_AUTO_SUBJECT = re.compile(
    r"\s*(?:(?:re|aw|sv|fw|fwd)\s*:\s*)?(?:automatische (?:antwort|reactie)|automatic reply"
    r"|auto(?:matic)?[- ]?(?:reply|response|antwort)|autoreply|out of (?:the )?office"
    r"|abwesenheits(?:notiz|nachricht|benachrichtigung|assistent)|abwesend\s*[:(-]"
    r"|abwesenheit\s*[:(-]|réponse automatique|respuesta automática|risposta automatica"
    r"|automatiskt svar|automatisk svar|resposta automática|fuori ufficio|afwezig)",
    re.IGNORECASE,
)
_AUTO_FIELDS = ("x-autoreply", "x-autorespond", "x-auto-response-type", "x-autoresponder")
_SPAM_STATUS = re.compile(r"\s*yes\b", re.IGNORECASE)
_SCL = re.compile(r"\bSCL:(\d)\b")
_JUNK = frozenset({"$junk", "junk", "\\junk"})


def natures(
    header: Header, flags: Collection[str] = (), own: Collection[str] = ()
) -> tuple[Nature, ...]:
    """Return all that is told of a mail's nature, in the order of NATURES; empty for a plain mail.

    Args:
        header: of the mail.
        flags: IMAP flags.
        own: the mailbox's own addresses, in lower case: a group under one of them is no list, its
            members are the brand's people.
    """
    sending: set[Nature] = set() if _is_own_list(header, own) else _sending(header)
    found = {_report(header), *_answer(header), *sending} - {""}
    if _is_spam(header) or not _JUNK.isdisjoint(flag.lower() for flag in flags):
        found.add(SPAM)
    if fails_authentication(header):
        found.add(FORGED)
    if BOUNCE in found:
        found.discard(AUTO_REPLY)
    return tuple(each for each in NATURES if each in found)


def kind_of(found: Collection[str]) -> Kind:
    """Return the kind of a mail of these natures: nobody's word is `unknown`, kept as it is."""
    return "email" if _NOBODYS_WORD.isdisjoint(found) else "unknown"


def _report(header: Header) -> str:
    content = header.content
    if content.type == "multipart/report":
        return _REPORTS.get(content.report, BOUNCE if not content.report else "")
    if content.type == "message/delivery-status" or "x-failed-recipients" in header:
        return BOUNCE
    if content.type == "message/disposition-notification":
        return RECEIPT
    senders = {each.address.partition("@")[0] or each.name.lower() for each in _senders(header)}
    if not senders.isdisjoint(_DAEMONS) and (
        _BOUNCE_SUBJECT.search(header.text("subject"))
        or header.value("return-path").replace(" ", "") == "<>"
    ):
        return BOUNCE
    return ""


def _senders(header: Header) -> list[Address]:
    return [*header.addresses("from"), *header.addresses("sender")]


def _answer(header: Header) -> set[Nature]:
    submitted = header.value("auto-submitted").partition(";")[0].strip().lower()
    suppressed = header.value("x-auto-response-suppress").strip().lower()
    if submitted.startswith("auto-replied") or any(name in header for name in _AUTO_FIELDS):
        return {AUTO_REPLY}
    if header.value("precedence").strip().lower() in {"auto_reply", "auto-reply"}:
        return {AUTO_REPLY}
    if _AUTO_SUBJECT.match(header.text("subject")) and (
        submitted not in {"", "no"}
        or suppressed
        or "in-reply-to" in header
        or "references" in header
        or header.value("return-path").replace(" ", "") == "<>"
    ):
        return {AUTO_REPLY}
    if submitted not in {"", "no"}:
        return {GENERATED}
    return set()


def _sending(header: Header) -> set[Nature]:
    found: set[Nature] = set()
    precedence = header.value("precedence").strip().lower()
    if precedence == "list" or "list-id" in header or "list-post" in header:
        found.add(LIST)
    if precedence in {"bulk", "junk"} or "list-unsubscribe" in header or "feedback-id" in header:
        found.add(BULK)
    return found


def _is_own_list(header: Header, own: Collection[str]) -> bool:
    names = f"{header.value('list-id')} {header.value('list-post')}".lower()
    told = {each.strip("<>,;").removeprefix("mailto:") for each in names.split()}
    return any(each in told or each.replace("@", ".") in told for each in own)


def _is_spam(header: Header) -> bool:
    if header.value("x-spam-flag").strip().lower() in {"yes", "true", "1"}:
        return True
    if _SPAM_STATUS.match(header.value("x-spam-status")):
        return True
    level = _SCL.search(header.value("x-forefront-antispam-report"))
    score = header.value("x-ms-exchange-organization-scl").strip()
    return (level is not None and int(level[1]) >= 5) or score in {"5", "6", "7", "8", "9"}
