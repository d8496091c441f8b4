"""The mailbox's reader over real sockets: one suite for the stand-in and for Debian's Dovecot."""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import SecretStr

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    RateLimited,
    SourceUnavailable,
)
from klingel_networks.arrival import Arrival, Credential, Gap, GapClosed, Rest, Tools
from klingel_networks.email import NETWORK
from klingel_networks.email.client import EmailClient, Mailbox, connect, examine, mailbox_of
from klingel_networks.email.cursor import Position
from klingel_networks.email.imap import Answer, envelopes, folder_name, found_uids, internal_date
from klingel_networks.email.login import OAuth
from klingel_networks.email.mapping import MAIL_BYTES
from klingel_networks.mapped import map_delivery
from klingel_simulator.debian import NotToBeHad
from klingel_simulator.mail_dovecot import Dovecot, DovecotBox, find_dovecot
from klingel_simulator.mail_imap import MailServer
from klingel_simulator.mail_tokens import TokenServer

from .. import waiting
from ..absent import absent

ROOT = Path(__file__).resolve().parents[2]
OWN = "service@nordlicht.example"
ANNA = "anna@kunde.example"
KEY = b"0123456789abcdef"
NOW = datetime.now(UTC).replace(microsecond=0)
SECONDS = 20
until = partial(waiting.until, seconds=SECONDS, pace=0)
_NUMBERS = count()


