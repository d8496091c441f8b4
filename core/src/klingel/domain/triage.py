"""Does it need an answer, and why not: the closed set of reasons, one for every event."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from klingel.config.compiled import CompiledBrand
from klingel.domain.identity import is_believed
from klingel.model.social_event import SocialEvent

_SILENT = frozenset({"repost", "reaction"})
_FRESH = frozenset({"live", "gap_fill"})
_NONE: frozenset[str] = frozenset()


class TriageReason(StrEnum):
    """Why an event did or did not open, join, reopen or stop a case."""

    OPENED = "opened"
    """It needs an answer and opens its customer's case."""
    NEW_GENERATION = "new_generation"
    """It needs an answer, and the customer's earlier case was closed too long ago to reopen."""
    REOPENED = "reopened"
    """It needs an answer and reopens the customer's closed case."""
    JOINED = "joined"
    """A further word of a customer who has an open case here."""
    CLOSED_GENERATION = "closed_generation"
    """It belongs to a closed case and does not reopen it."""
    ANSWERED = "answered"
    """The brand answers a case."""
    OWN_POST = "own_post"
    """The brand speaks, to nobody in particular."""
    ANSWERS_NOBODY = "answers_nobody"
    """The brand replies, but to no customer who has a case."""
    THIRD_PARTY = "third_party"
    """Neither the brand nor a customer speaks."""
    REPOST = "repost"
    """Somebody passes on what another said."""
    REACTION = "reaction"
    """Somebody reacts without words."""
    AUTO_REPLY = "auto_reply"
    """A program answered: an absence, a receipt of a ticket. It answers nobody."""
    BOUNCE = "bounce"
    """What was sent could not be delivered, or is delayed."""
    READ_RECEIPT = "read_receipt"
    """A program tells that something was shown, or thrown away unread."""
    ABUSE_REPORT = "abuse_report"
    """A provider tells that somebody called something spam."""
    MAILING_LIST = "mailing_list"
    """It came through a list, and the brand owes lists no answer."""
    BULK = "bulk"
    """It went to many, and the brand owes that no answer."""
    AUTO_GENERATED = "auto_generated"
    """A program sent it by itself, and the brand owes programs no answer."""
    SPAM_FLAG = "spam_flag"
    """A filter before klingel called it spam, and the brand believes it."""
    FORGED_SENDER = "forged_sender"
    """Its author's domain disowns it, and the brand owes that no answer."""
    UNKNOWN_KIND = "unknown_kind"
    """The mapping does not know this kind of object."""
    NO_AUTHOR = "no_author"
    """Nobody to answer is known."""
    INDIRECT = "indirect"
    """Talk about the brand that is not addressed to it."""
    SPAM = "spam"
    """It is spam, surely enough."""
    ASKS_NOTHING = "asks_nothing"
    """Thanks or talk, by the brand's policy; it joins a case, but nobody waits because of it."""
    ADVOCATE = "advocate"
    """A customer who answers customers, by the brand's file."""
    PRAISED = "praised"
    """Praise opens a case in the queue of praise."""
    OUTREACH = "outreach"
    """A complaint that is not addressed to the brand opens a case among the candidates."""
    TOO_OLD = "too_old"
    """It needs an answer but was older than `max_open_age` when it was received."""
    NOT_LIVE = "not_live"
    """It needs an answer but comes from an import of history or a new mapping."""
    DELETED_BEFORE_OPENING = "deleted_before_opening"
    """Its author had deleted it before klingel received it."""
    OVERRULED = "overruled"
    """A person decided on its tone or intents."""
    EDITED = "edited"
    """A further revision of an object that is known already."""
    DELETED = "deleted"
    """The deletion of an object that is known."""
    HELD = "held"
    """A deletion that waits for its original, which is not known (yet)."""
    SUPERSEDED = "superseded"
    """An older revision of an object than the known one."""


def believed_time(event: SocialEvent) -> datetime:
    """Return when it was said: `published_at` where that can be true, else `received_at`.

    A publication before 2006 or more than ten minutes after the receipt is not believed.
    """
    published = event.published_at
    received = event.received_at
    if published is None or not is_believed(published, received):
        return received
    return published


def is_silent(event: SocialEvent) -> bool:
    """Whether it says nothing by itself: it joins a case, but nobody waits because of it."""
    return event.kind in _SILENT


_NOBODYS_WORD = (
    TriageReason.BOUNCE,
    TriageReason.AUTO_REPLY,
    TriageReason.READ_RECEIPT,
    TriageReason.ABUSE_REPORT,
)
"""Natures of what a program says: no brand owes it an answer, and no brand answers by it."""
_BY_POLICY = (
    TriageReason.SPAM_FLAG,
    TriageReason.FORGED_SENDER,
    TriageReason.MAILING_LIST,
    TriageReason.BULK,
    TriageReason.AUTO_GENERATED,
)
"""Natures that need no answer where the brand's file says so."""
NOBODY_WAITS = frozenset({TriageReason.ASKS_NOTHING, *_NOBODYS_WORD, *_BY_POLICY})
"""What joins a case, but nobody waits because of it."""

_KINDS = {
    "repost": TriageReason.REPOST,
    "reaction": TriageReason.REACTION,
    "unknown": TriageReason.UNKNOWN_KIND,
}
"""Kinds that need no answer whatever they say."""
_OPENED = TriageReason.OPENED
"""Asked for with every event: an enumeration looks its members up at ten times the cost."""
KINDS_WITHOUT_ANSWER = frozenset(_KINDS)


