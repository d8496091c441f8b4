"""X, WhatsApp, Facebook and a mailbox at once, from one seed: ``klingel-simulator networks``.

Each network begins with a complaint that is planted under a known id and goes on with talk of its
own. X and the mailbox are served and ring once somebody listens; WhatsApp and Facebook post signed
webhooks. All write into one list of what was sent.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import chain
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from aiohttp import web

from klingel_simulator.brand import Brand
from klingel_simulator.mail_imap import MailServer
from klingel_simulator.meta_sender import MetaSender, Posting
from klingel_simulator.meta_traffic import Update, to_comment
from klingel_simulator.pacing import Pace
from klingel_simulator.people import to_person
from klingel_simulator.traffic import GENERIC, Mix, Ref, SimulatedObject, Traffic
from klingel_simulator.truth import Sent, TruthFile
from klingel_simulator.whatsapp_traffic import to_message
from klingel_simulator.x_server import XServer
from klingel_simulator.x_source import HANDLE, X_DIALECT, XSource

_MAILS: Final = 5_000
"""That lie in the mailbox, the newest: it rings for days."""
NETWORKS: Final = ("x", "whatsapp", "facebook", "email")
PAGE: Final = "12345654332"
NUMBER: Final = "106540352242922"
ACCOUNT: Final = "102290129340398"
MAILBOX: Final = "service"
ADDRESS: Final = "service@nordlicht.example"
PLANTED_KEY: Final = 900_000_001
"""Key of the planted complaints; talk counts from 1."""
_ROOT_KEY: Final = 900_000_000
"""Key of the page's post under which the planted comment stands."""
COMPLAINTS: Final = {
    "x": "@nordlicht Seit heute früh kein Internet in Kiel, und die Hotline legt auf. Was ist los?",
    "whatsapp": "Hallo, ihr habt mir die Rechnung doppelt abgebucht. Wann bekomme ich mein Geld zurück?",
    "facebook": "Eure Nordbox ist schon wieder ausgefallen, zum dritten Mal. Wer hilft mir endlich?",
    "email": "Meine Kündigung wurde nicht bestätigt. Bitte antworten Sie mir, ich bin sehr verärgert.",
}
"""What is planted, by network."""

_TOLD: Final = frozenset({"post", "reply"})
_LISTEN_SECONDS: Final = 0.1
_LINE: Final = 76


def planted(network: str, seed: int, brand: Brand) -> SimulatedObject:
    """Return a network's complaint: said to the brand, by somebody who says nothing else."""
    person = to_person(seed, PLANTED_KEY + NETWORKS.index(network))
    root = Ref(_ROOT_KEY, brand.did, 0) if network == "facebook" else None
    return SimulatedObject(
        key=PLANTED_KEY,
        person=person,
        kind="post" if root is None else "reply",
        operation="create",
        revision=0,
        text=COMPLAINTS[network],
        language="de",
        intent="complaint",
        tone="negative",
        topic="service",
        heard=True,
        addressed=True,
        root=root,
        parent=root,
        mentions=((HANDLE, brand.did),) if network == "x" else (),
    )


def talk(network: str, seed: int, count: int, mix: Mix, brand: Brand) -> Traffic:
    """Return a network's own traffic; `count` 0 has no end."""
    own_seed = seed * len(NETWORKS) + NETWORKS.index(network)
    if network == "x":
        return Traffic(
            own_seed, count=count, dialect=X_DIALECT, brand=brand, account=HANDLE, mix=mix
        )
    return Traffic(own_seed, count=count, dialect=GENERIC, brand=brand, mix=mix)


