"""Reads the folders of a mailbox over IMAP; changes nothing in it.

Folders are opened by EXAMINE and mails fetched by BODY.PEEK: nothing is marked, moved or deleted. One
folder is one channel with a cursor and a connection of its own, which stays open between rounds. A
round reads what is new in order of UID; where nothing is, it waits by IDLE, if the server can, and
reads what came. Servers that cannot are asked again in the next round.

- The mailbox is the log: after an outage the cursor goes on where it was.
- A new UIDVALIDITY makes all UIDs worthless. Then a gap is told, the folder is read again from some
  days before the newest mail that was heard, and the gap is closed. What was heard already has the
  same id: it is a duplicate, and opens nothing.
- What a mail refers to is looked for in all folders that are read, and put into its context; whom it
  concerns is decided in `threads.py`. What this process has read is remembered.
"""

import asyncio
import contextlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Final

from pydantic import SecretStr

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    RateLimited,
    RetryableError,
    SourceUnavailable,
)
from klingel_networks.arrival import (
    Arrival,
    Credential,
    Finding,
    Gap,
    GapClosed,
    Options,
    Report,
    Rest,
    Tools,
)
from klingel_networks.contract import Delivery
from klingel_networks.email.cursor import Position, first
from klingel_networks.email.imap import (
    CODES,
    Envelope,
    Selected,
    envelopes,
    fetched_body,
    found_uids,
    is_news,
    is_searchable,
    since,
)
from klingel_networks.email.login import OAuth, Tokens
from klingel_networks.email.mapping import (
    FLAGS,
    MAIL_BYTES,
    context_of,
    described,
    header_of,
    is_mailbox_name,
)
from klingel_networks.email.threads import (
    INTERNAL_DATE,
    RELATED,
    RELATED_MOST,
    Related,
    base_subject,
    is_answer,
    references,
    written,
)
from klingel_networks.email.wire import Connection, Refused

