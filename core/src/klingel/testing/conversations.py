"""Builders of what conversations are made of: social events of one brand, and the brand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.contracts.topics import Topic
from klingel.domain.draft import Change, Kind
from klingel.domain.identity import event_id, hash64, index_month
from klingel.model.social_event import Author, Origin, SocialEvent

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROOT = "bluesky:network:root"


def compiled_brand(**parts: Any) -> CompiledBrand:
    """Build a brand with one account and one queue; `parts` are parts of its file."""
    content: dict[str, Any] = {
        "brand": "nordlicht",
        "name": "Nordlicht",
        "accounts": [{"network": "bluesky", "id": "did:plc:brand"}],
        "queues": [{"id": "first"}],
        **parts,
    }
    return CompiledBrand.compile(Brand.model_validate(content), "0123456789abcdef")


def said(
    name: str,
    author: str | None = "anna",
    minute: float = 0,
    *,
    text: str = "my line is dead",
    conversation: str = ROOT,
    kind: Kind = "reply",
    change: Change = "created",
    revision: int = 0,
    direction: Literal["inbound", "outbound", "third_party"] = "inbound",
    addressing: Literal["direct", "indirect"] = "direct",
    mode: Literal["live", "gap_fill", "backfill", "remap"] = "live",
    in_reply_to: str | None = None,
    mentions: Sequence[str] = (),
    received_after: timedelta = timedelta(seconds=1),
    published: bool = True,
) -> SocialEvent:
    """Build a social event of the conversation `ROOT`.

    Args:
        name: last part of its object id; `root` is the conversation's root.
        author: author id; None for none.
        minute: minutes after `NOON` at which it was said (a deletion: at which it was deleted).
        text: what was said.
        conversation: the conversation.
        kind: of the object.
        change: what happened.
        revision: of the object.
        direction: who speaks.
        addressing: whether the brand is addressed.
        mode: how it reached klingel.
        in_reply_to: name of the parent.
        mentions: account ids.
        received_after: how long after `minute` it was received.
        published: whether the network tells when it was published.
    """
    at = NOON + timedelta(minutes=minute)
    received_at = at + received_after
    identity = f"bluesky:network:{name}"
    deleted = change == "deleted"
    return SocialEvent(
        event_id=event_id(identity, revision, "nordlicht"),
        object_id=identity,
        kind=kind,
        change=change,
        revision=revision,
        brand="nordlicht",
        matches=[],
        network="bluesky",
        connector="bluesky-1",
        origin=Origin(topic=Topic.RAW_EVENTS.value, partition=0, offset=0, mode=mode),
        direction=direction,
        addressing=addressing,
        visibility="public",
        published_at=at if published and not deleted else None,
        changed_at=at if deleted else None,
        received_at=received_at,
        conversation_id=conversation,
        threading="network",
        in_reply_to=f"bluesky:network:{in_reply_to}" if in_reply_to else None,
        author=Author(id=author) if author is not None and not deleted else None,
        text=None if deleted else text,
        mentions=list(mentions) or None,
        index=index_month(at, received_at),
        content_hash=hash64(kind, change if deleted else "", text),
        mapping="bluesky/1",
        config_version="0123456789abcdef",
    )


def answered(
    name: str, minute: float, *, in_reply_to: str | None = None, **parts: Any
) -> SocialEvent:
    """Build an outbound post of the brand."""
    return said(
        name,
        "did:plc:brand",
        minute,
        direction="outbound",
        in_reply_to=in_reply_to,
        text="we are on it",
        **parts,
    )


def deleted(name: str, minute: float, revision: int = 2**42 - 1) -> SocialEvent:
    """Build a deletion that tells no more than the object."""
    return said(name, None, minute, change="deleted", revision=revision)
