"""What a `client.py` owes the runner: deliveries with the cursor behind each, and the truth on gaps.

A client talks to one network and decides nothing else: it publishes nothing, saves no cursor and
does not wait between attempts. When the network goes away it raises; the runner backs off by the
manifest's table and asks again with the last cursor it was given.

Two shapes, by the manifest's `mode`:

- `stream`: a `Client`; `arrivals(cursor)` reads one connection until it ends.
- `poll`: a `PollClient`; `poll(channel, cursor)` is one round over one channel, an iterator that
  ends. Each channel has its own cursor and its own back-off; the runner decides whose turn it is.

Both yield `Arrival`s and `Report`s in the order in which they happened: a `Gap` stands before what
follows the gap, a `GapClosed` behind the last arrival that filled it.

`client.py` offers `connect(options, tools) -> Client | PollClient`, `options` being the values of
the manifest's `config` (secrets wrapped), and may offer `examine(options, tools) -> list[Finding]`
for `klingel doctor` and `addresses(options, tools) -> MediaAddresses` for the media worker.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import SecretStr

from klingel.clock import Clock, SystemClock
from klingel.config.brand import Brand
from klingel.errors import SourceUnavailable
from klingel_networks.contract import Delivery

Mode = Literal["live", "gap_fill", "backfill", "remap"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery and where to resume so that it is heard again if need be.

    Attributes:
        delivery: the bytes and their context; None moves the cursor alone.
        cursor: opaque position; saved once this and all earlier deliveries (of the channel, where a
            client polls several) are acknowledged.
        received_at: when it was first seen; None stands for now.
        mode: `live` as it happens, `gap_fill` what was missed, `backfill` history that opens nothing.
        gap_seconds: of the first one behind a gap: the network's time that the gap took, 0 elsewhere.
    """

    delivery: Delivery | None
    cursor: str
    received_at: datetime | None = None
    mode: Mode = "live"
    gap_seconds: float = 0.0


GapCause = Literal[
    "disconnected",
    "cursor_too_old",
    "outdated_cursor",
    "cursor_invalid",
    "rate_limited",
    "page_limit",
    "credential",
    "stalled",
    "dropped_by_network",
    "budget",
]
"""`budget`: what may be spent a month does not carry it. `disconnected`: a stream without resume was away. `page_limit`: the history does not reach back far
enough. `dropped_by_network`: it said itself that it left something out."""

