"""Mail, to a real SMTP server in this process: encrypted, authenticated, refused, cut off."""

import asyncio
import email
import email.policy
import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from klingel_notifier.letters import Letter
from klingel_notifier.mail import MailServer, SmtpSender
from klingel_notifier.senders import Accepted, Failed, Refused

from ..waiting import until

TO = ("kim@example.org", "robin@example.org")


class Mailroom:
    """Keeps what comes; answers as told by recipient, at DATA, and at its end."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []
        self.answers: dict[str, str] = {}
        self.at_data: list[str] = []
        self.at_sender = "250 OK"
        self.encrypted: list[bool] = []
        self.users: list[str] = []

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802, D102 - aiosmtpd's names
        if self.at_sender.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.at_sender

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802, D102
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):  # noqa: N802, D102
        self.mails.append((list(envelope.rcpt_tos), envelope.content))
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        answer = self.at_data.pop(0) if self.at_data else "250 OK"
        if answer == "cut":
            server.transport.abort()
            return "250 OK"
        return answer

    def check(self, server, session, envelope, mechanism, data):
        """Know one user."""
        good = isinstance(data, LoginPassword) and data.password == b"right"
        if good:
            self.users.append(data.login.decode())
        return AuthResult(success=good, handled=False)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    """A certificate of this run's own for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def mailroom() -> Mailroom:
    return Mailroom()


@pytest.fixture
async def server(
    mailroom: Mailroom, certificate: Path
) -> AsyncIterator[Callable[..., Awaitable[MailServer]]]:
    """Start a mail server; `security` as the notifier's settings name it."""
    loop = asyncio.get_running_loop()
    started: list[asyncio.Server] = []
    sessions: list[SMTP] = []

    async def start(security: str = "none", **fields: Any) -> MailServer:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        options: dict[str, Any] = {"authenticator": mailroom.check, "loop": loop}
        if fields.get("username"):
            options |= {"auth_required": True, "auth_require_tls": security == "starttls"}
        if security == "starttls":
            options |= {"tls_context": context, "require_starttls": True}

        def answer() -> SMTP:
            with warnings.catch_warnings():
                # It warns of passwords that are not encrypted; that is what is tested.
                warnings.simplefilter("ignore", UserWarning)
                made = SMTP(mailroom, **options)
            sessions.append(made)
            return made

        listening = await loop.create_server(
            answer,
            "127.0.0.1",
            0,
            ssl=context if security == "tls" else None,
        )
        started.append(listening)
        made: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": listening.sockets[0].getsockname()[1],
            "security": security,
            "sender": "klingel@example.org",
            "ca_certs": certificate / "cert.pem",
            "timeout_seconds": 2.0,
        }
        return MailServer(**(made | fields))

    yield start
    for listening in started:
        listening.close()
    for session in sessions:
        if session.transport is not None:
            session.transport.abort()
    # Transports close in the loop's next rounds.
    await until(lambda: all(each.transport is None for each in sessions))


@pytest.fixture
def letter(build) -> Letter:
    return Letter.of([build.escalation(queue="störungen")])


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
@pytest.mark.parametrize("user", [None, "klingel"])
async def test_a_mail_arrives(server, mailroom, letter, security, user):
    where = await server(security, username=user, password="right" if user else None)
    assert await SmtpSender(where, TO).send(letter) == Accepted()
    ((to, content),) = mailroom.mails
    mail = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert to == list(TO)
    assert mail["To"] == "kim@example.org, robin@example.org"
    assert mail["Message-ID"] == f"<{letter.key}@example.org>"
    assert mail["Subject"] == (
        "[klingel] nordlicht: First response of a case in störungen is due at 2026-11-23 12:15 UTC"
    )
    assert "  Queue: störungen" in mail.get_content()
    assert mailroom.encrypted == [security != "none"]
    assert mailroom.users == ([user] if user else [])


async def test_a_repeat_is_the_same_byte_for_byte(server, mailroom, letter):
    sender = SmtpSender(await server(), TO)
    for _ in range(2):
        assert await sender.send(letter) == Accepted()
    assert mailroom.mails[0] == mailroom.mails[1]