POLL_SECONDS: Final = 30.0
"""How often a server is asked that cannot tell by itself."""
BATCH: Final = 100
"""Mails whose envelopes are asked for at once."""
REMEMBERED: Final = 20_000
"""Mails of which it is remembered who takes part, so that answers to them need no search."""
SUBJECT_DAYS: Final = 30
"""So far back an answer without references may answer a mail of its subject."""
_CANDIDATES = 5
_SECURITY = ("tls", "starttls", "none")
_LOOKING = ""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What to read, and how.

    Attributes:
        name: scope of all object ids, and the channel of all events.
        host: IMAP server.
        port: its port.
        security: `tls`, `starttls` or `none`.
        username: login name.
        password: used without `oauth`.
        oauth: where access tokens come from.
        folders: to read.
        own: the brand's addresses.
        key: of the ids of people.
        history_days: how far back the first start reads.
        deadline: seconds that an answer may take.
        idle: seconds of one wait for new mails.
        trust: whose certificates are trusted; the system's without.
    """

    name: str
    host: str
    port: int
    username: str
    folders: tuple[str, ...]
    own: tuple[str, ...]
    key: bytes = field(repr=False)
    security: str = "tls"
    password: str = field(default="", repr=False)
    oauth: OAuth | None = None
    history_days: int = 0
    deadline: float = 60.0
    idle: float = 540.0
    trust: ssl.SSLContext | None = field(default=None, repr=False, compare=False)


def connect(options: Options, tools: Tools) -> "EmailClient":
    """Return the client of a mailbox; raises ConfigurationError."""
    return EmailClient(mailbox_of(options), tools)


def mailbox_of(options: Options) -> Mailbox:
    """Return what the settings say.

    Raises:
        ConfigurationError: one of them cannot be; the sentence names it, never its value.
    """
    security = _text(options, "security") or "tls"
    if security not in _SECURITY:
        raise ConfigurationError(f"email.security must be one of {', '.join(_SECURITY)}")
    mailbox = Mailbox(
        name=_text(options, "mailbox"),
        host=_text(options, "host"),
        port=_number(options, "port", 993),
        security=security,
        username=_text(options, "username"),
        password=_text(options, "password"),
        oauth=_oauth(options),
        folders=_listed(options, "folders"),
        own=tuple(each.lower() for each in _listed(options, "own_addresses")),
        key=_text(options, "address_key").encode(),
        history_days=_number(options, "history_days", 0),
        deadline=float(_number(options, "deadline_seconds", 60)),
        idle=float(_number(options, "idle_seconds", 540)),
    )
    for is_wrong, sentence in _faults(mailbox):
        if is_wrong:
            raise ConfigurationError(sentence)
    return mailbox


def _faults(mailbox: Mailbox) -> Iterator[tuple[bool, str]]:
    """Yield what may be wrong with settings that fit their types."""
    folders = mailbox.folders
    local = mailbox.host in {"localhost", "127.0.0.1", "::1"}
    yield (
        not is_mailbox_name(mailbox.name),
        "email.mailbox must be letters, digits, dots, dashes, underscores, plus or at signs",
    )
    yield not 16 <= len(mailbox.key) <= 64, "email.address_key must have 16 to 64 bytes"
    yield (
        not folders or len(set(folders)) != len(folders),
        "email.folders must name at least one folder, each once",
    )
    yield (
        any("|" in each or len(each) > 120 or not each.isprintable() for each in folders),
        "email.folders: a name is longer than 120 characters or holds | or control characters",
    )
    yield (
        not mailbox.own or any("@" not in each or " " in each for each in mailbox.own),
        "email.own_addresses must be e-mail addresses, separated by commas",
    )
    yield (
        mailbox.oauth is None and not mailbox.password,
        "email needs a password or an oauth_refresh_token",
    )
    yield (
        mailbox.security == "none" and not local,
        "email.security none is only for a server on the same machine",
    )
    yield not 1 <= mailbox.deadline <= 600, "email.deadline_seconds must be 1 to 600"
    yield not 1 <= mailbox.idle <= 1700, "email.idle_seconds must be 1 to 1700"
    yield not 0 <= mailbox.history_days <= 36_500, "email.history_days must be 0 to 36500"


def _oauth(options: Options) -> OAuth | None:
    token = _text(options, "oauth_refresh_token")
    if not token:
        return None
    url, client_id = _text(options, "oauth_token_url"), _text(options, "oauth_client_id")
    if not url.startswith(("https://", "http://127.0.0.1:")) or not client_id:
        raise ConfigurationError(
            "email.oauth_token_url (https) and email.oauth_client_id belong to a refresh token"
        )
    return OAuth(
        url=url,
        client_id=client_id,
        client_secret=_text(options, "oauth_client_secret"),
        refresh_token=token,
        scope=_text(options, "oauth_scope"),
    )


def _text(options: Options, name: str) -> str:
    value = options.get(name)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value is None else str(value).strip()


def _number(options: Options, name: str, default: int) -> int:
    value = options.get(name)
    return value if isinstance(value, int) else default


def _listed(options: Options, name: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, _text(options, name).split(","))))


class EmailClient:
    """One mailbox; a channel is a folder.

    Args:
        mailbox: what to read.
        tools: time and limits.
    """

    def __init__(self, mailbox: Mailbox, tools: Tools) -> None:
        self.source = mailbox.name
        self._mailbox = mailbox
        self._tools = tools
        self._connections: dict[str, Connection] = {}
        self._looking = asyncio.Lock()
        self._remembered: OrderedDict[str, list[Related]] = OrderedDict()
        self._trust = mailbox.trust or ssl.create_default_context()
        oauth = mailbox.oauth
        self._tokens = None if oauth is None else Tokens(oauth, tools.clock, mailbox.deadline)

    def channels(self) -> Sequence[str]:
        """Return the folders."""
        return self._mailbox.folders

    async def poll(
        self, channel: str, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield the mails that came to a folder since the cursor, waiting for some by IDLE.

        Raises:
            SourceUnavailable: the server is away, silent, or speaks no IMAP.
            RateLimited: it wants fewer connections.
            CredentialsRejected: it refuses the login.
            ConfigurationError: there is no such folder.
        """
        kept = False
        try:
            connection = await self._connected(channel)
            if self._tokens is not None:
                yield self._credential()
            opened = await self._opened(connection, channel)
            async with aclosing(self._round(connection, channel, opened, cursor)) as arrivals:
                async for each in arrivals:
                    yield each
            kept = True
        except Refused as error:
            raise self._away(error) from None
        finally:
            if not kept:
                self._drop(channel)

    async def close(self) -> None:
        """Log out of all connections."""
        for channel in list(self._connections):
            await self._connections.pop(channel).leave()

    # --- a round -------------------------------------------------------------------------------

    async def _round(
        self, connection: Connection, channel: str, opened: Selected, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        if cursor is None:
            position = await self._beginning(connection, opened)
            yield Arrival(None, position.encode())
        else:
            position = Position.decode(cursor)
        if position.validity != opened.validity:
            position = position.renewed(opened.validity)
            yield _opened_gap(channel, position, cursor)
            yield Arrival(None, position.encode())
        heard = False
        async with aclosing(self._news(connection, position)) as news:
            async for arrival in news:
                heard = True
                position = Position.decode(arrival.cursor)
                yield arrival
        if position.reading or position.history:
            key, reread = _gap_key(channel, position), bool(position.reading)
            position = position.caught_up()
            if reread:
                yield GapClosed(key, "filled", position.encode(), position.newest)
            yield Arrival(None, position.encode())
            return
        if heard:
            return
        if "IDLE" not in connection.can:
            yield Rest(POLL_SECONDS)
            return
        answers = await connection.wait(self._mailbox.idle)
        if any(map(is_news, answers)):
            async with aclosing(self._news(connection, position)) as news:
                async for arrival in news:
                    yield arrival

    async def _beginning(self, connection: Connection, opened: Selected) -> Position:
        """Return where to begin in a folder that was never read."""
        next_uid = opened.next_uid
        if next_uid is None:
            next_uid = max(await self._uids(connection, "ALL"), default=0) + 1
        days = self._mailbox.history_days
        return first(opened.validity, next_uid, self._tools.clock.now(), days)

    async def _news(
        self, connection: Connection, position: Position
    ) -> AsyncGenerator[Arrival, None]:
        """Yield the mails behind a position, in order of UID."""
        for batch in _batches(await self._behind(connection, position)):
            # One that was deleted meanwhile is missing; there is nothing to hear of it.
            for each in await self._envelopes(connection, batch):
                body = await self._body(connection, each.uid, each.size)
                position = position.after(each.uid, each.received_at)
                if body is None:
                    continue
                context = await self._context(body, each, connection.folder or "")
                yield Arrival(
                    Delivery(body, context),
                    position.encode(),
                    mode=position.mode(each.received_at),
                )

    async def _behind(self, connection: Connection, position: Position) -> list[int]:
        """Return the UIDs behind a position; `n:*` names the last mail also where it is older."""
        wanted = f"UID {position.uid + 1}:*"
        if position.history and not position.reading:
            start = self._tools.clock.now() - timedelta(days=self._mailbox.history_days)
            wanted += f" SINCE {since(start)}"
        elif position.read_since is not None:
            wanted += f" SINCE {since(position.read_since)}"
        return [uid for uid in await self._uids(connection, wanted) if uid > position.uid]

    @staticmethod
    async def _uids(connection: Connection, wanted: str, *literals: bytes) -> list[int]:
        return found_uids(await connection.command(b"UID SEARCH " + wanted.encode(), *literals))

    @staticmethod
    async def _envelopes(connection: Connection, uids: Sequence[int]) -> list[Envelope]:
        """Return what the server says of some mails, in order of UID."""
        if not uids:
            return []
        wanted = b",".join(b"%d" % uid for uid in sorted(set(uids)))
        answers = await connection.command(
            b"UID FETCH " + wanted + b" (UID FLAGS INTERNALDATE RFC822.SIZE)"
        )
        found = {each.uid: each for each in envelopes(answers) if each.uid in uids}
        return [found[uid] for uid in sorted(found)]

    @staticmethod
    async def _body(connection: Connection, uid: int, size: int) -> bytes | None:
        """Return a mail, of one that is too long the beginning; None where it is gone."""
        part = b"" if size <= MAIL_BYTES else b"<0.%d>" % MAIL_BYTES
        answers = await connection.command(
            b"UID FETCH %d (UID BODY.PEEK[]%s)" % (uid, part), largest=MAIL_BYTES
        )
        return fetched_body(answers, uid)

    # --- context -------------------------------------------------------------------------------

    async def _context(self, body: bytes, envelope: Envelope, folder: str) -> dict[str, str]:
        mailbox = self._mailbox
        context = self._told(envelope, folder)
        try:
            context |= context_of(body, mailbox.own, mailbox.key)
            found = await self._related(body)
            if found:
                context[RELATED] = written(found)
            self._remember(described(body, context))
        except InvalidMessage:
            return context  # the mapping refuses it with its reason
        return context

    def _told(self, envelope: Envelope, folder: str) -> dict[str, str]:
        """Return what the server says of a mail, as context."""
        name = self._mailbox.name
        context = {"source": name, "channel": name, "folder": folder, "uid": str(envelope.uid)}
        if envelope.flags:
            context[FLAGS] = " ".join(envelope.flags)
        if envelope.received_at is not None:
            context[INTERNAL_DATE] = format_datetime(envelope.received_at)
        return context

    async def _related(self, body: bytes) -> list[Related]:
        """Return the mails of this mailbox that a mail refers to."""
        header, _ = header_of(body)
        listed = references(header)
        wanted = dict.fromkeys([*listed[:1], *listed[1 - RELATED_MOST :]])
        found: list[Related] = []
        for message_id in wanted:
            known = self._remembered.get(message_id)
            if known is None and is_searchable(message_id):
                known = await self._searched(f'HEADER Message-ID "{message_id}"')
                known = [each for each in known if each.mid == message_id]
                # Also that there is none: whatever comes later is noted as it comes.
                self._remembered.setdefault(message_id, [])
            found += known or []
        subject = header.text("subject")
        if not listed and is_answer(subject) and base_subject(subject):
            start = since(self._tools.clock.now() - timedelta(days=SUBJECT_DAYS))
            words = base_subject(subject)[:200].encode()
            announced = f"CHARSET UTF-8 SINCE {start} SUBJECT {{{len(words)}}}"
            found += await self._searched(announced, words)
        return found

    def _remember(self, related: Related) -> None:
        if not related.mid:
            return
        known = self._remembered.setdefault(related.mid, [])
        if related not in known and len(known) < _CANDIDATES:
            known.append(related)
        self._remembered.move_to_end(related.mid)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    async def _searched(self, wanted: str, *literals: bytes) -> list[Related]:
        """Look for mails in all folders that are read, on a connection of its own."""
        found: list[Related] = []
        async with self._looking:
            kept = False
            try:
                connection = await self._connected(_LOOKING)
                for folder in self._mailbox.folders:
                    found += await self._searched_in(connection, folder, wanted, literals)
                kept = True
            finally:
                if not kept:
                    self._drop(_LOOKING)
        return found

    async def _searched_in(
        self, connection: Connection, folder: str, wanted: str, literals: tuple[bytes, ...]
    ) -> list[Related]:
        if connection.folder != folder:
            await connection.examine(folder)
        try:
            uids = await self._uids(connection, wanted, *literals)
        except Refused:
            return []  # a server that cannot search so; the mail is told without
        found = []
        for each in await self._envelopes(connection, uids[:_CANDIDATES] + uids[-_CANDIDATES:]):
            body = await self._body(connection, each.uid, each.size)
            if body is None:
                continue
            with contextlib.suppress(InvalidMessage):
                context = self._told(each, folder)
                context |= context_of(body, self._mailbox.own, self._mailbox.key)
                related = described(body, context)
                found.append(related)
                self._remember(related)
        return found

    # --- connections ---------------------------------------------------------------------------

    async def _connected(self, channel: str) -> Connection:
        """Return the channel's connection, logged in."""
        connection = self._connections.get(channel)
        if connection is None:
            mailbox = self._mailbox
            await self._tools.permits.ask("connections", channel)
            connection = await Connection.open(
                mailbox.host, mailbox.port, mailbox.security, mailbox.deadline, self._trust
            )
            with contextlib.ExitStack() as refused:
                refused.callback(connection.drop)
                await self._log_in(connection)
                refused.pop_all()
            self._connections[channel] = connection
        return connection

    async def _log_in(self, connection: Connection) -> None:
        mailbox = self._mailbox
        if self._tokens is None:
            await connection.login(mailbox.username, mailbox.password)
            return
        try:
            await connection.login_by_token(mailbox.username, await self._tokens.token())
        except CredentialsRejected:
            # An access token may be withdrawn before its time; whether the refresh token was, too,
            # the next renewal tells.
            self._tokens.forget()
            await connection.login_by_token(mailbox.username, await self._tokens.token())

    async def _opened(self, connection: Connection, channel: str) -> Selected:
        """Return the folder, opened anew: only so another UIDVALIDITY is noticed."""
        try:
            return await connection.examine(channel)
        except Refused as error:
            if error.is_busy:
                raise
            raise ConfigurationError(
                "the mailbox has no folder of one of the names in email.folders"
            ) from None

    def _credential(self) -> Credential:
        """Return how the tokens stand; access tokens end often and are renewed by themselves."""
        failed = self._tokens is not None and self._tokens.renewal_failed
        said = "the token endpoint cannot be reached; the present token still holds"
        return Credential(refresh_failed=failed, sentence=said if failed else "")

    def _away(self, error: Refused) -> RetryableError:
        if error.code in {"LIMIT", "THROTTLED", "OVERQUOTA"}:
            wait = self._tools.permits.refused("connections", None)
            return RateLimited("the mail server wants fewer requests", retry_after=wait)
        code = error.code if error.code in CODES else "no code"
        return SourceUnavailable(f"the mail server refuses a command ({code})")

    def _drop(self, channel: str) -> None:
        connection = self._connections.pop(channel, None)
        if connection is not None:
            connection.drop()


def _batches(uids: list[int]) -> list[list[int]]:
    return [uids[at : at + BATCH] for at in range(0, len(uids), BATCH)]


def _gap_key(channel: str, position: Position) -> str:
    return f"{channel}:{position.reading}"


def _opened_gap(channel: str, position: Position, cursor: str | None) -> Gap:
    return Gap(
        "cursor_invalid",
        "the mail server counts the folder anew (UIDVALIDITY); it is read again from some days "
        "before its newest known mail",
        key=_gap_key(channel, position),
        start=cursor,
        began_at=position.newest,
    )


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Return what `klingel doctor` finds: address and TLS, login, each folder, IDLE."""
    try:
        mailbox = mailbox_of(options)
    except ConfigurationError as error:
        return [Finding("settings", "failed", str(error), "Correct the setting that it names.")]
    client = EmailClient(mailbox, tools)
    try:
        connection = await client._connected(_LOOKING)  # noqa: SLF001 - of this module
    except CredentialsRejected as error:
        remedy = (
            "Check username and password or token, and whether IMAP is enabled for the mailbox."
        )
        return [Finding("credentials", "failed", str(error), remedy)]
    except (RetryableError, Refused) as error:
        remedy = "Check host, port and security, and whether a firewall lets the port through."
        return [Finding("server", "failed", str(error) or "the server refuses us", remedy)]
    findings = [
        Finding("server", "ok", "The mail server answers."),
        Finding("credentials", "ok", "The login is accepted."),
    ]
    try:
        for number, folder in enumerate(mailbox.folders, 1):
            findings.append(await _examined(connection, number, folder))
    except SourceUnavailable as error:
        findings.append(Finding("permissions", "unknown", str(error), "Ask again in a minute."))
    if "IDLE" in connection.can:
        findings.append(Finding("subscription", "ok", "The server tells new mails at once (IDLE)."))
    else:
        remedy = "Nothing needs to be done; mails come with the next poll."
        findings.append(Finding("subscription", "warning", "The server knows no IDLE.", remedy))
    await client.close()
    return findings


async def _examined(connection: Connection, number: int, folder: str) -> Finding:
    try:
        opened = await connection.examine(folder)
    except Refused:
        said = f"Folder {number} of email.folders cannot be opened."
        return Finding(
            "permissions", "failed", said, "Correct its name, or let this login read it."
        )
    if not opened.read_only:
        said = f"Folder {number} is opened, but not confirmed as read-only."
        return Finding(
            "permissions", "warning", said, "Nothing: mails are read without marking them."
        )
    return Finding("permissions", "ok", f"Folder {number} is read, read-only.")