GapOutcome = Literal["filled", "partial", "unrecoverable"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was not heard; told loudly, once.

    Attributes:
        cause: of the closed set.
        sentence: one clear sentence without text, handles or secrets.
        key: the client's name of the gap, under which a `GapClosed` closes it, also one of a later
            process: unique among what is open in the channel, at most 200 characters. Empty when nothing can fill it: it is unrecoverable at once.
        start: last position before the gap, opaque; None where unknown.
        began_at: the network's time of that position; None where unknown.
    """

    cause: GapCause
    sentence: str
    key: str = ""
    start: str | None = None
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GapClosed:
    """The end of a gap: what came of filling it. How many events filled it is counted by the runner.

    What a gap that was not filled has cost in time is counted from `Gap.began_at` to `ended_at`; a
    client that gives these leaves `Arrival.gap_seconds` alone.

    A gap that an earlier process opened (it is told again after a resume, or known by its key) may
    be closed too; a key that is not open is ignored.

    Attributes:
        key: as the gap was opened.
        outcome: `filled` only when the network's history was read without a hole up to `end`.
        end: first position behind the gap, opaque; None where unknown.
        ended_at: the network's time of that position; None where unknown.
        sentence: why it came to no more; empty: what was said when it was opened still says it.
    """

    key: str
    outcome: GapOutcome
    end: str | None = None
    ended_at: datetime | None = None
    sentence: str = ""


CredentialState = Literal["none", "ok", "expiring", "refresh_failed", "revoked"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What the client learnt of its credential; from it the runner derives the state.

    Attributes:
        expires_at: when it ends; None for never or unknown.
        refresh_failed: a renewal was tried and refused, the old one still holds.
        revoked: the network refuses it. (Raising CredentialsRejected says the same and stops.)
        sentence: one clear sentence for the status, what to do included; no secrets.
    """

    expires_at: datetime | None = None
    refresh_failed: bool = False
    revoked: bool = False
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Rest:
    """A poll round's wish: not before so many seconds again (a feed's ttl, an empty page)."""

    seconds: float


Report = Gap | GapClosed | Credential | Rest


class Quota(NamedTuple):
    """What a response's headers say of a limit.

    Attributes:
        bucket: which limit, such as `search_recent`; a name of the client's own closed set.
        remaining: calls left until the reset.
        limit: calls a window; None where not told.
        resets_in: seconds until the window begins anew; None where not told.
    """

    bucket: str
    remaining: int
    limit: int | None = None
    resets_in: float | None = None


class Permits(Protocol):
    """Leave to call; every request of a client asks for it first."""

    async def ask(self, bucket: str, channel: str = "") -> None:
        """Return when the call may be made; channels of one bucket get their turns fairly."""
        ...

    def heard(self, quota: Quota) -> None:
        """Take the network's word on a limit, from any response that has it."""
        ...

    def refused(self, bucket: str, retry_after: float | None) -> float:
        """Take a 429; return the seconds to wait, also when the network told none.

        The client then raises RateLimited with them; the other channels of the bucket wait, too.
        """
        ...

    def spend(self, item: str, units: float) -> None:
        """Count what the network charges for, in the manifest's unit, once it was received."""
        ...

    def left(self, item: str = "") -> float | None:
        """Return what the budget still allows, in the manifest's unit; None without a budget."""
        ...


class Unbounded:
    """Leave for everything, at once: for tests, and for networks without limits."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    async def ask(self, bucket: str, channel: str = "") -> None:
        """Return at once."""

    def heard(self, quota: Quota) -> None:
        """Nothing is bounded."""

    def refused(self, bucket: str, retry_after: float | None) -> float:  # noqa: ARG002  the port's signature
        """Return what the network wished, or a minute."""
        return 60.0 if retry_after is None else retry_after

    def spend(self, item: str, units: float) -> None:
        """Remember it."""
        self.spent[item] = self.spent.get(item, 0.0) + units

    def left(self, item: str = "") -> float | None:  # noqa: ARG002  the port's signature
        """Return None: no budget."""
        return None


def _nobody() -> None:
    return None


Table = Literal["connection", "http", "rate_limited"]


class Away(SourceUnavailable):
    """The network is away, and has published how often it may be tried again.

    Args:
        sentence: one clear sentence.
        table: name of the manifest's back-off table; without such a table the common one holds.
    """

    def __init__(self, sentence: str, *, table: Table = "connection") -> None:
        super().__init__(sentence)
        self.table: Table = table


@dataclass(frozen=True, slots=True)
class Life:
    """When one gateway process took an app's deliveries.

    Attributes:
        since: from then on without a break.
        at: its last word.
        refused: from when to when it had to refuse some.
        told: of each of these, when it first said so of all of it; empty: at once.
    """

    since: datetime
    at: datetime
    refused: tuple[tuple[datetime, datetime], ...] = ()
    told: tuple[datetime, ...] = ()


class ReplayEnd(NamedTuple):
    """What the network told of a replay job, and when; the gateway's clock."""

    state: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Attendance:
    """Who took an app's deliveries when, and how replays of deliveries ended.

    Attributes:
        lives: of the gateway's processes, in no order.
        replays: what the network told of each replay job, by its id.
    """

    lives: tuple[Life, ...] = ()
    replays: Mapping[str, ReplayEnd] = field(default_factory=dict)


def _unattended() -> None:
    return None


Options = Mapping[str, str | int | bool | SecretStr | None]
"""Values of a manifest's settings."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What `connect` gets beside the options; time, limits and chance come through the door.

    Attributes:
        clock: time.
        permits: limits and cost.
        sleep: waits so many seconds, for clients that must wait inside one connection.
        brands: returns the brands in force, for networks that filter on their side; None until they
            were read, and while one of them cannot be read.
        kept: yields what follows a prefix in the ids of the objects that klingel keeps; blocks, and
            raises SourceUnavailable where they cannot be read. None: nobody knows.
        attended: tells who took the deliveries of the app's webhook; None while nobody knows.
    """

    clock: Clock = field(default_factory=SystemClock)
    permits: Permits = field(default_factory=Unbounded)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    brands: Callable[[], Sequence[Brand] | None] = _nobody
    kept: Callable[[str], Iterable[str]] | None = None
    attended: Callable[[], Attendance | None] = _unattended


class Client(Protocol):
    """The talking half of a network that streams.

    Attributes:
        source: name of what it reads, for the cursor's key.
    """

    source: str

    def arrivals(self, cursor: str | None) -> AsyncIterator[Arrival | Report]:
        """Yield what arrives after `cursor` (inclusive), in the network's order.

        Ends when the source has an end.

        Raises:
            SourceUnavailable: away for now (Away: backed off by the network's own table).
            RateLimited: wants fewer calls; `retry_after` is its own word.
            CredentialsRejected: only a person can help.
            ConfigurationError: it cannot read what it was told to read.
        """
        ...


class PollClient(Protocol):
    """The talking half of a network that is asked again and again.

    The runner asks `channels` before each round over all of them, so that a list may change; it
    polls several channels at once, never one channel twice at the same time, and every channel at
    most once in the manifest's `poll_seconds` unless a `Rest` says later. What a round raises backs
    off that channel alone; one with CredentialsRejected is asked again after an hour; a
    ConfigurationError ends the connector.

    A network that forgets what was asked behind (asking is confirming) sets `confirms = True` on its
    client: then `cursor` is the saved one, of which everything before is durable, and the client
    itself leaves out what it yielded already.

    Attributes:
        source: name of what it reads; a cursor's key is `<source>/<channel>`.
    """

    source: str

    def channels(self) -> Sequence[str]:
        """Return the channels to poll, such as mailboxes, feeds, accounts; one at least.

        A name is at most 120 characters, without control characters and `|`, and no secret: hash an
        address that may hold one.
        """
        ...

    def poll(self, channel: str, cursor: str | None) -> AsyncIterator[Arrival | Report]:
        """Yield what is new in one channel since `cursor`, oldest first; ends when the round is over.

        Each `Arrival.cursor` belongs to the channel. A long wait on the server's side (IMAP IDLE, a
        long poll) is part of the round; it must end by itself or when the iterator is closed.

        Raises:
            As `Client.arrivals`.
        """
        ...


FindingState = Literal["ok", "warning", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of `klingel doctor`.

    Attributes:
        check: what was looked at, such as `credentials`, `permissions`, `subscription`.
        state: `unknown` when it could not be looked at.
        sentence: what was found; no secrets, no texts, no handles.
        remedy: what to do; empty only when the state is `ok`.
    """

    check: str
    state: FindingState
    sentence: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Refuse a finding that leaves its reader alone."""
        if self.state != "ok" and not self.remedy:
            raise ValueError("a finding says what to do")


class MediaAddress(NamedTuple):
    """Where the bytes of a medium are now.

    Attributes:
        url: http or https.
        headers: needed to fetch it, such as an authorisation; never sent to another host.
        expires_at: when the address ends; None for unknown.
        trusted_hosts: hosts to which the headers may go beside the url's own.
    """

    url: str
    headers: Mapping[str, str] = {}
    expires_at: datetime | None = None
    trusted_hosts: tuple[str, ...] = ()


class MediaAddresses(Protocol):
    """Finds the present address of a network's media; each connector that has media offers one."""

    async def address(self, object_id: str, medium: str | None, url: str | None) -> MediaAddress:
        """Return a fresh address.

        Args:
            object_id: of the event that the medium belongs to.
            medium: the network's id of the medium, where it has one.
            url: the address that the event carried, where it has one; perhaps expired.

        Raises:
            InvalidMessage: there is no such medium any more.
            RetryableError: not now. CredentialsRejected: only a person can help.
        """
        ...


class Told(NamedTuple):
    """An object that was asked for by its id: its native bytes, and the context that maps it."""

    native: bytes
    context: Mapping[str, str]


@runtime_checkable
class Objects(Protocol):
    """Tells a network's objects by id; what `addresses` returns may offer it, too.

    Asked for are events that the network told of without their words.
    """

    async def whole(self, object_id: str, kind: str, channel: str) -> Told:
        """Return an object.

        Args:
            object_id: of the event.
            kind: of the event.
            channel: own account that it came through.

        Raises:
            InvalidMessage: there is no such object any more, or we may not see it.
            RetryableError: not now. CredentialsRejected: only a person can help.
        """
        ...
