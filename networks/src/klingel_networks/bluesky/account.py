"""Polls an account of Bluesky: what names it, and its direct messages where that is granted.

Source: the lexicons `app.bsky.notification.listNotifications`, `chat.bsky.convo.getLog`,
`listConvos`, `getMessages` and `getConvo`.

- Notifications come newest first; a round reads back to the last one that was heard and a little
  further, since the network orders them by a time that it may still correct. What was told is left
  out; after a restart it is told again, as the same objects.
- The log of messages has a cursor of its own. Where it is refused, conversations are read instead,
  and the gap is told: deletions and reactions meanwhile are not in them.
- The first round of each is history, of mode `backfill`.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import (
    Arrival,
    Credential,
    Finding,
    Gap,
    GapClosed,
    Mode,
    Report,
    Tools,
)
from klingel_networks.bluesky.chat import CHANNEL, CONVO, OTHER
from klingel_networks.bluesky.mapping import CHAT, NOTIFICATION, VIA
from klingel_networks.bluesky.records import LOGS, MESSAGES, NOTIFICATIONS, Profile
from klingel_networks.bluesky.session import (
    CHAT_SERVICE,
    Account,
    AccountOptions,
    Query,
    Refusal,
)
from klingel_networks.contract import Delivery

NEWS, TALKS = "notifications", "messages"
PAGE: Final = 100
PAGES: Final = 20
"""Pages of notifications that one round reads; what lies behind is told as a gap."""
FIRST_PAGES: Final = 2
"""Pages of history that the first round reads."""
OVERLAP: Final = timedelta(seconds=60)
TOLD: Final = 10_000
"""Notifications that are remembered as told."""
CONVOS: Final = 1_000
"""Conversations of which the members are remembered."""
ROUNDS: Final = 50
"""Answers of the log that one round reads."""
_UNREAD: Final = "!"
"""Before a cursor while history has not been read to its end."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_MESSAGES: Final = (
    "the app password may not read direct messages: make one that allows it, "
    "or set direct_messages to false"
)


class _Head(msgspec.Struct):
    """The parts of a notification that move the cursor."""

    uri: str = ""
    reason: str = ""
    indexed_at: str = msgspec.field(default="", name="indexedAt")


class _LogHead(msgspec.Struct):
    """The parts of a log's entry that move the cursor and say whose word it is."""

    rev: str = ""
    convo: str = msgspec.field(default="", name="convoId")
    message: "_MessageHead | None" = None


class _MessageHead(msgspec.Struct):
    sender: "_SenderHead | None" = None
    sent_at: str = msgspec.field(default="", name="sentAt")


class _SenderHead(msgspec.Struct):
    did: str = ""


class _Convo(msgspec.Struct):
    id: str
    members: list[Profile] = []


class _Convos(msgspec.Struct):
    convos: list[_Convo]
    cursor: str | None = None


class _OneConvo(msgspec.Struct):
    convo: _Convo


_HEAD = msgspec.json.Decoder(_Head)
_LOG_HEAD = msgspec.json.Decoder(_LogHead)
_CONVOS = msgspec.json.Decoder(_Convos)
_ONE_CONVO = msgspec.json.Decoder(_OneConvo)