def mail(number: int, text: str = "", **fields: str) -> bytes:
    """Return a mail of Anna's."""
    told = {
        "From": f"Anna <{ANNA}>",
        "To": OWN,
        "Date": "Mon, 23 Nov 2026 09:00:00 +0100",
        "Subject": f"Frage {number}",
        "Message-ID": f"<{number}@kunde.example>",
    } | {name.replace("_", "-"): value for name, value in fields.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"{head}\r\n{text or f'Text {number}'}\r\n".encode()


def mailbox(server: "Postbox", **more: Any) -> Mailbox:
    """Return the mailbox of a server on this machine."""
    given: dict[str, Any] = {
        "name": "service",
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "username": server.username,
        "password": "secret",
        "folders": ("INBOX",),
        "own": (OWN,),
        "key": KEY,
        "deadline": 5.0,
        "idle": 10.0,
    }
    return Mailbox(**(given | more))


_READERS: list[EmailClient] = []


def reader(box: Mailbox) -> EmailClient:
    """Return a client that is closed when the test is over."""
    client = EmailClient(box, Tools())
    _READERS.append(client)
    return client


async def all_closed() -> None:
    """Close what the test opened."""
    while _READERS:
        await _READERS.pop().close()


async def a_round(client: EmailClient, cursor: str | None, folder: str = "INBOX") -> list[Any]:
    """Return what one round tells."""
    async with asyncio.timeout(SECONDS), aclosing(client.poll(folder, cursor)) as told:
        return [each async for each in told]


def texts(told: list[Any]) -> list[str]:
    """Return the texts of the mails among what a round told."""
    found = []
    for each in told:
        if isinstance(each, Arrival) and each.delivery is not None:
            (mapped,) = map_delivery(NETWORK, each.delivery.body, each.delivery.context)
            found.append(mapped["event"]["text"].rpartition("\n\n")[2])
    return found


def events(told: list[Any]) -> list[dict[str, Any]]:
    """Return the events of the mails among what a round told."""
    return [
        map_delivery(NETWORK, each.delivery.body, each.delivery.context)[0]["event"]
        for each in told
        if isinstance(each, Arrival) and each.delivery is not None
    ]


def last(told: list[Any]) -> str:
    """Return the last cursor of a round."""
    return [each for each in told if isinstance(each, Arrival)][-1].cursor


class Postbox(Protocol):
    """A mailbox on a server."""

    port: int
    username: str

    def deliver(
        self, content: bytes, folder: str = "INBOX", received_at: datetime | None = None
    ) -> None:
        """Put a mail into a folder."""
        ...

    def count_anew(self, validity: int) -> None:
        """Give the inbox another UIDVALIDITY."""
        ...

    def nothing_was_written(self) -> bool:
        """Whether nobody marked, moved or deleted anything."""
        ...


class _StandIn(MailServer):
    def deliver(
        self, content: bytes, folder: str = "INBOX", received_at: datetime | None = None
    ) -> None:
        self.folder(folder).add(content, received_at)

    def count_anew(self, validity: int) -> None:
        self.folder("INBOX").count_anew(validity)

    def nothing_was_written(self) -> bool:
        return not self.offences


class _Box(DovecotBox):
    def nothing_was_written(self) -> bool:
        return self.marked() == []


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def dovecot_root() -> Path | None:
    """Where Dovecot lies; in CI it has to be there."""
    try:
        return find_dovecot(ROOT / ".klingel" / "debian")
    except NotToBeHad as error:
        absent(str(error))


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; every run of pytest closes its own to them."""
    with tempfile.TemporaryDirectory(prefix="klingel-dovecot-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def tokens_port() -> int:
    """Where Dovecot asks about tokens; nobody listens there but in the test of tokens."""
    return free_port()


@pytest.fixture(scope="session")
def dovecot(dovecot_root, open_folder, tokens_port) -> Iterator[Dovecot]:
    """Debian's Dovecot, running, with a certificate for `localhost`."""
    server = Dovecot(
        dovecot_root,
        open_folder,
        free_port(),
        tls_port=free_port(),
        tokeninfo_url=f"http://127.0.0.1:{tokens_port}",
        certificate=self_signed(open_folder),
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(
    params=["stand-in", pytest.param("dovecot", marks=pytest.mark.servers)],
)
async def postbox(request) -> AsyncIterator[Postbox]:
    """A mailbox: of the stand-in, or of Debian's Dovecot."""
    if request.param == "dovecot":
        yield _Box(request.getfixturevalue("dovecot"), f"user{next(_NUMBERS)}")
        await all_closed()
        return
    server = _StandIn()
    await server.start()
    yield server
    await all_closed()
    await server.stop()


@pytest.fixture
async def standing() -> AsyncIterator[_StandIn]:
    """The stand-in, for faults that a real server does not have."""
    server = _StandIn()
    await server.start()
    yield server
    await all_closed()
    await server.stop()


# --- both servers --------------------------------------------------------------------------------


async def test_mails_come_in_order_once_and_the_cursor_resumes(postbox) -> None:
    """No loss, no reorder; a new process goes on behind the last cursor; nothing is marked."""
    client = reader(mailbox(postbox))
    postbox.deliver(mail(0))
    told = await a_round(reader(mailbox(postbox, idle=0.2)), None)
    assert texts(told) == []  # it begins with what comes from now on
    for number in range(1, 6):
        postbox.deliver(mail(number))
    told = await a_round(client, last(told))
    assert texts(told) == [f"Text {number}" for number in range(1, 6)]
    assert {each.mode for each in told} == {"live"}
    middle = told[2].cursor
    again = reader(mailbox(postbox))
    assert texts(await a_round(again, middle)) == ["Text 4", "Text 5"]
    assert postbox.nothing_was_written()
    await client.close()


async def test_idle_hears_a_mail_as_it_comes(postbox) -> None:
    """The round waits on the server's side and tells the mail at once, far before the wait ends."""
    client = reader(mailbox(postbox))
    cursor = last(await a_round(reader(mailbox(postbox, idle=0.1)), None))
    waiting = asyncio.create_task(a_round(client, cursor))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    postbox.deliver(mail(1))
    assert texts(await waiting) == ["Text 1"]


async def test_another_uidvalidity_loses_nothing_and_doubles_no_case(postbox) -> None:
    """A gap is told, the folder is read again, the same mails have the same ids, the gap closes."""
    client = reader(mailbox(postbox, history_days=400))
    postbox.deliver(mail(1), received_at=NOW - timedelta(days=30))
    postbox.deliver(mail(2), received_at=NOW - timedelta(hours=5))
    told = await a_round(client, None)
    assert texts(told) == ["Text 1", "Text 2"]
    assert {each.mode for each in told if isinstance(each, Arrival) and each.delivery} == {
        "backfill"
    }
    known = {each["object_id"] for each in events(told)}
    await client.close()
    postbox.count_anew(77)
    postbox.deliver(mail(3), received_at=NOW + timedelta(seconds=60))
    again = reader(mailbox(postbox))
    reread = await a_round(again, last(told))
    assert isinstance(reread[0], Gap)
    assert reread[0].cause == "cursor_invalid"
    assert reread[0].start == last(told)
    # Its end is told before the cursor passes it: who is killed between tells it again.
    *_, closed, passed = reread
    assert isinstance(closed, GapClosed)
    assert (closed.key, closed.outcome) == (reread[0].key, "filled")
    assert (passed.cursor, passed.delivery) == (closed.end, None)
    # Mail 1 was read long before and is not asked for again.
    assert texts(reread) == ["Text 2", "Text 3"]
    ids = [each["object_id"] for each in events(reread)]
    assert ids[0] in known
    assert ids[1] not in known
    modes = [each.mode for each in reread if isinstance(each, Arrival) and each.delivery]
    assert modes == ["backfill", "gap_fill"]
    position = Position.decode(last(reread))
    assert (position.validity, position.reading) == (77, 0)


async def test_answers_find_their_conversation_in_all_folders(postbox) -> None:
    """What a mail refers to is looked for; the brand's answers lie in another folder."""
    folders = ("INBOX", "Sent")
    answer = mail(
        7,
        "Wir schauen nach.",
        From=OWN,
        To=f"{ANNA}, Bert <bert@kunde.example>",
        References="<1@kunde.example>",
        Subject="Re: Frage 1",
        Message_ID="<7@nordlicht.example>",
    )
    berts = mail(
        8,
        "Danke!",
        From="bert@kunde.example",
        References="<1@kunde.example> <7@nordlicht.example>",
        Subject="Re: Frage 1",
    )
    postbox.deliver(mail(1))
    postbox.deliver(answer, "Sent")
    client = reader(mailbox(postbox, folders=folders, history_days=400))
    (first,) = events(await a_round(client, None))
    fresh = reader(mailbox(postbox, folders=folders, history_days=400))
    (sent,) = events(await a_round(fresh, None, "Sent"))
    assert sent["author"]["id"] == OWN
    assert sent["in_reply_to"] == first["object_id"]
    assert sent["conversation_id"] == first["conversation_id"]
    postbox.deliver(berts)
    other = reader(mailbox(postbox, folders=folders, history_days=400))
    _, bert = events(await a_round(other, None))
    assert bert["in_reply_to"] == sent["object_id"]
    assert bert["conversation_id"] == first["conversation_id"]


async def test_a_wrong_password_is_told_as_such(postbox) -> None:
    """Only a person can help; the sentence says what to look at and no secret."""
    client = reader(mailbox(postbox, password="wrong-4711"))
    with pytest.raises(CredentialsRejected) as caught:
        await a_round(client, None)
    assert "4711" not in str(caught.value)
    assert "password" in str(caught.value)


async def test_a_folder_that_is_not_there_is_a_mistake_of_the_settings(postbox) -> None:
    """The sentence names the setting."""
    client = reader(mailbox(postbox, folders=("Nix",)))
    with pytest.raises(ConfigurationError, match=r"email\.folders"):
        await a_round(client, None, "Nix")


async def test_doctor_finds_a_healthy_mailbox(postbox) -> None:
    """Server, login, read-only folder, IDLE."""
    options = given(postbox)
    findings = await examine(options, Tools())
    assert {each.check: each.state for each in findings} == {
        "server": "ok",
        "credentials": "ok",
        "permissions": "ok",
        "subscription": "ok",
    }
    assert postbox.nothing_was_written()


@pytest.mark.servers
async def test_xoauth2_and_tls_on_dovecot(dovecot, open_folder, tokens_port) -> None:
    """Tokens from the endpoint, checked by the server with the issuer; TLS with a pinned root."""
    box = _Box(dovecot, "tokens")
    tokens = TokenServer("tokens")
    await tokens.start(tokens_port)
    asked = mailbox(
        box,
        host="localhost",
        oauth=OAuth(f"{tokens.url}/token", "client", "", "refresh"),
        trust=ssl.create_default_context(cafile=str(open_folder / "cert.pem")),
        history_days=400,
    )
    box.deliver(mail(1))
    secured = replace(asked, port=dovecot.tls_port, security="tls")
    for each in (secured, replace(asked, security="starttls")):
        told = await a_round(reader(each), None)
        assert texts(told) == ["Text 1"]
        assert isinstance(told[0], Credential)
    with pytest.raises(SourceUnavailable):
        await a_round(reader(replace(secured, trust=None)), None)
    await all_closed()
    await tokens.stop()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Return certificate and key of `localhost`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        absent("without openssl there is no certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"),
            *("/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


# --- faults of the stand-in ----------------------------------------------------------------------

START = "1|0|0|0|0"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"silent": True}, "silent"),
        ({"turned_away": True}, "turns us away"),
        ({"half_line": True}, "ended the connection"),
        ({"endless_line": True}, "without end"),
        ({"claimed_literal": 1 << 30}, "more than was asked for"),
        ({"cut_body_at": 100}, "within a mail"),
        ({"flood": 30_000}, "without end"),
        ({"login_code": "UNAVAILABLE"}, "busy"),
        ({"limit": True}, "fewer requests"),
    ],
)
async def test_a_server_that_misbehaves_is_away_and_read_from_the_same_cursor(
    standing, fault, sentence
) -> None:
    """Stall, cut, flood, a gigabyte that was not asked for: one sentence; then all comes, in order."""
    for number in (1, 2, 3):
        standing.deliver(mail(number))
    client = reader(mailbox(standing, deadline=0.3))
    for name, value in fault.items():
        setattr(standing.faults, name, value)
    with pytest.raises((SourceUnavailable, RateLimited), match=sentence):
        await a_round(client, START)
    standing.faults = type(standing.faults)()
    assert texts(await a_round(client, START)) == ["Text 1", "Text 2", "Text 3"]