def to_mail(said: SimulatedObject, seed: int, at: datetime) -> tuple[bytes, str]:
    """Return what a customer writes as a mail, and the object id under which a receiver knows it.

    Args:
        said: a post or reply of somebody.
        seed: of the traffic, part of the message ids.
        at: when it is sent, aware.
    """
    fields = {
        "Message-ID": f"<{_mail_name(said.key, seed)}>",
        "Date": format_datetime(at),
        "From": f"<kunde-{said.person.number}@kunden.example>",
        "To": f"<{ADDRESS}>",
        "Subject": "Anfrage" if said.parent is None else "Re: Anfrage",
    }
    if said.parent is not None:
        fields["In-Reply-To"] = f"<{_mail_name(said.parent.key, seed)}>"
    rest = {
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "base64",
    }
    header = "".join(f"{name}: {value}\r\n" for name, value in (fields | rest).items())
    body = "\r\n".join(wrap(base64.b64encode(said.text.encode()).decode(), _LINE))
    digest = hashlib.blake2b(digest_size=16)
    for name in ("Message-ID", "Date", "From"):
        digest.update(fields[name].encode() + b"\x00")
    digest.update(body.replace("\r", "").encode())
    return f"{header}\r\n{body}\r\n".encode(), f"email:{MAILBOX}:{digest.hexdigest()}"


def _mail_name(key: int, seed: int) -> str:
    return f"{key}.{seed}@kunden.example"


@dataclass(frozen=True, slots=True)
class Ringing:
    """What rings and where.

    Attributes:
        seed: same seed, same talk.
        events: of the talk of all networks together; 0 without end.
        rate: of all networks together, a second; 0 as fast as it is taken.
        mix: of the talk.
        brand: that it is about.
        posting: of Meta's webhooks.
        hash_key: of WhatsApp's ids, the receiver's.
    """

    seed: int
    events: int
    rate: float
    mix: Mix
    brand: Brand
    posting: Posting
    hash_key: bytes


class Stage:
    """The four networks: two that are listened to, two that post.

    Args:
        ringing: what and where.
        truth: the list of what was sent.
        now: aware UTC.
    """

    def __init__(self, ringing: Ringing, truth: TruthFile, now: Callable[[], datetime]) -> None:
        self.x = XServer(now)
        self.mail = MailServer()
        self.mail.folder("INBOX").most = _MAILS
        self.sent: Counter[str] = Counter()
        self.refused = 0
        self._ringing = ringing
        self._truth = truth
        self._now = now
        share = ringing.events // len(NETWORKS)
        self._count = max(1, share) if ringing.events else 0
        self._rate = ringing.rate / len(NETWORKS)

    def app(self) -> web.Application:
        """Build X's application; `GET /control/status` tells what was sent so far."""
        app = self.x.app()
        app.router.add_get("/control/status", self._status)
        return app

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response({"sent": dict(self.sent), "refused": self.refused})

    async def ring(self) -> None:
        """Let all ring at once, until each has said everything."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ring_x())
            group.create_task(self._ring_mail())
            for network in ("whatsapp", "facebook"):
                group.create_task(self._ring_meta(network))

    def _said(self, network: str) -> Iterator[SimulatedObject]:
        """Yield what is said: the complaint, then the talk."""
        own = self._ringing
        traffic = talk(network, own.seed, self._count, own.mix, own.brand)
        yield from chain([planted(network, own.seed, own.brand)], traffic)

    async def _ring_x(self) -> None:
        await self.x.connected.wait()
        own = self._ringing
        traffic = talk("x", own.seed, self._count, own.mix, own.brand)
        source = XSource(traffic, self.x, self._truth, now=self._now)

        def publish(said: SimulatedObject) -> None:
            source.publish(said)
            self.sent["x"] += 1

        await self._paced(self._said("x"), publish)

    async def _ring_mail(self) -> None:
        while "IDLE" not in self.mail.commands:  # noqa: ASYNC110 - the server only notes commands
            await asyncio.sleep(_LISTEN_SECONDS)
        inbox, seed = self.mail.folder("INBOX"), self._ringing.seed

        def send(said: SimulatedObject) -> None:
            at = self._now().replace(microsecond=0)
            mail, object_id = to_mail(said, seed, at)
            inbox.add(mail, at)
            self._record("email", object_id)

        mails = (each for each in self._said("email") if _is_mailed(each))
        await self._paced(mails, send)

    def _record(self, network: str, object_id: str) -> None:
        now_us = int(self._now().timestamp() * 1_000_000)
        self._truth.record(Sent(network, object_id, "create", 0, heard=True, sent_us=now_us))
        self.sent[network] += 1

    async def _paced(
        self, said: Iterator[SimulatedObject], tell: Callable[[SimulatedObject], None]
    ) -> None:
        clock = asyncio.get_running_loop().time
        pace = Pace(self._rate, clock())
        while True:
            due = pace.due(clock())
            for _ in range(due):
                each = next(said, None)
                if each is None:
                    self._truth.flush()
                    return
                tell(each)
            self._truth.flush()
            await asyncio.sleep(pace.pause_seconds(due))

    async def _ring_meta(self, network: str) -> None:
        own = self._ringing
        sender = MetaSender(own.posting, self._truth, now_us=_now_us, seed=own.seed)
        await sender.run(self._counted(network, self._updates(network)), self._rate)
        self.refused += sender.tally.refused

    def _updates(self, network: str) -> Iterator[Update]:
        for said in self._said(network):
            if said.kind not in _TOLD:
                continue
            at_ms = int(self._now().timestamp() * 1_000)
            told: Update | None
            if network == "facebook":
                told = to_comment(said, PAGE, at_ms)
            else:
                told = to_message(said, ACCOUNT, NUMBER, at_ms, self._ringing.hash_key)
            if told is not None:
                yield told

    def _counted(self, network: str, updates: Iterable[Update]) -> Iterator[Update]:
        for each in updates:
            self.sent[network] += 1
            yield each


def _is_mailed(said: SimulatedObject) -> bool:
    """Whether something is a mail of a customer: nobody edits, deletes or shares a mail."""
    return (
        said.operation == "create"
        and said.kind in _TOLD
        and not said.by_brand
        and not said.repeated
    )


def _now_us() -> int:
    return time.time_ns() // 1_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `klingel-simulator networks` that no other command has."""
    parser.add_argument("--host", default="127.0.0.1", help="where X is served")
    parser.add_argument("--port", type=int, default=6090, help="of X; 0: any free port")
    parser.add_argument("--imap-port", type=int, default=6143, help="0: any free port, loopback")
    parser.add_argument("--hook-url", required=True, help="such as http://127.0.0.1:8080/hook/meta")
    parser.add_argument("--secret-env", required=True, help="variable that holds Meta's app secret")
    parser.add_argument("--key-env", required=True, help="variable with the key of WhatsApp's ids")


