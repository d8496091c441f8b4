"""Mail over SMTP: one transaction for all recipients, all of them or later.

The standard library's client in a thread: mails are few, and asyncio's own would be one more
dependency for a protocol that blocks for milliseconds.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from klingel_notifier.letters import Letter, mail_of
from klingel_notifier.senders import Accepted, Failed, Receipt, Refused

_STEPS = 4
"""An attempt takes so many timeouts at most; a healthy one takes none."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """How to reach the mail server.

    Attributes:
        host: name or address.
        port: port.
        security: starttls and tls check the certificate; none is for a server on this machine.
        sender: address that mails come from.
        username: None sends without authentication.
        password: of that user.
        ca_certs: certificate authority, None for the machine's own.
        timeout_seconds: for each answer.
    """

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    sender: str
    username: str | None = None
    password: str | None = None
    ca_certs: Path | None = None
    timeout_seconds: float = 10.0

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port})"


class SmtpSender:
    """Sends a letter as one mail.

    Args:
        server: where to.
        recipients: who gets it.
    """

    def __init__(self, server: MailServer, recipients: Sequence[str]) -> None:
        self._server = server
        self._recipients = tuple(recipients)

    async def send(self, letter: Letter) -> Receipt:
        """Make one attempt."""
        mail = mail_of(letter, self._server.sender, self._recipients)
        attempt = asyncio.ensure_future(
            asyncio.to_thread(_attempt, self._server, mail, self._recipients)
        )
        # A server that drips its answers keeps within every single timeout.
        done, _ = await asyncio.wait({attempt}, timeout=_STEPS * self._server.timeout_seconds)
        return attempt.result() if done else Failed("no_answer", unsure=True)


def _attempt(server: MailServer, mail: EmailMessage, recipients: Sequence[str]) -> Receipt:
    """Make one attempt; blocks, and never raises what the network can cause."""
    progress = _Progress()
    try:
        with _connected(server) as client:
            return _transaction(client, server.sender, recipients, mail, progress)
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        return _meaning(error, sent=progress.sent)


def _meaning(error: Exception, *, sent: bool) -> Receipt:
    """Return what it means that an attempt broke off.

    Args:
        error: why.
        sent: whether the mail itself was on its way.
    """
    match error:
        case UnicodeError():
            return Refused("an address that is not ASCII")
        case smtplib.SMTPDataError():
            return _answer(error.smtp_code)
        case smtplib.SMTPAuthenticationError():
            # A person mends that, and the mail is fine.
            return Failed("credentials")
        case smtplib.SMTPServerDisconnected():
            return Failed("no_answer", unsure=sent)
        case smtplib.SMTPResponseException() if error.smtp_code < 500:
            return Failed("busy")
    # Also ssl.SSLError and timeouts.
    return Failed("no_answer" if sent else "unreachable", unsure=sent)


@dataclass(slots=True)
class _Progress:
    """Whether the mail itself went out, so that the server may have it."""

    sent: bool = False


class _Connected:
    """A session with the server: encrypted and authenticated; `quit` at its end cannot fail."""

    def __init__(self, client: smtplib.SMTP) -> None:
        self._client = client

    def __enter__(self) -> smtplib.SMTP:
        return self._client

    def __exit__(self, *_error: object) -> None:
        try:
            self._client.quit()
        except (smtplib.SMTPException, OSError):
            self._client.close()


def _connected(server: MailServer) -> _Connected:
    context = ssl.create_default_context(cafile=server.ca_certs)
    host, port, seconds = server.host, server.port, server.timeout_seconds
    client: smtplib.SMTP
    if server.security == "tls":
        client = smtplib.SMTP_SSL(host, port, timeout=seconds, context=context)
    else:
        client = smtplib.SMTP(host, port, timeout=seconds)
    try:
        if server.security == "starttls":
            client.starttls(context=context)
        if server.username is not None:
            client.login(server.username, server.password or "")
    except (smtplib.SMTPException, OSError):
        client.close()
        raise
    return _Connected(client)


def _transaction(
    client: smtplib.SMTP,
    sender: str,
    recipients: Sequence[str],
    mail: EmailMessage,
    progress: _Progress,
) -> Receipt:
    """Hand the mail over; where one recipient is to be tried later, none gets it now."""
    client.ehlo_or_helo_if_needed()
    code, _ = client.mail(sender)
    if code != 250:
        return _answer(code)
    refused = 0
    for recipient in recipients:
        code, _ = client.rcpt(recipient)
        if code in {250, 251}:
            continue
        if code < 500:
            return _answer(code)
        refused += 1
    if refused == len(recipients):
        return Refused(f"SMTP {code}")
    progress.sent = True
    code, _ = client.data(mail.as_bytes())
    return Accepted(left_out=refused) if code == 250 else _answer(code)


def _answer(code: int) -> Receipt:
    """Return what an answer to a step of the transaction means."""
    if code == 421 or code < 500:
        return Failed("busy")
    return Refused(f"SMTP {code}")
