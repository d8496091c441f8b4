"""The mail server that stands in, as another client sees it: the standard library's."""

import asyncio
import imaplib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from klingel_simulator.mail_imap import MailServer

MAIL = b"From: anna@kunde.example\r\nSubject: Frage\r\nMessage-ID: <1@x>\r\n\r\nText\r\n"
RECEIVED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    """A server with two mails."""
    standing = MailServer()
    standing.folder("INBOX").add(MAIL, RECEIVED, ("$Junk",))
    standing.folder("INBOX").add(MAIL.replace(b"<1@x>", b"<2@x>"), datetime(2026, 1, 1, tzinfo=UTC))
    await standing.start()
    yield standing
    await standing.stop()


async def seen(server: MailServer, look: Callable[[imaplib.IMAP4], Any]) -> Any:
    """Return what a logged-in client of the standard library sees."""

    def talk() -> Any:
        with imaplib.IMAP4("127.0.0.1", server.port, timeout=10) as client:
            client.login(server.username, server.password)
            return look(client)

    return await asyncio.to_thread(talk)


async def test_folders_searches_and_mails(server) -> None:
    """EXAMINE, UID SEARCH by UID, day and header, UID FETCH whole and in part."""

    def look(client: imaplib.IMAP4) -> list[Any]:
        state, exists = client.select("INBOX", readonly=True)
        return [
            (state, exists),
            client.response("UIDVALIDITY")[1],
            client.uid("SEARCH", "UID", "2:*")[1],
            client.uid("SEARCH", "SINCE", "1-Nov-2026")[1],
            client.uid("SEARCH", "HEADER", "Message-ID", '"2@x"')[1],
            client.uid("FETCH", "1", "(UID FLAGS INTERNALDATE RFC822.SIZE)")[1],
            client.uid("FETCH", "1", "(UID BODY.PEEK[])")[1][0][1],
            client.uid("FETCH", "2", "(UID BODY.PEEK[]<0.5>)")[1][0][1],
        ]

    told = await seen(server, look)
    assert told[:5] == [("OK", [b"2"]), [b"1"], [b"2"], [b"1"], [b"2"]]
    assert b'INTERNALDATE "23-Nov-2026 09:00:00 +0000"' in told[5][0]
    assert b"FLAGS ($Junk)" in told[5][0]
    assert told[6] == MAIL
    assert told[7] == b"From:"
    assert server.offences == []


async def test_whatever_would_change_the_mailbox_is_noted(server) -> None:
    """A reader that opens for writing, marks by fetching, or stores a flag is found out."""

    def look(client: imaplib.IMAP4) -> None:
        client.select("INBOX")
        client.uid("FETCH", "1", "(BODY[])")
        with pytest.raises(imaplib.IMAP4.error):
            client.uid("STORE", "1", "+FLAGS", "(\\Seen)")

    await seen(server, look)
    assert server.offences == ["SELECT", "FETCH BODY without PEEK", "UID STORE"]


async def test_a_restore_counts_anew(server) -> None:
    """Another UIDVALIDITY, UIDs from one on; a folder that is not there is refused."""
    server.folder("INBOX").remove(1)
    server.folder("INBOX").count_anew(7)

    def look(client: imaplib.IMAP4) -> list[Any]:
        missing = client.select("Nix", readonly=True)[0]
        client.select("INBOX", readonly=True)
        return [missing, client.response("UIDVALIDITY")[1], client.uid("SEARCH", "ALL")[1]]

    assert await seen(server, look) == ["NO", [b"7"], [b"1"]]


async def test_only_the_right_login_is_let_in(server) -> None:
    """A wrong password, a token that was never given."""

    def wrong() -> None:
        with imaplib.IMAP4("127.0.0.1", server.port, timeout=10) as client:
            with pytest.raises(imaplib.IMAP4.error):
                client.login(server.username, "wrong")
            with pytest.raises(imaplib.IMAP4.error):
                client.authenticate("XOAUTH2", lambda _: b"user=service\x01auth=Bearer x\x01\x01")
            with pytest.raises(imaplib.IMAP4.error):
                client.select("INBOX")

    await asyncio.to_thread(wrong)


async def test_faults_are_taken_back(server) -> None:
    """A server that turns everybody away lets them in again."""
    server.faults.turned_away = True
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert (await reader.read()).startswith(b"* BYE")
    writer.close()
    server.faults.turned_away = False
    assert await seen(server, lambda client: client.noop()[0]) == "OK"