async def test_a_cut_between_two_mails_repeats_none_and_loses_none(standing) -> None:
    """The cursor of what was told is where the next connection goes on."""
    for number in range(1, 8):
        standing.deliver(mail(number))
    client = reader(mailbox(standing))
    seen: list[str] = []
    cursor = START
    for _ in range(20):
        try:
            async with asyncio.timeout(SECONDS), aclosing(client.poll("INBOX", cursor)) as told:
                async for each in told:
                    seen += texts([each])
                    cursor = each.cursor
                    if len(seen) % 2 == 0:
                        standing.cut()
        except SourceUnavailable:
            continue
        if len(seen) == 7:
            break
    assert seen == [f"Text {number}" for number in range(1, 8)]


async def test_a_server_without_idle_is_polled(standing) -> None:
    """The round ends at once; the next one finds what came."""
    standing.faults.no_idle = True
    client = reader(mailbox(standing))
    assert await a_round(client, START) == [Rest(30.0)]
    standing.deliver(mail(1))
    assert texts(await a_round(client, START)) == ["Text 1"]
    findings = await examine(given(standing), Tools())
    assert [each.state for each in findings if each.check == "subscription"] == ["warning"]


async def test_a_wait_ends_when_its_iterator_is_closed(standing) -> None:
    """A stop leaves no connection behind."""
    client = reader(mailbox(standing))
    waiting = asyncio.create_task(a_round(client, START))
    await until(lambda: "IDLE" in standing.commands)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not standing.connections)