def needs_answer(event: SocialEvent, brand: CompiledBrand) -> tuple[bool, TriageReason]:
    """Return whether an event needs an answer, and the reason.

    The reason is `opened` where it does. Its age is another matter: see `lateness`.
    """
    reason = _by_speaker(event) or _by_sort(event, brand)
    if reason is not _OPENED:
        pass
    elif event.author is None and event.customer_id is None:
        reason = TriageReason.NO_AUTHOR
    elif is_advocate(event, brand):
        reason = TriageReason.ADVOCATE
    elif is_spam(event, brand):
        reason = TriageReason.SPAM
    elif event.addressing == "indirect" and not _opens_indirectly(event, brand):
        reason = TriageReason.INDIRECT
    elif asks_nothing(event, brand):
        reason = TriageReason.ASKS_NOTHING
    return reason is _OPENED, reason


def _by_speaker(event: SocialEvent) -> TriageReason | None:
    """Return the reason of what no customer says."""
    if event.change == "deleted":
        return TriageReason.DELETED
    machine = _nature(event, _NOBODYS_WORD)
    if machine is not None:
        return machine
    if event.direction == "inbound":
        return None
    outbound = event.direction == "outbound"
    return TriageReason.OWN_POST if outbound else TriageReason.THIRD_PARTY


def _by_sort(event: SocialEvent, brand: CompiledBrand) -> TriageReason:
    """Return the reason of what is of a nature or a kind that needs no answer; else `opened`."""
    if event.natures:
        quiet = [each for each in _BY_POLICY if each in brand.triage.natures_without_answer]
        found = _nature(event, quiet)
        if found is not None:
            return found
    return _KINDS.get(event.kind, _OPENED)


def is_nobodys_word(event: SocialEvent) -> bool:
    """Whether a program said it, for nobody: it answers no customer, whosever program it is."""
    return _nature(event, _NOBODYS_WORD) is not None


def _nature(event: SocialEvent, among: Sequence[TriageReason]) -> TriageReason | None:
    return next((each for each in among if each in event.natures), None) if event.natures else None


def intents_of(event: SocialEvent) -> frozenset[str]:
    """Return what the author wants, as far as it was found."""
    found = event.enrichment.intents if event.enrichment is not None else None
    return frozenset([intent.name for intent in found]) if found else _NONE


def tone_of(event: SocialEvent) -> str | None:
    """Return the tone, None where it is not known."""
    tone = event.enrichment.tone if event.enrichment is not None else None
    return tone.label if tone is not None else None


def is_spam(event: SocialEvent, brand: CompiledBrand) -> bool:
    """Whether it is spam, as surely as the brand wants it."""
    found = event.enrichment.intents if event.enrichment is not None else None
    if not found:
        return False
    least = brand.triage.spam_from
    return any(each.name == "spam" and (each.score or 0) >= least for each in found)


def is_advocate(event: SocialEvent, brand: CompiledBrand) -> bool:
    """Whether the author answers customers as a customer, and nobody owes an answer for it."""
    author, advocates = event.author, brand.triage.advocates
    if author is None or not advocates:
        return False
    return any(each.network == event.network and each.id == author.id for each in advocates)


def asks_nothing(event: SocialEvent, brand: CompiledBrand) -> bool:
    """Whether all that is wanted needs no answer, by the brand's policy; unknown is not nothing."""
    wanted = intents_of(event)
    return bool(wanted) and wanted <= frozenset(brand.triage.needs_no_answer)


def is_praise(event: SocialEvent) -> bool:
    """Whether it praises and wants nothing else."""
    return intents_of(event) == {"praise"} and tone_of(event) != "negative"


def is_candidate(event: SocialEvent, brand: CompiledBrand) -> bool:
    """Whether talk about the brand is a complaint that the brand may turn to by itself."""
    outreach = brand.outreach
    if outreach.queue is None or event.addressing != "indirect" or not _is_heard_by_rule(event):
        return False
    followers = event.author.followers if event.author is not None else None
    if outreach.min_followers and (followers or 0) < outreach.min_followers:
        return False
    anger = event.enrichment.anger if event.enrichment is not None else None
    if anger is not None and anger >= outreach.anger_from:
        return True
    return tone_of(event) == "negative" and not intents_of(event).isdisjoint(outreach.intents)


def _opens_indirectly(event: SocialEvent, brand: CompiledBrand) -> bool:
    """Whether talk about the brand opens a case: the brand wants it, and a rule hears the talk.

    What is heard only because its conversation is tracked, or its object known, may be anybody's
    word to anybody.
    """
    if is_candidate(event, brand):
        return True
    return brand.triage.open_indirect and _is_heard_by_rule(event)


def _is_heard_by_rule(event: SocialEvent) -> bool:
    return any(match.how == "rule" for match in event.matches)


def lateness(event: SocialEvent, brand: CompiledBrand) -> TriageReason | None:
    """Return why an event comes too late to open a case: `not_live`, `too_old`, or None."""
    if event.origin.mode not in _FRESH:
        return TriageReason.NOT_LIVE
    if event.received_at - believed_time(event) > brand.max_open_age:
        return TriageReason.TOO_OLD
    return None
