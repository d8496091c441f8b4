"""What we read of Mastodon's entities; everything else is kept in the original.

Names are the network's own: https://docs.joinmastodon.org/entities/. A list that we do not need
whole is bounded, since any server may claim to be an instance.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

_Text = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[0-9A-Za-z_-]+\Z")]
_Id = _Text | Annotated[int, Meta(ge=0)]
"""A string since version 2; a server that keeps to the older form sends a number."""
_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Raw = msgspec.Raw
ABSENT = msgspec.Raw(b"")


class Account(msgspec.Struct, frozen=True, gc=False):
    """Who acted."""

    id: _Id
    acct: Annotated[str, Meta(max_length=256)] | None = None
    display_name: Annotated[str, Meta(max_length=640)] | None = None
    followers_count: int | None = None
    bot: bool | None = None


class Mention(msgspec.Struct, frozen=True, gc=False):
    """An account that a status names."""

    id: _Id


class Tag(msgspec.Struct, frozen=True, gc=False):
    """A hashtag of a status, without its sign."""

    name: str


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """A medium; `url` is null while the instance still works on it."""

    id: _Id
    type: str | None = None
    url: str | None = None
    remote_url: str | None = None
    description: str | None = None


class Card(msgspec.Struct, frozen=True, gc=False):
    """The preview of a link."""

    url: str | None = None


class Reference(msgspec.Struct, frozen=True, gc=False):
    """A status within another one, or beside a notification, of which only the id counts here."""

    id: _Id


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A quote: the quoted status itself, or its id alone where it is nested too deeply."""

    state: str | None = None
    quoted_status: Reference | None = None
    quoted_status_id: _Id | None = None


class Status(msgspec.Struct, frozen=True, gc=False):
    """A post; `text` without `content` stands in the answer to its deletion alone."""

    id: _Id
    created_at: str
    account: Account
    content: str | None = None
    text: str | None = None
    spoiler_text: str | None = None
    edited_at: str | None = None
    in_reply_to_id: _Id | None = None
    in_reply_to_account_id: _Id | None = None
    visibility: str | None = None
    language: str | None = None
    url: str | None = None
    reblog: Reference | None = None
    quote: Quote | None = None
    mentions: Annotated[list[Mention], Meta(max_length=1000)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=1000)] | None = None
    media_attachments: Annotated[list[Attachment], Meta(max_length=100)] | None = None
    card: Card | None = None
    replies_count: _Count | None = None
    reblogs_count: _Count | None = None
    favourites_count: _Count | None = None
    quotes_count: _Count | None = None


class StatusHead(msgspec.Struct, frozen=True, gc=False):
    """What tells a status' identity."""

    id: _Id
    created_at: str
    account: Reference
    content: str | None = None
    text: str | None = None
    edited_at: str | None = None
    in_reply_to_id: str | int | None = None
    visibility: str | None = None
    reblog: Reference | None = None
    quote: Quote | None = None


class Notification(msgspec.Struct, frozen=True, gc=False):
    """News for the account: https://docs.joinmastodon.org/entities/Notification/."""

    id: _Id
    type: Annotated[str, Meta(max_length=64)]
    created_at: str
    account: Account | None = None
    status: Reference | None = None


class Group(msgspec.Struct, frozen=True, gc=False):
    """Notifications of one kind on one status: /entities/GroupedNotificationsResults/."""

    group_key: Annotated[str, Meta(min_length=1, max_length=256)]
    type: Annotated[str, Meta(max_length=64)]
    sample_account_ids: Annotated[list[_Id], Meta(max_length=100)] = []
    status_id: _Id | None = None
    latest_page_notification_at: str | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    """Any answer or frame of the interface: which of them it is, its fields tell."""

    id: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    group_key: msgspec.Raw = ABSENT
    created_at: msgspec.Raw = ABSENT
    account: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    spoiler_text: msgspec.Raw = ABSENT
    visibility: msgspec.Raw = ABSENT
    unread: msgspec.Raw = ABSENT
    status: msgspec.Raw = ABSENT
    last_status: msgspec.Raw = ABSENT
    accounts: msgspec.Raw = ABSENT
    partial_accounts: msgspec.Raw = ABSENT
    hashtags: msgspec.Raw = ABSENT
    statuses: msgspec.Raw = ABSENT
    ancestors: msgspec.Raw = ABSENT
    descendants: msgspec.Raw = ABSENT
    notification_groups: msgspec.Raw = ABSENT
    event: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    payload: msgspec.Raw = ABSENT


BODY = msgspec.json.Decoder(Body)
STATUS = msgspec.json.Decoder(Status)
STATUS_HEAD = msgspec.json.Decoder(StatusHead)
NOTIFICATION = msgspec.json.Decoder(Notification)
GROUP = msgspec.json.Decoder(Group)
ACCOUNT = msgspec.json.Decoder(Account)
REFERENCE = msgspec.json.Decoder(Reference)
IDENTIFIER = msgspec.json.Decoder(_Id)
PIECES = msgspec.json.Decoder(list[msgspec.Raw])