async def test_a_wrong_password_is_tried_again(server, mailroom, letter):
    where = await server("starttls", username="klingel", password="wrong")
    assert await SmtpSender(where, TO).send(letter) == Failed("credentials")
    assert mailroom.mails == []


async def test_a_certificate_of_somebody_else_gets_no_mail(server, mailroom, letter):
    for security in ("starttls", "tls"):
        where = await server(security, ca_certs=None)
        assert await SmtpSender(where, TO).send(letter) == Failed("unreachable")
    assert mailroom.mails == []


async def test_a_server_without_encryption_gets_no_mail_that_wants_it(server, mailroom, letter):
    plain = await server("none")
    wants = MailServer("127.0.0.1", plain.port, "starttls", "klingel@example.org")
    assert await SmtpSender(wants, TO).send(letter) == Failed("unreachable")
    assert mailroom.mails == []


async def test_nobody_gets_it_while_one_is_to_be_tried_later(server, mailroom, letter):
    """Else a repeat would come twice to those who have it."""
    mailroom.answers = {"robin@example.org": "451 greylisted"}
    assert await SmtpSender(await server(), TO).send(letter) == Failed("busy")
    assert mailroom.mails == []


async def test_who_is_refused_does_not_stop_the_others(server, mailroom, letter):
    mailroom.answers = {"kim@example.org": "550 no such user"}
    assert await SmtpSender(await server(), TO).send(letter) == Accepted(left_out=1)
    assert [to for to, _ in mailroom.mails] == [["robin@example.org"]]


async def test_all_refused(server, mailroom, letter):
    mailroom.answers = dict.fromkeys(TO, "550 no such user")
    assert await SmtpSender(await server(), TO).send(letter) == Refused("SMTP 550")


@pytest.mark.parametrize(
    ("answer", "receipt"),
    [
        ("554 spam", Refused("SMTP 554")),
        ("552 too large", Refused("SMTP 552")),
        ("451 later", Failed("busy")),
        ("421 going away", Failed("busy")),
        ("cut", Failed("no_answer", unsure=True)),
    ],
)
async def test_answers_to_the_mail_itself(server, mailroom, letter, answer, receipt):
    mailroom.at_data = [answer]
    assert await SmtpSender(await server(), TO).send(letter) == receipt
    assert len(mailroom.mails) == 1


@pytest.mark.parametrize(
    ("answer", "receipt"),
    [("550 not from you", Refused("SMTP 550")), ("452 full", Failed("busy"))],
)
async def test_a_sender_that_is_refused(server, mailroom, letter, answer, receipt):
    mailroom.at_sender = answer
    assert await SmtpSender(await server(), TO).send(letter) == receipt


async def test_no_server(letter):
    where = MailServer("127.0.0.1", 9, "none", "klingel@example.org", timeout_seconds=1)
    assert await SmtpSender(where, TO).send(letter) == Failed("unreachable")


async def test_a_server_that_drips_is_left_after_a_bounded_time(letter, unused_tcp_port_factory):
    stop, ended = asyncio.Event(), asyncio.Event()

    async def drip(_reader, writer):
        while not stop.is_set() and not writer.is_closing():
            writer.write(b"2")
            await asyncio.sleep(0.05)  # as slow as a server that drips
        writer.close()
        ended.set()

    port = unused_tcp_port_factory()
    dripping = await asyncio.start_server(drip, "127.0.0.1", port)
    where = MailServer("127.0.0.1", port, "none", "k@example.org", timeout_seconds=0.2)
    assert await SmtpSender(where, TO).send(letter) == Failed("no_answer", unsure=True)
    stop.set()
    dripping.close()
    await ended.wait()


async def test_an_address_that_is_not_ascii_is_refused(server, letter):
    assert await SmtpSender(await server(), ("käthe@example.org",)).send(letter) == Refused(
        "an address that is not ASCII"
    )


def test_a_password_shows_nowhere():
    where = MailServer("h", 25, "none", "k@example.org", username="u", password="canary")
    assert "canary" not in repr(where)
