"""What a session of the web chat tells by its name: when it began, and until when it goes on; pure.

A session's id is the second of its beginning and 128 random bits, in hex; its conversation is
`chat:<channel>:<session>`, and the customer of it `<channel>/<session>`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from klingel.errors import ConfigurationError

SESSION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{32}")
CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
HOURS_SETTING = "KLINGEL_CHAT_HOURS"
HOURS = 24
"""A session can be resumed where nothing else is set, and at most: chat-outbox keeps a day."""
AHEAD = timedelta(minutes=1)
"""So far a clock of ours may be behind that of the gateway which began a session."""
_CONVERSATION = re.compile(rf"chat:({CHANNEL.pattern}):({SESSION.pattern})")


class Talk(NamedTuple):
    """A session of one chat.

    Attributes:
        channel: chat of the brand.
        session: its id.
    """

    channel: str
    session: str

    @property
    def conversation_id(self) -> str:
        """As events and cases name it."""
        return f"chat:{self.channel}:{self.session}"


def talk_of(conversation_id: str) -> Talk | None:
    """Return the session of a conversation; None for what is no conversation of a web chat."""
    found = _CONVERSATION.fullmatch(conversation_id)
    return None if found is None else Talk(found[1], found[2])


def begun_at(session: str) -> datetime:
    """Return when a session began, to the second."""
    return datetime.fromtimestamp(int(session[:8], 16), UTC)


def ends_at(session: str, hours: int) -> datetime:
    """Return when a session can be resumed no more."""
    return begun_at(session) + timedelta(hours=hours)


def is_open(session: str, now: datetime, hours: int) -> bool:
    """Return whether a session that began when its id says can still be resumed."""
    return begun_at(session) - AHEAD <= now < ends_at(session, hours)


def session_hours(environ: Mapping[str, str]) -> int:
    """Read for how many hours a session can be resumed.

    Raises:
        ConfigurationError: no whole number from 1 to 24; the sentence names the setting.
    """
    text = environ.get(HOURS_SETTING)
    if text is None:
        return HOURS
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= HOURS):
        raise ConfigurationError(f"{HOURS_SETTING}: must be a whole number from 1 to {HOURS}")
    return int(text)
