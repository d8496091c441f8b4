"""A mail server that speaks IMAP4rev1 over real sockets, in memory; it misbehaves on command.

It stands in for a provider in the demo and in tests. It knows what a reader needs (RFC 3501: LOGIN,
EXAMINE, UID SEARCH, UID FETCH; RFC 2177: IDLE; SASL-IR with XOAUTH2), and it notes what a reader must
never do: open a folder for writing, fetch a body without PEEK, change anything.

    server = MailServer()
    await server.start()
    server.folder("INBOX").add(b"From: …")
    server.faults.silent = True
"""

import asyncio
import base64
import contextlib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

CAPABILITY: Final = "IMAP4rev1 SASL-IR AUTH=XOAUTH2"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LITERAL = re.compile(rb"\{(\d{1,9})(\+?)\}\r\n\Z")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_RANGE = re.compile(r"(\d+|\*)(?::(\d+|\*))?")
_PARTIAL = re.compile(r"BODY(\.PEEK)?\[\](?:<0\.(\d+)>)?")

_REMEMBERED = 10_000
"""Commands that a test may ask for."""


@dataclass(slots=True)
class StoredMail:
    """A mail in a folder.

    Attributes:
        uid: within the folder.
        content: as it is.
        received_at: INTERNALDATE, aware.
        flags: such as `$Junk`.
    """

    uid: int
    content: bytes
    received_at: datetime
    flags: tuple[str, ...] = ()


@dataclass(slots=True)
class Folder:
    """A folder; UIDs rise and are given once under one UIDVALIDITY.

    Attributes:
        most: mails that it keeps; older ones are cleared away. None for all.
    """

    validity: int = 1
    next_uid: int = 1
    most: int | None = None
    mails: list[StoredMail] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(
        self,
        content: bytes,
        received_at: datetime | None = None,
        flags: tuple[str, ...] = (),
    ) -> int:
        """Put a mail in; returns its UID. Whoever idles hears of it."""
        stored = StoredMail(self.next_uid, content, received_at or datetime.now(UTC), flags)
        self.mails.append(stored)
        if self.most is not None and len(self.mails) > self.most:
            self.mails = self.mails[-self.most :]
        self.next_uid += 1
        self._ring()
        return stored.uid

    def remove(self, uid: int) -> None:
        """Delete a mail."""
        self.mails = [each for each in self.mails if each.uid != uid]
        self._ring()

    def count_anew(self, validity: int) -> None:
        """Give every mail another UID under another UIDVALIDITY, as after a restore."""
        self.validity = validity
        self.next_uid = 1
        for each in self.mails:
            each.uid = self.next_uid
            self.next_uid += 1

    def _ring(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(slots=True)
class Faults:
    """How the server misbehaves; each until it is taken back.

    Attributes:
        silent: it reads and does not answer.
        turned_away: greeting by BYE.
        login_code: a login is answered `NO [code]`.
        cut_body_at: within a mail the connection ends after so many bytes; None never.
        half_line: an answer ends in the midst of a line.
        endless_line: an answer is a line without end.
        claimed_literal: a mail is announced with so many bytes; None truly.
        flood: so many untagged answers come before each end.
        no_idle: IDLE is not offered.
        no_search: searches for words are refused.
        limit: commands are answered `NO [LIMIT]`.
    """

    silent: bool = False
    turned_away: bool = False
    login_code: str = ""
    cut_body_at: int | None = None
    half_line: bool = False
    endless_line: bool = False
    claimed_literal: int | None = None
    flood: int = 0
    no_idle: bool = False
    no_search: bool = False
    limit: bool = False


class _Cut(Exception):
    """The connection ends here."""


class MailServer:
    """The server.

    Args:
        username: of the one login.
        password: of the login.
    """

    def __init__(self, username: str = "service", password: str = "secret") -> None:  # noqa: S107 - of a stand-in
        self.username = username
        self.password = password
        self.tokens: set[str] = set()
        self.faults = Faults()
        self.folders: dict[str, Folder] = {"INBOX": Folder()}
        self.offences: list[str] = []
        self.commands: deque[str] = deque(maxlen=_REMEMBERED)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def folder(self, name: str) -> Folder:
        """Return a folder, made where there is none."""
        return self.folders.setdefault(name, Folder())

    async def start(self, port: int = 0) -> None:
        """Listen on the loopback; `port` 0 takes a free one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections and listen no more."""
        if self._server is not None:
            self._server.close()
            self.cut()
            for each in self._serving:
                each.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await self._server.wait_closed()

    def cut(self) -> None:
        """End all connections."""
        for writer in list(self._writers):
            writer.close()

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._writers)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: the streams' would report its cancellation as an error.
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.faults.turned_away:
                writer.write(b"* BYE Too many connections\r\n")
                return
            writer.write(f"* OK [CAPABILITY {CAPABILITY}] ready\r\n".encode())
            await _Session(self, reader, writer).run()
        except (OSError, asyncio.IncompleteReadError, _Cut):
            pass
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()