T = TypeVar("T")
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BlueskyAccount:
    """One account; its notifications and its messages are a channel each."""

    source = "account"

    def __init__(self, options: AccountOptions, tools: Tools | None = None) -> None:
        self._options = options
        self._tools = tools or Tools()
        self._account = Account(options, self._tools)
        self._told: OrderedDict[str, None] = OrderedDict()
        self._members: OrderedDict[str, list[Profile]] = OrderedDict()
        self._logins = 0
        self._last: str | None = None
        self._given = 0

    def channels(self) -> Sequence[str]:
        """Return what is polled."""
        return [NEWS, TALKS] if self._options.direct_messages else [NEWS]

    async def poll(
        self, channel: str, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what is new in a channel, oldest first.

        Raises:
            SourceUnavailable: the host is away. RateLimited: it says when to come back.
            CredentialsRejected: the app password is refused, or may not read messages.
        """
        own = await self._account.did()
        if self._account.logins > self._logins:
            self._logins = self._account.logins
            yield Credential(sentence="logged in with the app password")
        found = self._news(own, cursor) if channel == NEWS else self._talks(own, cursor)
        async with aclosing(found):
            async for each in found:
                yield each

    # --- notifications -------------------------------------------------------------------------

    async def _news(self, own: str, cursor: str | None) -> AsyncGenerator[Arrival | Report, None]:
        since = _moment(cursor)
        if cursor != self._last:
            self._told.clear()  # what was told behind it may not have become durable
        natives, whole = await self._listed(since)
        if not whole and since is not None:
            yield Gap(
                "page_limit",
                f"more than {PAGE * PAGES} notifications since the last round; "
                "the older ones among them are not read",
                start=cursor,
                began_at=since,
            )
        mode: Mode = "backfill" if since is None else "live"
        at = since or _EPOCH
        context = {VIA: NOTIFICATION, CHANNEL: own}
        for native in reversed(natives):
            head = _head(native)
            at = max(at, _indexed(head) or at)
            if self._is_told(f"{head.uri} {head.reason}"):
                continue
            self._last = self._cursor(at, unread=since is None)
            yield Arrival(Delivery(native, context), self._last, mode=mode)
        if since is None:
            self._last = self._cursor(at if natives else self._tools.clock.now())
            yield Arrival(None, self._last)

    def _cursor(self, at: datetime, *, unread: bool = False) -> str:
        """Return the cursor behind a notification; no two that this process gives are equal."""
        self._given += 1
        micros = (at - _EPOCH) // timedelta(microseconds=1)
        return f"{_UNREAD if unread else ''}{micros}|{self._given}"

    async def _listed(self, since: datetime | None) -> tuple[list[bytes], bool]:
        """Return notifications back to a time, newest first, and whether it was reached."""
        most = FIRST_PAGES if since is None else PAGES
        natives: list[bytes] = []
        after: str | None = None
        for _ in range(most):
            query = [("limit", str(PAGE)), *(("reasons", each) for each in self._options.reasons)]
            query += [("cursor", after)] if after else []
            body = await self._account.ask(
                "app.bsky.notification.listNotifications", query, channel=NEWS
            )
            page = _read(NOTIFICATIONS, body)
            for native in map(bytes, page.notifications):
                at = _indexed(_head(native))
                if since is not None and at is not None and at < since - OVERLAP:
                    return natives, True
                natives.append(native)
            after = page.cursor
            if not after or not page.notifications:
                return natives, True
        return natives, False

    def _is_told(self, key: str) -> bool:
        """Whether something was told already; remembers it."""
        if key in self._told:
            self._told.move_to_end(key)
            return True
        self._told[key] = None
        if len(self._told) > TOLD:
            self._told.popitem(last=False)
        return False

    async def news_since(self, since: datetime) -> AsyncGenerator[Delivery, None]:
        """Yield what names the account since a time, oldest first; raises as `poll`."""
        own = await self._account.did()
        natives, _ = await self._listed(since)
        for native in reversed(natives):
            yield Delivery(native, {VIA: NOTIFICATION, CHANNEL: own})

    # --- direct messages -----------------------------------------------------------------------

    async def _talks(self, own: str, cursor: str | None) -> AsyncGenerator[Arrival | Report, None]:
        if cursor is None or cursor.startswith(_UNREAD):
            rev = (await self._log(None)).cursor or "" if cursor is None else cursor[1:]
            async for native, context in self._history(own):
                yield Arrival(Delivery(native, context), _UNREAD + rev, mode="backfill")
            yield Arrival(None, rev)
            cursor = rev
        try:
            async for arrival in self._logged(own, cursor):
                yield arrival
        except Refusal as refusal:
            if refusal.name != "InvalidRequest" or not cursor:
                raise
            async for each in self._read_instead(own, cursor):
                yield each

    async def _logged(self, own: str, cursor: str) -> AsyncGenerator[Arrival, None]:
        """Yield what the log holds behind a cursor."""
        for _ in range(ROUNDS):
            before, page = cursor, await self._log(cursor)
            for native in map(bytes, page.logs):
                head = _tried(_LOG_HEAD, native) or _LogHead()
                if head.rev and head.rev <= cursor:
                    continue
                cursor = head.rev or cursor
                context = {VIA: CHAT, CHANNEL: own, **await self._talked_to(own, head)}
                yield Arrival(Delivery(native, context), cursor)
            if page.cursor and page.cursor > cursor:
                cursor = page.cursor
                yield Arrival(None, cursor)
            if cursor == before:
                return

    async def _read_instead(self, own: str, cursor: str) -> AsyncGenerator[Arrival | Report, None]:
        """Read conversations where the log no longer knows our cursor."""
        key = f"log {cursor}"[:200]
        yield Gap(
            "cursor_invalid",
            "the log of direct messages no longer knows our cursor; conversations are read instead, "
            "without deletions and reactions",
            key=key,
            start=cursor,
        )
        rev = (await self._log(None)).cursor or ""
        async for native, context in self._history(own):
            yield Arrival(Delivery(native, context), cursor, mode="gap_fill")
        yield GapClosed(key, "partial", end=rev)
        yield Arrival(None, rev)

    async def _log(self, cursor: str | None) -> "_LogPage":
        query = [("cursor", cursor)] if cursor else []
        body = await self._ask_chat("chat.bsky.convo.getLog", query)
        page = _read(LOGS, body)
        return _LogPage([bytes(each) for each in page.logs], page.cursor)

    async def _history(self, own: str) -> AsyncGenerator[tuple[bytes, dict[str, str]], None]:
        """Yield the newest messages of every conversation, oldest first in each."""
        async for convo in self._convos():
            self._remember(convo)
            other = _other(own, convo.members)
            context = {VIA: CHAT, CHANNEL: own, CONVO: convo.id, **_shown(other)}
            query = [("convoId", convo.id), ("limit", str(PAGE))]
            body = await self._ask_chat("chat.bsky.convo.getMessages", query)
            for native in reversed(_read(MESSAGES, body).messages):
                yield bytes(native), context

    async def _convos(self) -> AsyncGenerator[_Convo, None]:
        after: str | None = None
        for _ in range(FIRST_PAGES):
            query = [("limit", str(PAGE)), *([("cursor", after)] if after else [])]
            page = _read(_CONVOS, await self._ask_chat("chat.bsky.convo.listConvos", query))
            for convo in page.convos:
                yield convo
            after = page.cursor
            if not after or not page.convos:
                return

    async def _talked_to(self, own: str, head: _LogHead) -> dict[str, str]:
        """Return whom a message of ours is for; the others' name their sender themselves."""
        sender = None if head.message is None else head.message.sender
        if sender is None or sender.did != own or not head.convo:
            return {}
        members = self._members.get(head.convo)
        if members is None:
            try:
                body = await self._ask_chat("chat.bsky.convo.getConvo", [("convoId", head.convo)])
            except Refusal:
                return {}
            found = _tried(_ONE_CONVO, body)
            if found is None:
                return {}
            members = found.convo.members
            self._remember(found.convo)
        return _shown(_other(own, members))

    def _remember(self, convo: _Convo) -> None:
        self._members[convo.id] = convo.members
        self._members.move_to_end(convo.id)
        if len(self._members) > CONVOS:
            self._members.popitem(last=False)

    async def _ask_chat(self, method: str, query: Query) -> bytes:
        try:
            return await self._account.ask(method, query, proxy=CHAT_SERVICE, channel=TALKS)
        except Refusal as refusal:
            if refusal.status in {401, 403} or refusal.name == "InvalidToken":
                raise CredentialsRejected(_NO_MESSAGES) from None
            raise

    # --- the doctor ----------------------------------------------------------------------------

    async def examined(self) -> list[Finding]:
        """Look at app password, notifications and messages."""
        findings = [
            await self._look(
                "credentials", NEWS, "make a new app password and set app_password to it"
            )
        ]
        if self._options.direct_messages and findings[0].state == "ok":
            findings.append(
                await self._look(
                    "permissions: direct messages",
                    TALKS,
                    "make an app password that allows direct messages, "
                    "or set direct_messages to false",
                )
            )
        return findings

    async def _look(self, check: str, channel: str, remedy: str) -> Finding:
        try:
            if channel == NEWS:
                await self._listed(self._tools.clock.now())
            else:
                await self._log(None)
        except CredentialsRejected as error:
            return Finding(check, "failed", str(error), remedy)
        except (SourceUnavailable, RateLimited) as error:
            return Finding(check, "unknown", str(error), "check service and the way there")
        return Finding(check, "ok", "the account's host grants it")


class _LogPage(msgspec.Struct):
    logs: list[bytes]
    cursor: str | None


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    found = _tried(decoder, body)
    if found is None:
        raise SourceUnavailable("Bluesky's answer is not what was asked for")
    return found


def _tried(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    try:
        return decoder.decode(body)
    except _BROKEN:
        return None


def _head(native: bytes) -> _Head:
    """Return what moves the cursor; what cannot be read moves nothing: the mapping refuses it."""
    return _tried(_HEAD, native) or _Head()


def _indexed(head: _Head) -> datetime | None:
    try:
        at = msgspec.convert(head.indexed_at, datetime)
    except msgspec.ValidationError:
        return None
    return None if at.tzinfo is None else at


def _moment(cursor: str | None) -> datetime | None:
    """Return the time in a cursor, None where history is still to be read.

    Raises:
        ConfigurationError: it is not one of ours.
    """
    if cursor is None or cursor.startswith(_UNREAD):
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(cursor.partition("|")[0]))
    except (ValueError, OverflowError):
        raise ConfigurationError("the stored cursor is not one of an account of Bluesky") from None


def _other(own: str, members: Sequence[Profile]) -> Profile | None:
    """Return whom we talk to; None in a group, where a word of ours is for nobody alone."""
    others = [each for each in members if each.did != own]
    return others[0] if len(others) == 1 else None


def _shown(other: Profile | None) -> dict[str, str]:
    if other is None:
        return {}
    told = ((OTHER, other.did), ("handle", other.handle), ("name", other.display_name))
    return {key: value for key, value in told if value}