async def test_what_is_deleted_meanwhile_is_passed_over(standing) -> None:
    """A hole in the UIDs is no loss."""
    uids = [standing.folder("INBOX").add(mail(number)) for number in (1, 2, 3)]
    standing.folder("INBOX").remove(uids[1])
    client = reader(mailbox(standing))
    assert texts(await a_round(client, START)) == ["Text 1", "Text 3"]


async def test_of_a_giant_only_the_beginning_is_fetched(standing, monkeypatch) -> None:
    """More than the bound is never asked for; the event tells that something is missing."""
    content = mail(1, "wort " * 20_000)
    standing.deliver(content)
    monkeypatch.setattr("klingel_networks.email.client.MAIL_BYTES", 50_000)
    client = reader(mailbox(standing))
    (arrival,) = await a_round(client, START)
    assert arrival.delivery.body == content[:50_000]
    assert MAIL_BYTES == 32 << 20


async def test_mails_that_are_none_are_delivered_and_refused_by_the_mapping(standing) -> None:
    """Nothing stops the folder: a body without a header, an empty one, a header without end."""
    for content in (b"", b"no header", b"From: a@b.example\r\nX: " + b"a" * 300_000, mail(1)):
        standing.deliver(content)
    client = reader(mailbox(standing))
    told = await a_round(client, START)
    fates = [
        map_delivery(NETWORK, each.delivery.body, each.delivery.context)[0]["fate"] for each in told
    ]
    assert fates == ["dead_lettered"] * 3 + ["delivered"]


