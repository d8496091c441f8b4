"""What is sent, byte for byte: bodies for chat, webhook, mail and Alertmanager.

Pure. A body is a function of the records alone: whatever is sent twice under one key is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import rfc3339
from klingel.domain.notices import Notice, Noticed, notice_of
from klingel.domain.notifications import batch_key

_BLOCK_CHARACTERS = 2_900
"""Slack takes 3,000 in a section."""
_TITLE_CHARACTERS = 160
_CASE_CHARACTERS = 120
"""A digest's lines fit into one message of every chat."""
_CODE = frozenset({"Case", "Channel", "Incident", "Terms"})
"""Facts that a network's people can have a say in; chats read no command in them."""
_LASTS = timedelta(days=7)
"""How long Alertmanager takes for true what is not resolved; every later revision prolongs it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is told at once: one record or, as a digest, several.

    Attributes:
        key: idempotency key.
        records: in the order of what they tell, oldest first.
        notices: of the records.
    """

    key: str
    records: tuple[Noticed, ...]
    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, records: Sequence[Noticed]) -> "Letter":
        """Return the letter of one record or more, the same in whatever order they are given."""
        pairs = sorted(
            ((notice_of(record), record) for record in records),
            key=lambda pair: (pair[0].said_at, pair[0].key),
        )
        notices = tuple(notice for notice, _ in pairs)
        key = batch_key([notice.key for notice in notices])
        return cls(key, tuple(record for _, record in pairs), notices)

    @property
    def said_at(self) -> datetime:
        """Newest time that its records tell."""
        return max(notice.said_at for notice in self.notices)

    @property
    def title(self) -> str:
        """One sentence without a full stop."""
        if len(self.notices) == 1:
            return self.notices[0].title
        return f"{len(self.notices)} notifications"


# ---------------------------------------------------------------------- chat


def slack_body(letter: Letter) -> bytes:
    """Return the body for a Slack-compatible incoming webhook.

    `text` holds all of it, for chats that know no blocks; the blocks hold the same.
    """
    brand = letter.notices[0].brand
    lines = [f"*{_escaped(brand)}: {_escaped(letter.title)}*"]
    if len(letter.notices) == 1:
        lines += [
            f"{label}: {_span(value) if label in _CODE else _escaped(value)}"
            for label, value in letter.notices[0].facts
        ]
    else:
        lines += [f"• {_digest_line(notice)}" for notice in letter.notices]
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in _packed(lines)
    ]
    return msgspec.json.encode({"text": "\n".join(lines), "blocks": blocks})


def _digest_line(notice: Notice) -> str:
    line = _escaped(notice.title[:_TITLE_CHARACTERS])
    case = dict(notice.facts).get("Case")
    return f"{line} {_span(case[:_CASE_CHARACTERS])}" if case else line


def _escaped(text: str) -> str:
    """Return text in which Slack reads no command: `&`, `<` and `>` are its only ones."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _span(text: str) -> str:
    return f"`{_escaped(text.replace('`', chr(39)))}`"


def _packed(lines: Sequence[str]) -> list[str]:
    """Return the lines in as few blocks as they fit in."""
    blocks: list[str] = []
    for line in lines:
        short = line[:_BLOCK_CHARACTERS]
        if blocks and len(blocks[-1]) + 1 + len(short) <= _BLOCK_CHARACTERS:
            blocks[-1] += "\n" + short
        else:
            blocks.append(short)
    return blocks


# ---------------------------------------------------------------------- webhook


def webhook_body(letter: Letter) -> bytes:
    """Return the body for a webhook: `type`, `timestamp` and `data`, as Standard Webhooks advises.

    `data` of a single one is the record; that of a digest holds `items`, each such a body.
    """
    items = [
        {
            "type": f"{notice.kind}.{notice.state}",
            "timestamp": rfc3339(notice.said_at),
            "key": notice.key,
            "title": notice.title,
            "data": msgspec.Raw(codec.encode(record)),
        }
        for record, notice in zip(letter.records, letter.notices, strict=True)
    ]
    if len(items) == 1:
        return msgspec.json.encode(items[0])
    return msgspec.json.encode(
        {
            "type": "digest",
            "timestamp": rfc3339(letter.said_at),
            "key": letter.key,
            "title": letter.title,
            "data": {"items": items},
        }
    )


# ---------------------------------------------------------------------- Alertmanager


def alertmanager_body(letter: Letter) -> bytes:
    """Return the body for `POST /api/v2/alerts`: one alert a notice; several need no digest.

    Labels never change from revision to revision, so what ends resolves what began. What lasts is
    given an end a week ahead: without one Alertmanager would resolve it after five minutes.
    """
    return msgspec.json.encode([_alert(notice) for notice in letter.notices])


def _alert(notice: Notice) -> dict[str, Any]:
    ends_at = notice.ends_at if notice.over else notice.said_at + _LASTS
    facts = {label.lower().replace(" ", "_"): value for label, value in notice.facts}
    return {
        "labels": dict(notice.labels),
        "annotations": {"summary": notice.title, **facts, "klingel_key": notice.key},
        "startsAt": rfc3339(notice.starts_at),
        "endsAt": rfc3339(max(notice.starts_at, ends_at or notice.said_at)),
    }


# ---------------------------------------------------------------------- mail


def mail_of(letter: Letter, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Return the mail: plain text, with a Message-ID made of the key.

    Mails about one matter refer to it, so that mail programs show them as one conversation.
    """
    brand = letter.notices[0].brand
    domain = sender.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = f"[klingel] {brand}: {letter.title}"
    mail["Date"] = format_datetime(letter.said_at)
    mail["Message-ID"] = f"<{letter.key}@{domain}>"
    if len(letter.notices) == 1:
        notice = letter.notices[0]
        mail["References"] = f"<{notice.kind}_{notice.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    parts = [_mail_part(notice) for notice in letter.notices]
    mail.set_content("\n\n".join(parts) + "\n", cte="quoted-printable")
    return mail


def _mail_part(notice: Notice) -> str:
    facts = [f"  {label}: {value}" for label, value in notice.facts]
    return "\n".join([notice.title, *facts])