class _Session:
    def __init__(
        self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.folder: Folder | None = None
        self.logged_in = False

    @property
    def faults(self) -> Faults:
        return self.server.faults

    async def run(self) -> None:
        while True:
            words = await self._command()
            tag, name = words[0], words[1].upper() if len(words) > 1 else ""
            self.server.commands.append(" ".join(words[1:3]))
            if self.faults.silent:
                await asyncio.Event().wait()
            if self.faults.half_line:
                self.writer.write(b"* 1 EXI")
                raise _Cut
            if self.faults.endless_line:
                await self._endless()
            for _ in range(self.faults.flood):
                self.writer.write(b"* OK still here\r\n")
            try:
                end = await self._done(name, words[2:])
            except (ValueError, IndexError):
                end = "BAD what is that"
            self.writer.write(f"{tag} {end}\r\n".encode())
            await self.writer.drain()
            if name == "LOGOUT":
                return

    async def _endless(self) -> None:
        while True:
            self.writer.write(b"* " + b"x" * (1 << 20))
            await self.writer.drain()

    async def _command(self) -> list[str]:
        """Read a command with its literals, as words."""
        words: list[str] = []
        while True:
            line = await self.reader.readuntil(b"\r\n")
            announced = _LITERAL.search(line)
            text = (line[: announced.start()] if announced else line).decode()
            for found in _WORD.finditer(text):
                quoted = found[1] is not None
                words.append(re.sub(r"\\(.)", r"\1", found[1]) if quoted else found[2])
            if announced is None:
                return words or [""]
            if not announced[2]:
                self.writer.write(b"+ go on\r\n")
            words.append((await self.reader.readexactly(int(announced[1]))).decode())

    async def _done(self, name: str, words: list[str]) -> str:
        """Run a command; returns what ends it."""
        end = "OK done"
        if name == "CAPABILITY":
            idle = "" if self.faults.no_idle else " IDLE"
            self.writer.write(f"* CAPABILITY {CAPABILITY}{idle}\r\n".encode())
        elif name in {"LOGIN", "AUTHENTICATE"}:
            end = await self._log_in(name, words)
        elif name not in {"NOOP", "LOGOUT"}:
            end = await self._logged_in(name, words)
        return end

    async def _logged_in(self, name: str, words: list[str]) -> str:
        if not self.logged_in:
            return "BAD log in first"
        if self.faults.limit:
            return "NO [LIMIT] not now"
        if name in {"EXAMINE", "SELECT"}:
            return self._open(name, words)
        return await self._opened(name, words)

    async def _opened(self, name: str, words: list[str]) -> str:
        if self.folder is None:
            return "BAD open a folder first"
        if name == "IDLE":
            return await self._idle(self.folder)
        if name == "UID" and words[:1] == ["SEARCH"]:
            return self._search(self.folder, words[1:])
        if name == "UID" and words[:1] == ["FETCH"]:
            return self._fetch(self.folder, words[1], " ".join(words[2:]))
        self.server.offences.append(f"{name} {' '.join(words[:1])}".strip())
        return "BAD unknown"

    async def _log_in(self, name: str, words: list[str]) -> str:
        if self.faults.login_code:
            return f"NO [{self.faults.login_code}] refused"
        if name == "LOGIN":
            self.logged_in = words == [self.server.username, self.server.password]
            return "OK in" if self.logged_in else "NO [AUTHENTICATIONFAILED] wrong"
        if len(words) == 1:  # without an initial response
            self.writer.write(b"+ \r\n")
            words.append((await self.reader.readuntil(b"\r\n")).decode().strip())
        said = base64.b64decode(words[1]).decode()
        token = said.partition("Bearer ")[2].rstrip("\x01")
        self.logged_in = (
            said.startswith(f"user={self.server.username}\x01") and token in self.server.tokens
        )
        if self.logged_in:
            return "OK in"
        self.writer.write(b"+ " + base64.b64encode(b'{"status":"400"}') + b"\r\n")
        await self.reader.readuntil(b"\r\n")
        return "NO [AUTHENTICATIONFAILED] wrong"

    def _open(self, name: str, words: list[str]) -> str:
        if name == "SELECT":
            self.server.offences.append("SELECT")
        folder = self.server.folders.get(words[0])
        if folder is None:
            return "NO [NONEXISTENT] no such folder"
        self.folder = folder
        self.writer.write(
            f"* {len(folder.mails)} EXISTS\r\n"
            f"* OK [UIDVALIDITY {folder.validity}] valid\r\n"
            f"* OK [UIDNEXT {folder.next_uid}] next\r\n".encode()
        )
        return "OK [READ-ONLY] open" if name == "EXAMINE" else "OK [READ-WRITE] open"

    async def _idle(self, folder: Folder) -> str:
        self.writer.write(b"+ idling\r\n")
        await self.writer.drain()
        done = asyncio.ensure_future(self.reader.readuntil(b"\r\n"))
        changed = asyncio.ensure_future(folder.changed.wait())
        try:
            await asyncio.wait([done, changed], return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                self.writer.write(f"* {len(folder.mails)} EXISTS\r\n".encode())
            await done
        finally:
            changed.cancel()
            done.cancel()
        return "OK idled"

    def _search(self, folder: Folder, words: list[str]) -> str:
        if self.faults.no_search and not {"SUBJECT", "HEADER"}.isdisjoint(words):
            return "NO [CANNOT] not here"
        found = " ".join(str(each.uid) for each in folder.mails if _matches(folder, each, words))
        self.writer.write(f"* SEARCH {found}".rstrip().encode() + b"\r\n")
        return "OK found"

    def _fetch(self, folder: Folder, listed: str, items: str) -> str:
        wanted = set(_numbers(listed, folder))
        body = _PARTIAL.search(items)
        if body is not None and body[1] is None:
            self.server.offences.append("FETCH BODY without PEEK")
        for number, each in enumerate(folder.mails, 1):
            if each.uid not in wanted:
                continue
            told = (
                f"* {number} FETCH (UID {each.uid} FLAGS ({' '.join(each.flags)}) "
                f'INTERNALDATE "{_internal(each.received_at)}" RFC822.SIZE {len(each.content)}'
            )
            if body is None:
                self.writer.write(told.encode() + b")\r\n")
                continue
            content = each.content[: int(body[2])] if body[2] else each.content
            part = "<0>" if body[2] else ""
            size = self.faults.claimed_literal or len(content)
            self.writer.write(f"{told} BODY[]{part} {{{size}}}\r\n".encode())
            if self.faults.cut_body_at is not None:
                self.writer.write(content[: self.faults.cut_body_at])
                raise _Cut
            self.writer.write(content + b")\r\n")
        return "OK fetched"


def _internal(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f"{at.day:2}-{_MONTHS[at.month - 1]}-{at.year:04} {at:%H:%M:%S} +0000"


def _numbers(listed: str, folder: Folder) -> Iterator[int]:
    last = max((each.uid for each in folder.mails), default=0)
    for found in _RANGE.finditer(listed):
        ends = [last if end == "*" else int(end) for end in (found[1], found[2] or found[1])]
        yield from range(min(ends), min(max(ends), last) + 1)


def _matches(folder: Folder, mail: StoredMail, words: list[str]) -> bool:
    """Whether a mail fits all keys of a search."""
    rest = list(words)
    while rest:
        key = rest.pop(0).upper()
        if key == "CHARSET":
            rest.pop(0)
        elif key == "UID":
            if mail.uid not in set(_numbers(rest.pop(0), folder)):
                return False
        elif key == "SINCE":
            day = parsedate_to_datetime(rest.pop(0).replace("-", " ") + " 00:00:00 +0000")
            if mail.received_at < day:
                return False
        elif key == "HEADER":
            name, value = rest.pop(0), rest.pop(0)
            if value.lower() not in _field(mail, name):
                return False
        elif key == "SUBJECT" and rest.pop(0).lower() not in _field(mail, "Subject"):
            return False
    return True


def _field(mail: StoredMail, name: str) -> str:
    head = mail.content.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("utf-8", "replace")
    for line in head.split("\n"):
        if line.lower().startswith(name.lower() + ":"):
            return line.partition(":")[2].strip().lower()
    return ""