async def test_a_search_that_is_refused_leaves_a_mail_as_it_is(standing) -> None:
    """And message ids that could be commands are never put into one."""
    standing.faults.no_search = True
    hostile = '<1@x"\\> <2@x>'
    standing.deliver(mail(1, References=hostile))
    client = reader(mailbox(standing))
    (told,) = events(await a_round(client, START))
    assert "in_reply_to" not in told
    assert standing.nothing_was_written()


async def test_what_was_looked_for_once_is_not_looked_for_again(standing) -> None:
    """A thread of many mails whose root is not here costs one search; one that comes is known."""
    for number in (1, 2, 3):
        standing.deliver(mail(number, References="<root@x>", Subject="Re: Frage"))
    client = reader(mailbox(standing))
    told = await a_round(client, START)
    assert len([each for each in standing.commands if each == "UID SEARCH"]) == 2
    assert all("in_reply_to" not in each for each in events(told))
    standing.deliver(mail(4, Message_ID="<root@x>"))
    standing.deliver(mail(5, References="<root@x>", Subject="Re: Frage"))
    root, answer = events(await a_round(client, last(told)))
    assert answer["in_reply_to"] == root["object_id"]


async def test_tokens_are_renewed_and_their_end_is_told(standing) -> None:
    """An access token that ends, one that is withdrawn, an endpoint that is away, a revocation."""
    tokens = TokenServer("service", mail=standing)
    await tokens.start()
    oauth = OAuth(f"{tokens.url}/token", "client", "s3cret", "refresh")
    client = reader(mailbox(standing, oauth=oauth, password=""))
    standing.deliver(mail(1))
    told = await a_round(client, START)
    assert isinstance(told[0], Credential)
    assert (told[0].refresh_failed, told[0].revoked) == (False, False)
    assert texts(told) == ["Text 1"]
    await client.close()
    tokens.revoke()  # the token is refused before its time: a new one is got at once
    assert texts(await a_round(client, START)) == ["Text 1"]
    assert tokens.given == 2
    await client.close()
    tokens.revoke()
    tokens.status = 503
    with pytest.raises(SourceUnavailable, match="503"):
        await a_round(client, START)
    tokens.status = 200
    tokens.refresh_token = "another"
    with pytest.raises(CredentialsRejected, match="consent"):
        await a_round(client, START)
    await tokens.stop()
    assert "s3cret" not in repr(oauth)


async def test_an_endpoint_that_is_away_does_not_matter_while_the_token_holds(standing) -> None:
    """Near its end the renewal fails: the old one is used, and the failure is told."""
    tokens = TokenServer("service", mail=standing)
    tokens.lasts_seconds = 200
    await tokens.start()
    oauth = OAuth(f"{tokens.url}/token", "client", "", "refresh")
    client = reader(mailbox(standing, oauth=oauth, idle=0.1))
    await a_round(client, START)
    await client.close()
    tokens.status = 503
    told = await a_round(client, START)
    assert isinstance(told[0], Credential)
    assert told[0].refresh_failed
    await client.close()
    await tokens.stop()


# --- settings and syntax -------------------------------------------------------------------------


def given(server: Postbox | None = None, **more: Any) -> dict[str, Any]:
    """Return settings that fit a server on this machine."""
    return {
        "mailbox": "service",
        "host": "127.0.0.1",
        "port": 993 if server is None else server.port,
        "security": "none",
        "username": "service" if server is None else server.username,
        "password": SecretStr("secret"),
        "folders": "INBOX",
        "own_addresses": OWN.upper(),
        "address_key": SecretStr(KEY.decode()),
        "deadline_seconds": 5,
        "idle_seconds": 5,
    } | more


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"security": "ssl"}, "email.security"),
        ({"security": "none", "host": "mail.example"}, "email.security"),
        ({"mailbox": "a:b"}, "email.mailbox"),
        ({"address_key": SecretStr("short")}, "email.address_key"),
        ({"folders": "INBOX,INBOX"}, "email.folders"),
        ({"folders": ""}, "email.folders"),
        ({"folders": "a|b"}, "email.folders"),
        ({"own_addresses": "service"}, "email.own_addresses"),
        ({"password": SecretStr("")}, "password"),
        ({"oauth_refresh_token": SecretStr("r")}, "email.oauth_token_url"),
        ({"idle_seconds": 3600}, "email.idle_seconds"),
        ({"history_days": -1}, "email.history_days"),
    ],
)
def test_settings_that_cannot_be(wrong, named) -> None:
    """One sentence that names the setting and repeats no value."""
    with pytest.raises(ConfigurationError, match=re.escape(named)) as caught:
        mailbox_of(given(**wrong))
    assert "short" not in str(caught.value)


