"""Sessions of the web chat: their tokens, the replies that wait for them, who may ring; pure.

A session's id stands in events, cases and the index; whoever reads it there must not be able to
speak in it. What the page holds is a token: the id and a keyed hash over chat and id. Nothing about
a session has to be kept, so every gateway with the key can take it up, also after a restart.
"""

import hmac
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from klingel_connectors.submissions import Allowance
from klingel_networks.chat.sessions import AHEAD, SESSION, begun_at, is_open

_TAG_HEX = 32
_RANDOM_BYTES = 16
_SECONDS = 0xFFFF_FFFF


def session_id(now: datetime, random: bytes) -> str:
    """Return the id of a session that begins now.

    Args:
        now: aware.
        random: 16 bytes that nobody can guess.
    """
    if len(random) != _RANDOM_BYTES:
        raise ValueError("a session needs 16 random bytes")
    return f"{int(now.timestamp()) & _SECONDS:08x}-{random.hex()}"


def token_of(key: bytes, channel: str, session: str) -> str:
    """Return what the page of a session holds: `<session>.<keyed hash>`."""
    tag = hmac.digest(key, f"chat\n{channel}\n{session}".encode(), "sha256").hex()[:_TAG_HEX]
    return f"{session}.{tag}"


def session_of(key: bytes, channel: str, token: str, now: datetime, hours: int) -> str | None:
    """Return the session of a token; None for one that is forged, or whose time is over."""
    session = token.partition(".")[0]
    if not token.isascii() or SESSION.fullmatch(session) is None:
        return None
    if not hmac.compare_digest(token, token_of(key, channel, session)):
        return None
    return session if is_open(session, now, hours) else None


def believed(at_ms: int, session: str, now: datetime) -> bool:
    """Return whether a page's time of a message lies within its session, up to a minute ahead."""
    latest = (now + AHEAD).timestamp() * 1000
    return begun_at(session).timestamp() * 1000 - 1000 <= at_ms <= latest


def address_of(remote: str | None, forwarded: str, proxies: int) -> str:
    """Return the address that a connection is counted under.

    Args:
        remote: of the connection.
        forwarded: X-Forwarded-For; only what our own proxies appended to it is believed.
        proxies: how many those are.
    """
    hops = [part.strip() for part in forwarded.split(",") if part.strip()][-32:]
    if proxies and len(hops) >= proxies:
        return hops[-proxies][:64]
    return remote or "unknown"


class Told(NamedTuple):
    """A reply as the page is told it.

    Attributes:
        number: rises within a session; the offset in its partition.
        at_ms: when it was written.
        text: as written.
        name: who speaks; empty for nobody.
    """

    number: int
    at_ms: int
    text: str
    name: str

    @property
    def weight(self) -> int:
        """Bytes that it takes here, about."""
        return 200 + 4 * (len(self.text) + len(self.name))


@dataclass(slots=True)
class _Kept:
    """Replies of one session, and the number of the last one that its page has shown."""

    replies: deque[Told]
    seen: int = -1

    @property
    def unseen(self) -> int:
        """How many its page has not shown."""
        return sum(
            1 for _ in takewhile(lambda told: told.number > self.seen, reversed(self.replies))
        )


class Replies:
    """Replies of sessions that can still be resumed, within bounds.

    Args:
        hours: a session can be resumed.
        most_bytes: of all replies; beyond it the oldest sessions' are let go.
    """

    def __init__(self, hours: int, most_bytes: int = 64 << 20) -> None:
        self._hours = hours
        self._most = most_bytes
        self._by_session: OrderedDict[str, _Kept] = OrderedDict()
        self.bytes = 0
        self.unseen = 0

    def add(self, session: str, told: Told, now: datetime) -> int:
        """Keep a reply that is newer than those there are; returns how many were let go."""
        if not is_open(session, now, self._hours):
            return 1
        kept = self._by_session.setdefault(session, _Kept(deque()))
        if kept.replies and told.number <= kept.replies[-1].number:
            return 0
        kept.replies.append(told)
        self.bytes += told.weight
        self.unseen += told.number > kept.seen
        dropped = self.expire(now)
        while self.bytes > self._most and self._by_session:
            dropped += self._forget(next(iter(self._by_session)))
        return dropped

    def after(self, session: str, number: int) -> Sequence[Told]:
        """Return the replies of a session with greater numbers, in order."""
        kept = self._by_session.get(session)
        return [] if kept is None else [told for told in kept.replies if told.number > number]

    def shown(self, session: str, number: int) -> int:
        """Note up to which number a page has shown replies; returns how many were news."""
        kept = self._by_session.get(session)
        if kept is None or number <= kept.seen:
            return 0
        before = kept.unseen
        # A page may say any number; what comes later is news all the same.
        kept.seen = min(number, kept.replies[-1].number)
        news = before - kept.unseen
        self.unseen -= news
        return news

    def unseen_of(self, session: str) -> int:
        """Return how many replies of a session no page has shown."""
        kept = self._by_session.get(session)
        return 0 if kept is None else kept.unseen

    def expire(self, now: datetime) -> int:
        """Let go of sessions whose time is over, the first ones first; returns how many replies."""
        dropped = 0
        while self._by_session:
            session = next(iter(self._by_session))
            if is_open(session, now, self._hours):
                break
            dropped += self._forget(session)
        return dropped

    def _forget(self, session: str) -> int:
        gone = self._by_session.pop(session)
        self.unseen -= gone.unseen
        self.bytes -= sum(told.weight for told in gone.replies)
        return len(gone.replies)


class Addresses:
    """How many new sessions each address may begin, for the addresses that rang last.

    Args:
        rate: new sessions a second.
        burst: as many at once.
        most: addresses that are remembered.
    """

    def __init__(self, rate: float, burst: float, most: int = 20_000) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def take(self, address: str, now: float) -> float:
        """Take one at `now` (monotonic seconds); returns 0, or the seconds until there is one."""
        known = self._known.pop(address, None) or Allowance(self._rate, self._burst)
        self._known[address] = known
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return known.take(now)
