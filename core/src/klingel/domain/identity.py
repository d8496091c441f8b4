"""Who is who: object, event and case ids, revisions, hashes. Forms: design section 5."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from klingel.domain.draft import SocialDraft
from klingel.model.social_event import Media

REVISION_BITS = 42
REVISION_MAX = 2**REVISION_BITS - 1
DELETED_WITHOUT_REVISION = REVISION_MAX
DECISION_BITS = 20
CASE_ID_BYTES = 900
"""Bytes of UTF-8 of a case id; the schemas of all records that name a case allow more."""
FIRST_BELIEVED = datetime(2006, 1, 1, tzinfo=UTC)
"""No network that we hear is older."""
BELIEVED_LEAD = timedelta(minutes=10)
"""By so much a network's clock may be ahead of ours."""


def object_id(network: str, scope: str, native_id: str) -> str:
    """Return `<network>:<scope>:<native id>`."""
    return f"{network}:{scope}:{native_id}"


def event_id(object_id_: str, revision: int, brand: str | None = None) -> str:
    """Return `<object_id>@<revision>`, behind `<brand>/` from social-events on."""
    raw = f"{object_id_}@{revision}"
    return raw if brand is None else f"{brand}/{raw}"


def hash64(*parts: str) -> str:
    """Return 64 bits over `parts` as 16 hex digits; a separator keeps (ab, c) from (a, bc)."""
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def hash64_bytes(text: str) -> bytes:
    """Return 64 bits over `text` as 8 bytes."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def document_version(revision: int, decision: int) -> int:
    """Return the version of a post's document: revision * 2^20 + decision (fits 63 bits)."""
    return (revision << DECISION_BITS) + decision


def content_hash(draft: SocialDraft) -> str:
    """Return the hash of what was said: kind, change, text, media and references.

    Never metrics, profile or what signs an address: those differ from fetch to fetch. A medium
    without an id is told by its address up to the query, and one that was fetched by what became of
    it, too: what knows more of it is another content. That words are withheld is a content of its own:
    they are absent otherwise than where a delivery never had any.
    """
    return hash64(
        draft.kind,
        "deleted" if draft.change == "deleted" else "withheld" if draft.withheld else "",
        draft.text or "",
        *sorted(_told_by(medium) for medium in draft.media),
        "|",
        draft.in_reply_to or "",
        draft.quotes or "",
        draft.reposts or "",
    )


def _told_by(medium: Media) -> str:
    name = medium.id or (medium.url or "").partition("?")[0]
    if medium.status in {"stored", "failed"}:
        return f"{name}|{medium.status}|{medium.sha256 or ''}"
    return name


def index_month(published_at: datetime | None, received_at: datetime) -> str:
    """Return the month of the index, `YYYY.MM`, or `undated`.

    A publication that is not believed has no month.
    """
    if published_at is None or not is_believed(published_at, received_at):
        return "undated"
    at = published_at.astimezone(UTC)
    return f"{at.year:04}.{at.month:02}"


def is_believed(published_at: datetime, received_at: datetime) -> bool:
    """Whether a publication is believed: not before 2006, nor far ahead of its receipt."""
    return FIRST_BELIEVED <= published_at <= received_at + BELIEVED_LEAD


def case_id(brand: str, conversation_id: str, customer_id: str, generation: int) -> str:
    """Return `<brand>:<conversation>:<customer>#<generation>`.

    Ids come from outside, and may hold colons. What could be read as the end of another
    conversation, `:<network>:` in a customer's native id, is percent-encoded: different pairs of
    conversation and customer never share a case id. Above CASE_ID_BYTES the customer's native id
    gives way to its hash, then the conversation too; the record holds both whole. `%~` stands
    before a hash, and in no encoded id; a conversation begins with its network, never with `%`.
    """
    network, _, native = customer_id.partition(":")
    if "%" in native or f":{network}:" in f":{native}":
        native = native.replace("%", "%25").replace(":", "%3A")
        customer_id = f"{network}:{native}"
    found = f"{brand}:{conversation_id}:{customer_id}#{generation}"
    if _fits(found):
        return found
    customer_id = f"{network}:%~{deterministic_id(customer_id)}"
    found = f"{brand}:{conversation_id}:{customer_id}#{generation}"
    if _fits(found):
        return found
    return f"{brand}:%~{deterministic_id(conversation_id)}:{customer_id}#{generation}"


def _fits(found: str) -> bool:
    # Most ids are short: no character has more than four bytes.
    return 4 * len(found) <= CASE_ID_BYTES or len(found.encode()) <= CASE_ID_BYTES


def deterministic_id(*parts: str) -> str:
    """Return 128 bits over `parts` as 32 hex digits, for ids derived from causes."""
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def object_of(event_id: str) -> str:
    """Return the object of an event id, `<brand>/<object_id>@<revision>`."""
    start, end = event_id.find("/"), event_id.rfind("@")
    return event_id[start + 1 : end] if 0 <= start < end else ""
