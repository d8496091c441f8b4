"""One connection to an IMAP server; every wait has a deadline, every answer a bound.

The protocol's Python clients do not fit: the asynchronous one is under the GPL, the standard
library's blocks a thread, knows no IDLE before Python 3.14, and takes a literal of whatever length a
server announces. What is spoken here is small; what it means is decided in `imap.py`.
"""

import asyncio
import contextlib
import re
import ssl
from typing import Final

from klingel.errors import CredentialsRejected, SourceUnavailable
from klingel_networks.email.imap import (
    Answer,
    Selected,
    Status,
    capabilities,
    folder_name,
    is_quotable,
    quoted,
    selected,
    status_of,
    xoauth2,
)

LINE_BYTES: Final = 16 << 20
"""A longer line is no answer: a search in two million mails is shorter."""
ANSWERS: Final = 20_000
"""More responses to one command are a flood."""
_LITERAL = re.compile(rb"\{(\d{1,19})\+?\}\r?\n\Z")


class Refused(Exception):
    """The server answers NO or BAD; `code` and `is_busy` are of its status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.state)
        self.code = status.code
        self.is_busy = status.is_busy


class Connection:
    """A connection on which one command runs at a time.

    Args:
        reader: of the socket.
        writer: of the socket.
        deadline: seconds that one answer may take.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadline: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._deadline = deadline
        self._tags = 0
        self.can: frozenset[str] = frozenset()
        self.folder: str | None = None
        self.opened: Selected | None = None

    @classmethod
    async def open(
        cls, host: str, port: int, security: str, deadline: float, trust: ssl.SSLContext
    ) -> "Connection":
        """Connect and greet.

        Args:
            host: name of the server.
            port: its port.
            security: `tls`, `starttls` or `none`.
            deadline: seconds that one answer may take.
            trust: whom to trust.

        Raises:
            SourceUnavailable: nobody answers, or not as an IMAP server.
        """
        try:
            async with asyncio.timeout(deadline):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=trust if security == "tls" else None, limit=LINE_BYTES
                )
        except (OSError, TimeoutError) as error:
            raise SourceUnavailable(
                f"the mail server does not answer ({type(error).__name__})"
            ) from None
        connection = cls(reader, writer, deadline)
        with contextlib.ExitStack() as refused:
            refused.callback(connection.drop)
            await connection._greet()
            if security == "starttls":
                await connection._start_tls(host, trust)
            refused.pop_all()
        return connection

    async def _greet(self) -> None:
        greeting = await self._answer(0)
        if status_of(greeting.text).state != "OK":
            raise SourceUnavailable("the mail server turns us away")
        await self._ask_abilities()

    async def _ask_abilities(self) -> None:
        self.can = capabilities(await self.command(b"CAPABILITY"))

    async def _start_tls(self, host: str, trust: ssl.SSLContext) -> None:
        if "STARTTLS" not in self.can:
            raise SourceUnavailable("the mail server offers no STARTTLS")
        await self.command(b"STARTTLS")
        # What came before the handshake is not to be believed after it (CVE-2011-0411).
        if self._reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - the stream has no public look into what it holds
            raise SourceUnavailable("the mail server speaks before the handshake")
        try:
            async with asyncio.timeout(self._deadline):
                await self._writer.start_tls(trust, server_hostname=host)
        except (OSError, TimeoutError) as error:
            raise SourceUnavailable(f"the TLS handshake fails ({type(error).__name__})") from None
        await self._ask_abilities()

    async def login(self, username: str, password: str) -> None:
        """Log in by password; raises CredentialsRejected, or SourceUnavailable while busy."""
        if "LOGINDISABLED" in self.can:
            raise CredentialsRejected(
                "the mail server takes no password on this connection; set security to tls"
            )
        pieces: list[bytes] = [b"LOGIN "]
        for each in (username, password):
            if is_quotable(each):
                pieces[-1] += quoted(each) + b" "
            else:
                secret = each.encode()
                pieces[-1] += b"{%d}" % len(secret)
                pieces.append(secret + b" ")
        pieces[-1] = pieces[-1].removesuffix(b" ")
        await self._log_in(pieces)

    async def login_by_token(self, username: str, token: str) -> None:
        """Log in by XOAUTH2; raises CredentialsRejected, or SourceUnavailable while busy."""
        if "AUTH=XOAUTH2" not in self.can:
            raise CredentialsRejected("the mail server takes no XOAUTH2; use a password")
        said = xoauth2(username, token).encode("ascii")
        if "SASL-IR" in self.can:
            await self._log_in([b"AUTHENTICATE XOAUTH2 " + said])
        else:
            await self._log_in([b"AUTHENTICATE XOAUTH2", said])

    async def _log_in(self, pieces: list[bytes]) -> None:
        try:
            await self.command(*pieces)
        except Refused as error:
            if error.is_busy:
                raise SourceUnavailable("the mail server is too busy for a login") from None
            raise CredentialsRejected(
                "the mail server refuses the login; check username, password or token, "
                "and whether IMAP is enabled for the mailbox"
            ) from None
        await self._ask_abilities()

    async def examine(self, folder: str) -> Selected:
        """Open a folder read-only; raises Refused, or SourceUnavailable without UIDVALIDITY."""
        tag = self._next_tag()
        await self._send(tag + b" EXAMINE " + folder_name(folder) + b"\r\n")
        answers, end = await self._until(tag, 0)
        if end.state != "OK":
            raise Refused(end)
        opened = selected(answers, end)
        if opened is None:
            raise SourceUnavailable("the mail server tells no UIDVALIDITY")
        self.folder, self.opened = folder, opened
        return opened

    async def command(self, *pieces: bytes, largest: int = 0) -> list[Answer]:
        """Run a command and return the responses before its end.

        Args:
            pieces: the command; each but the first waits until the server asks to go on.
            largest: bytes of the longest literal that is asked for.

        Raises:
            Refused: it answers NO or BAD.
            SourceUnavailable: it is away, silent, or sends more than was asked for.
        """
        tag = self._next_tag()
        await self._send(tag + b" " + pieces[0] + b"\r\n")
        answers, end = await self._until(tag, largest, list(pieces[1:]))
        if end.state != "OK":
            raise Refused(end)
        return answers

    async def wait(self, seconds: float) -> list[Answer]:
        """Idle until the server says something, at most so long; what it said until the end.

        Raises:
            Refused, SourceUnavailable: as `command`.
        """
        tag = self._next_tag()
        await self._send(tag + b" IDLE\r\n")
        heard: list[Answer] = []
        while not (answer := await self._answer(0)).text.startswith(b"+"):
            if answer.text.startswith(tag + b" "):
                raise Refused(status_of(answer.text[len(tag) + 1 :]))
            heard.append(answer)
        if not heard:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    heard.append(await self._answer(0, patient=True))
        await self._send(b"DONE\r\n")
        more, _ = await self._until(tag, 0)
        return [*heard, *more]

    async def leave(self) -> None:
        """Log out, if the server lets us, and close."""
        with contextlib.suppress(Refused, SourceUnavailable, TimeoutError):
            async with asyncio.timeout(min(2.0, self._deadline)):
                await self.command(b"LOGOUT")
        self.drop()

    def drop(self) -> None:
        """Close at once."""
        self._writer.close()

    def _next_tag(self) -> bytes:
        self._tags += 1
        return b"K%d" % self._tags

    async def _send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            async with asyncio.timeout(self._deadline):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise SourceUnavailable(f"the mail server is gone ({type(error).__name__})") from None

    async def _until(
        self, tag: bytes, largest: int, more: list[bytes] | None = None
    ) -> tuple[list[Answer], Status]:
        """Return the responses up to the end of a command, and that end."""
        answers: list[Answer] = []
        waiting = more or []
        while True:
            answer = await self._answer(largest)
            if answer.text.startswith(tag + b" "):
                return answers, status_of(answer.text[len(tag) + 1 :])
            if answer.text.startswith(b"+"):
                # A mechanism that fails asks once more: an empty line ends it (RFC 7628, 3.2.3).
                await self._send((waiting.pop(0) if waiting else b"") + b"\r\n")
                continue
            answers.append(answer)
            if len(answers) > ANSWERS:
                raise SourceUnavailable("the mail server answers without end")

    async def _answer(self, largest: int, *, patient: bool = False) -> Answer:
        """Return the next response; the marks of untagged ones are cut off.

        Raises:
            SourceUnavailable: silence beyond the deadline (unless patient), the end, or too much.
        """
        text = b""
        literals: list[bytes] = []
        while True:
            line = await self._line(patient=patient and not text)
            text += line
            announced = _LITERAL.search(line)
            if announced is None:
                return Answer(text.rstrip(b"\r\n").removeprefix(b"* "), tuple(literals))
            size = int(announced[1])
            if size > largest or len(text) > LINE_BYTES:
                raise SourceUnavailable("the mail server sends more than was asked for")
            literals.append(await self._exactly(size))

    async def _line(self, *, patient: bool) -> bytes:
        try:
            if patient:
                return await self._reader.readuntil(b"\n")
            async with asyncio.timeout(self._deadline):
                return await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise SourceUnavailable("the mail server sends a line without end") from None
        except TimeoutError:
            raise SourceUnavailable("the mail server fell silent") from None
        except (OSError, asyncio.IncompleteReadError):
            raise SourceUnavailable("the mail server ended the connection") from None

    async def _exactly(self, size: int) -> bytes:
        """Read a literal; the deadline counts anew as long as bytes come."""
        pieces: list[bytes] = []
        left = size
        while left:
            try:
                async with asyncio.timeout(self._deadline):
                    piece = await self._reader.read(min(left, 1 << 18))
            except TimeoutError:
                raise SourceUnavailable("the mail server fell silent within a mail") from None
            except OSError:
                piece = b""
            if not piece:
                raise SourceUnavailable("the mail server ended the connection within a mail")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
