"""What mails cost: milliseconds of processor time each to map, and how many an hour come over IMAP.

    python benchmarks/mails.py [--data shared/data] [--mails 2000] [--dovecot FOLDER] [--json]

Mapping: the recorded mails of the folder of shared data, each exploded, identified and drafted, as
connector and `understand` do it; the median of the runs. Reading: so many mails, among them answers
that refer to others, from a server on this machine over real sockets, mapped as they come; the
stand-in, or with --dovecot Debian's Dovecot, unpacked below FOLDER where it is not installed.
The gate is 10,000 mails an hour; exit code 1 below it.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from klingel.errors import InvalidMessage
from klingel_networks.arrival import Arrival, Tools
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.email import NETWORK
from klingel_networks.email.client import EmailClient, Mailbox
from klingel_networks.mapped import raw_event
from klingel_simulator.mail_dovecot import Dovecot, find_dovecot
from klingel_simulator.mail_imap import MailServer

GATE_AN_HOUR = 10_000
OWN = "service@nordlicht.example"
KEY = b"0123456789abcdef"
PORT = 14143
ATTACHMENT = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg\r\n"


def main() -> int:
    """Measure, tell, and return 1 below the gate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=beside, help="folder of shared data")
    parser.add_argument("--mails", type=int, default=2_000, help="mails to read")
    parser.add_argument("--runs", type=int, default=5, help="runs of the mapping")
    parser.add_argument("--dovecot", type=Path, help="read from Debian's Dovecot, unpacked here")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args()
    told: dict[str, Any] = {}
    if options.data.is_dir():
        told["map_ms"] = mapping(options.data, options.runs)
    told |= asyncio.run(reading(options.mails, options.dovecot))
    told["gate_an_hour"] = GATE_AN_HOUR
    print(json.dumps(told) if options.json else "\n".join(f"{k}: {v}" for k, v in told.items()))
    return int(told["mails_an_hour"] < GATE_AN_HOUR)


def mapping(data: Path, runs: int) -> dict[str, float]:
    """Return the mean and the greatest cost of a recorded mail, in ms of processor time."""
    with tarfile.open(data / "permissive" / "payloads" / "email_raw.tar.gz") as archive:
        files = (archive.extractfile(member) for member in archive.getmembers())
        mails = [file.read() for file in files if file is not None]
    costs = []
    for mail in mails:
        taken = []
        for _ in range(runs):
            began = time.process_time_ns()
            mapped(mail, {"source": "service"})
            taken.append((time.process_time_ns() - began) / 1e6)
        costs.append(statistics.median(taken))
    return {"mean": round(statistics.mean(costs), 3), "greatest": round(max(costs), 3)}


def mapped(mail: bytes, context: Any) -> bool:
    """Map one mail; whether it is an event."""
    for piece in NETWORK.explode(Delivery(mail, context)):
        if not isinstance(piece, NativeObject):
            return False
        try:
            raw = raw_event("email", piece, NETWORK.identify(piece.native, piece.context))
            NETWORK.to_social_event(raw)
        except InvalidMessage:
            return False
    return True


def content(number: int) -> bytes:
    """Return a mail: every second answers the one before, every tenth has an attachment of 200 KB."""
    fields = f"References: <{number - 1}@kunde.example>\r\n" if number % 2 else ""
    body = f"Seit gestern kein Netz, Kundennummer {number}.\r\n" * 20
    if number % 10 == 0:
        fields += "Content-Type: multipart/mixed; boundary=b\r\n"
        body = (
            f"--b\r\n\r\n{body}\r\n--b\r\nContent-Type: image/png\r\n"
            f"Content-Transfer-Encoding: base64\r\n\r\n{ATTACHMENT * 2_800}--b--\r\n"
        )
    return (
        f"From: Anna <anna{number // 2}@kunde.example>\r\nTo: {OWN}\r\nSubject: Frage {number}\r\n"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0100\r\nMessage-ID: <{number}@kunde.example>\r\n"
        f"{fields}\r\n{body}"
    ).encode()


@asynccontextmanager
async def server(mails: int, dovecot: Path | None) -> AsyncIterator[tuple[str, int]]:
    """Run a server with so many mails; yields the login and the port."""
    if dovecot is None:
        standing = MailServer()
        for number in range(mails):
            standing.folder("INBOX").add(content(number))
        await standing.start()
        yield standing.username, standing.port
        await standing.stop()
        return
    with tempfile.TemporaryDirectory(prefix="klingel-mails-") as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240 - nothing else runs yet
        real = Dovecot(find_dovecot(dovecot), Path(folder), PORT)
        real.start()
        box = real.box("service")
        for number in range(mails):
            box.deliver(content(number))
        yield box.username, box.port
        real.stop()


async def reading(mails: int, dovecot: Path | None) -> dict[str, Any]:
    """Return how fast so many mails are read and mapped."""
    async with server(mails, dovecot) as (username, port):
        mailbox = Mailbox(
            name="service",
            host="127.0.0.1",
            port=port,
            security="none",
            username=username,
            password="secret",
            folders=("INBOX",),
            own=(OWN,),
            key=KEY,
            history_days=1,
        )
        client = EmailClient(mailbox, Tools())
        began, cpu = time.perf_counter(), time.process_time()
        heard = 0
        async with aclosing(client.poll("INBOX", None)) as told:
            async for each in told:
                if isinstance(each, Arrival) and each.delivery is not None:
                    heard += mapped(each.delivery.body, each.delivery.context)
        seconds, spent = time.perf_counter() - began, time.process_time() - cpu
        await client.close()
    if heard != mails:
        raise SystemExit(f"{heard} of {mails} mails were heard")
    return {
        "server": "stand-in" if dovecot is None else "Dovecot",
        "mails": heard,
        "seconds": round(seconds, 2),
        "mails_an_hour": round(heard / seconds * 3600),
        "cpu_ms_a_mail": round(spent / heard * 1000, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