async def run(
    options: argparse.Namespace,
    mix: Mix,
    brand: Brand,
    until_stopped: Callable[[Any], Any],
) -> None:
    """Serve and ring until stopped; raises ValueError with one sentence for bad options."""
    secret, key = (os.environ.get(name, "") for name in (options.secret_env, options.key_env))
    for name, value in ((options.secret_env, secret), (options.key_env, key)):
        if not value:
            raise ValueError(f"{name} is not set")
    if options.events < 0 or options.rate < 0:
        raise ValueError("--events and --rate must not be negative")
    posting = Posting(options.hook_url, secret.encode(), connections=1)
    own = Ringing(options.seed, options.events, options.rate, mix, brand, posting, key.encode())
    path: Path | None = options.truth
    with TruthFile(path) as truth:
        stage = Stage(own, truth, lambda: datetime.now(UTC))
        runner = web.AppRunner(stage.app(), shutdown_timeout=2.0, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, options.host, options.port).start()
            await stage.mail.start(options.imap_port)
            _say(
                sys.stderr,
                event="listening",
                port=runner.addresses[0][1],
                imap_port=stage.mail.port,
            )

            async def ring() -> None:
                await stage.ring()
                told = {"sent": stage.sent.total(), "refused": stage.refused}
                _say(sys.stdout, event="source_finished", **told, networks=dict(stage.sent))
                await asyncio.Event().wait()

            await until_stopped(ring())
        finally:
            await stage.mail.stop()
            await runner.cleanup()


def _say(stream: Any, **event: Any) -> None:
    stream.write(json.dumps(event, separators=(",", ":")) + "\n")
    stream.flush()