def test_secrets_stand_in_no_repr() -> None:
    """Neither of the settings nor of the client's."""
    assert "secret" not in repr(mailbox_of(given()))
    assert KEY.decode() not in repr(mailbox_of(given()))
    assert connect(given(), Tools()).channels() == ("INBOX",)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", b'"INBOX"'),
        ("Entwürfe", b'"Entw&APw-rfe"'),
        ("Kunden & Co", b'"Kunden &- Co"'),
        ("日本語", b'"&ZeVnLIqe-"'),
        ('a"b\\c', b'"a\\"b\\\\c"'),
    ],
)
def test_names_of_folders(name, written) -> None:
    """Modified UTF-7 (RFC 3501, 5.1.3)."""
    assert folder_name(name) == written


def test_answers() -> None:
    """What cannot be read is left out."""
    assert found_uids([Answer(b"SEARCH 3 1 2 99999999999"), Answer(b"SEARCH")]) == [1, 2, 3]
    told = envelopes(
        [
            Answer(
                b'1 FETCH (UID 7 FLAGS (\\Seen $Junk) RFC822.SIZE 9 INTERNALDATE " 3-Nov-2026 1"'
            ),
            Answer(b"2 FETCH (FLAGS ())"),
        ]
    )
    assert [(each.uid, each.flags, each.received_at) for each in told] == [
        (7, ("\\Seen", "$Junk"), None)
    ]
    assert internal_date(" 3-Nov-2026 10:00:00 +0100") == datetime(2026, 11, 3, 9, tzinfo=UTC)
    with pytest.raises(ConfigurationError):
        Position.decode("7|x")


async def test_a_password_of_any_characters_logs_in() -> None:
    """What a quoted string cannot hold goes as a literal."""
    server = _StandIn(password='pä"ss\\wort')
    await server.start()
    server.deliver(mail(1))
    told = await a_round(reader(mailbox(server, password='pä"ss\\wort')), START)
    assert texts(told) == ["Text 1"]
    await all_closed()
    await server.stop()


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"password": SecretStr("wrong-4711")}, "credentials"),
        ({"folders": "INBOX,Nix"}, "permissions"),
        ({"port": 1}, "server"),
        ({"mailbox": "a:b"}, "settings"),
    ],
)
async def test_doctor_says_what_to_do(standing, wrong, check) -> None:
    """Every finding that is not fine names a remedy, and none a secret."""
    findings = await examine(given(standing, **wrong), Tools())
    failed = [each for each in findings if each.state == "failed"]
    assert [each.check for each in failed] == [check]
    assert all(each.remedy for each in failed)
    assert "4711" not in repr(findings)


def test_how_mails_reach_us() -> None:
    """History and what was heard before open nothing; what was missed is gap fill; the rest live."""
    start = Position(1, 0, 1000, history=1000)
    told = datetime.fromtimestamp
    assert start.mode(told(999, UTC)) == "backfill"
    assert start.mode(told(1001, UTC)) == "live"
    assert start.mode(None) == "backfill"
    known = Position(1, 7, 90_000)
    assert known.mode(told(1, UTC)) == "live"
    reread = known.renewed(2)
    assert (reread.validity, reread.uid, reread.reading) == (2, 0, 90_000)
    assert reread.mode(told(80_000, UTC)) == "backfill"
    assert reread.mode(told(89_000, UTC)) == "gap_fill"
    assert reread.mode(told(91_000, UTC)) == "gap_fill"
    later = reread.after(3, told(95_000, UTC))
    assert later.renewed(3).reading == 90_000
    assert later.caught_up().mode(told(1, UTC)) == "live"
    assert Position.decode(later.encode()) == later
