"""The gateway: signed Meta deliveries a second and core, how late they are answered, and what survives.

    python benchmarks/gateway.py [--kafka 127.0.0.1:9092] [--seconds 20] [--rate 3000]
    python benchmarks/gateway.py [--kafka 127.0.0.1:9092] --kills 100

Without `--kafka` it starts a Kafka of its own, and stops it at the end.

A gateway of its own process, as it is deployed, over real sockets and a real Kafka with acks=all; the
deliveries are signed messages and comments of Messenger, WhatsApp and Facebook, one object each, made
before the clock starts. `a core` divides by the CPU time of the gateway's process, all threads, so that
what else the machine does counts for nothing; the wall-clock figure stands beside it. Lateness is
measured in a second round at `--rate`: the senders keep to that many a second, and lateness is counted
from when a delivery was due, not from when a sender had time for it. At all that a gateway takes it
would tell how many connections wait, and nothing else.

With `--kills` the gateway is killed with SIGKILL again and again under load. Every delivery that was
answered 2xx must lie in `raw-events`, once after dedupe by object and revision. Exit code 1 if one is
missing, or below a gate.
"""

import argparse
import asyncio
import gc
import hashlib
import hmac
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import uvloop
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import NewTopic

from klingel_cli.demo.rehearsal import stage_set

ROOT = Path(__file__).resolve().parents[1]
SECRET = b"benchmark-app-secret"
DELIVERIES_A_CORE = 3_000
P99_SECONDS = 0.050
TOPICS = (
    "raw-events",
    "dead-letters",
    "stage-ledger",
    "connector-status",
    "connector-cursors",
    "suppressions",
)
PARTITIONS = 12
_LEAST_SECONDS = 3.0
_EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')
_NATIVE_ID = re.compile(rb'(?:m_|44_|wamid\.)([0-9]+-[0-9]+)"')


Result = TypeVar("Result")


class Sent(NamedTuple):
    """One delivery: the request's bytes and the id by which its object is found again."""

    request: bytes
    native_id: str


def deliveries(count: int, seed: int, port: int = 0) -> list[Sent]:
    """Return signed requests: half messages of Messenger and WhatsApp, half comments on pages."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        native_id = f"{seed}-{number}"
        body = json.dumps(_SHAPES[number % len(_SHAPES)](native_id, chance)).encode()
        digest = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        head = (
            f"POST /hook/meta HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: facebookexternalua\r\n"
            f"Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Hub-Signature-256: sha256={digest}\r\n\r\n"
        )
        made.append(Sent(head.encode() + body, native_id))
    return made


def _text(chance: random.Random) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randint(6, 30)))


_WORDS = [
    "Seit",
    "gestern",
    "kein",
    "Netz",
    "in",
    "Köln",
    "Router",
    "blinkt",
    "bitte",
    "helfen",
    "😡",
    "Lieferung",
    "wo",
    "Antwort",
]
_AT = 1_783_175_888


def _messenger(native_id: str, chance: random.Random) -> dict[str, Any]:
    message = {"mid": f"m_{native_id}", "text": _text(chance)}
    messaging = {
        "sender": {"id": str(chance.randrange(10**15, 10**16))},
        "recipient": {"id": "108500000000001"},
        "timestamp": _AT * 1000,
        "message": message,
    }
    return {
        "object": "page",
        "entry": [{"id": "108500000000001", "time": _AT * 1000, "messaging": [messaging]}],
    }


def _comment(native_id: str, chance: random.Random) -> dict[str, Any]:
    value = {
        "from": {"id": str(chance.randrange(10**15, 10**16)), "name": "Erika M."},
        "post_id": "108500000000001_44",
        "comment_id": f"44_{native_id}",
        "parent_id": "108500000000001_44",
        "created_time": _AT,
        "item": "comment",
        "verb": "add",
        "message": _text(chance),
    }
    change = {"field": "feed", "value": value}
    return {
        "object": "page",
        "entry": [{"id": "108500000000001", "time": _AT, "changes": [change]}],
    }


def _whatsapp(native_id: str, chance: random.Random) -> dict[str, Any]:
    sender = str(chance.randrange(10**11, 10**12))
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "4922100000", "phone_number_id": "106540000000001"},
        "contacts": [{"profile": {"name": "Erika"}, "wa_id": sender}],
        "messages": [
            {
                "from": sender,
                "id": f"wamid.{native_id}",
                "timestamp": str(_AT),
                "type": "text",
                "text": {"body": _text(chance)},
            }
        ],
    }
    change = {"field": "messages", "value": value}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290000000001", "changes": [change]}],
    }


_SHAPES = (_messenger, _comment, _whatsapp, _comment)


# --- the gateway -------------------------------------------------------------------------------


class Gateway:
    """A gateway in a process of its own."""

    def __init__(self, kafka: str, prefix: str, folder: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environ = {
            name: value for name, value in os.environ.items() if not name.startswith("KLINGEL_")
        } | {
            "KLINGEL_KAFKA__BOOTSTRAP": kafka,
            "KLINGEL_KAFKA__TOPIC_PREFIX": prefix,
            "KLINGEL_BLOBS__DIR": folder,
            "KLINGEL_HTTP__HOST": "127.0.0.1",
            "KLINGEL_HTTP__PORT": str(self.port),
            "KLINGEL_HOOKS": "meta",
            "KLINGEL_WHATSAPP_HASH_KEY": "a key of the benchmark",
            "KLINGEL_HOOK_SECRET_META": SECRET.decode(),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; the port stays the same over restarts."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "klingel_connectors", "gateway"],
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Kill it as the kernel does when memory runs out."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Let it end in order."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process so far, all threads."""
        if self._process is None:
            return 0.0
        with open(f"/proc/{self._process.pid}/stat") as file:  # noqa: PTH123  the kernel's file
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ready(port: int, within: float = 60.0) -> None:
    """Return once the gateway takes deliveries."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            line = await reader.readline()
            writer.close()
            if b" 200 " in line:
                return
        await asyncio.sleep(0.05)
    raise SystemExit("the gateway does not become ready")


# --- the senders -------------------------------------------------------------------------------


class Told(NamedTuple):
    """What the senders saw.

    Attributes:
        lateness: seconds from due to answered, one a delivery answered 2xx.
        accepted: native ids answered 2xx.
        refused: answers other than 2xx.
        seconds: wall-clock.
    """

    lateness: list[float]
    accepted: list[str]
    refused: int
    seconds: float


class Sender(asyncio.Protocol):
    """One connection: the next delivery goes out when the last is answered."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent: Sent | None = None
        self._due = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to send."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self.next()

    def next(self) -> None:
        """Send the next delivery, when it is due."""
        assert self._transport is not None
        taken = self._run.take()
        if taken is None:
            self._transport.close()
            return
        self._sent, self._due = taken
        wait = self._due - time.perf_counter()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._transport.write, self._sent.request)
        else:
            self._transport.write(self._sent.request)

    def data_received(self, data: bytes) -> None:
        """Read an answer, and go on."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._sent is None:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length: ")
        length = int(head[at + 16 : at + 26].split(b"\r")[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        good = self._buffer[9:10] == b"2"
        self._buffer = self._buffer[end + 4 + length :]
        self._run.answered(self._sent, self._due, good=good)
        self._sent = None
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Say that it is over; what was not answered counts for nothing."""
        if not self.closed.done():
            self.closed.set_result(None)


class Run:
    """Deliveries shared out among connections, until they or the time end."""

    def __init__(self, made: list[Sent], seconds: float, rate: float) -> None:
        self._made: Iterator[Sent] = iter(made)
        self._began = time.perf_counter()
        self._until = self._began + seconds
        self._rate = rate
        self._taken = 0
        self.lateness: list[float] = []
        self.accepted: list[str] = []
        self.refused = 0

    def take(self) -> tuple[Sent, float] | None:
        """Return the next delivery and when it is due."""
        now = time.perf_counter()
        due = now if not self._rate else self._began + self._taken / self._rate
        if now >= self._until or due >= self._until:
            return None
        self._taken += 1
        sent = next(self._made, None)
        return None if sent is None else (sent, due)

    def answered(self, sent: Sent, due: float, *, good: bool) -> None:
        """Note an answer."""
        if good:
            self.lateness.append(time.perf_counter() - due)
            self.accepted.append(sent.native_id)
        else:
            self.refused += 1


async def send(port: int, made: list[Sent], seconds: float, connections: int, rate: float) -> Told:
    """Send for so many seconds over so many connections."""
    run = Run(made, seconds, rate)
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    senders = []
    for _ in range(connections):
        with suppress(OSError):
            _, sender = await loop.create_connection(lambda: Sender(run), "127.0.0.1", port)
            senders.append(sender)
    await asyncio.gather(*(sender.closed for sender in senders))
    return Told(run.lateness, run.accepted, run.refused, time.perf_counter() - began)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run senders on a loop that leaves most of the machine to what is measured."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


# --- the measurements --------------------------------------------------------------------------


@contextmanager
def topics(kafka: str) -> Iterator[str]:
    """Make the topics under a prefix of their own; delete them in the end."""
    prefix = f"bench-gateway-{os.getpid()}-"
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    names = [prefix + topic for topic in TOPICS]
    admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    try:
        yield prefix
    finally:
        with suppress(kafka_errors.KafkaError):
            admin.delete_topics(names)
        admin.close()


class Kept(NamedTuple):
    """What lies in `raw-events`: records, object ids with revisions, and native ids."""

    records: int
    revisions: int
    native_ids: set[str]


def kept(kafka: str, topic: str) -> Kept:
    """Read every raw event."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest")
    records, revisions, native_ids = 0, set(), set()
    try:
        for partition in sorted(consumer.partitions_for_topic(topic) or ()):
            at = TopicPartition(topic, partition)
            consumer.assign([at])
            consumer.seek_to_beginning(at)
            end = consumer.end_offsets([at])[at]
            while consumer.position(at) < end:
                for record in consumer.poll(timeout_ms=1000).get(at, []):
                    records += 1
                    revisions.add(_EVENT_ID.search(record.value)[1])
                    native_ids.add(_NATIVE_ID.search(record.value)[1].decode())
    finally:
        consumer.close()
    return Kept(records, len(revisions), native_ids)


class Speed(NamedTuple):
    """What was measured.

    Attributes:
        a_core: deliveries answered 2xx a second of the gateway's CPU, at all that it takes.
        p99: seconds from due to answered at the asked rate, 99th percentile.
        lost: deliveries answered 2xx that are not in `raw-events`.
    """

    a_core: float
    p99: float
    lost: int


def missed(found: Speed) -> list[str]:
    """Tell every gate; return those that are missed."""
    gates = (
        ("deliveries a second and core", found.a_core, ">=", DELIVERIES_A_CORE),
        ("p99, seconds from due to answered", found.p99, "<", P99_SECONDS),
        ("answered 2xx and missing in raw-events", found.lost, "<", 1),
    )
    below = []
    for name, value, sign, bound in gates:
        good = value >= bound if sign == ">=" else value < bound
        print(f"{'ok  ' if good else 'MISS'}  {name}: {value:,.3f} ({sign} {bound:,})")
        if not good:
            below.append(name)
    return below


def speed(given: argparse.Namespace, folder: str) -> bool:
    """Measure rate and lateness; True when the gates hold."""
    with topics(given.kafka) as prefix:
        gateway = Gateway(given.kafka, prefix, folder)
        flood = deliveries(int(12_000 * given.seconds * 1.2) + 1000, 1, gateway.port)
        paced = deliveries(int(given.rate * given.seconds * 1.2) + 1000, 3, gateway.port)
        gateway.start()
        # a sender that stops to collect its own requests would be late itself
        gc.freeze()
        gc.disable()
        try:
            run(ready(gateway.port))
            run(send(gateway.port, deliveries(3000, 2), 3.0, given.connections, 0))
            before = gateway.cpu_seconds()
            all_out = run(send(gateway.port, flood, given.seconds, given.connections, 0))
            cpu = gateway.cpu_seconds() - before
            told = run(send(gateway.port, paced, given.seconds, given.connections, given.rate))
        finally:
            gateway.stop()
            gc.enable()
        found = kept(given.kafka, prefix + "raw-events").native_ids
    lost = {*all_out.accepted, *told.accepted} - found
    count = len(all_out.accepted)
    a_core = count / cpu if cpu else 0.0
    late = (
        statistics.quantiles(told.lateness, n=1000)
        if len(told.lateness) > 1
        else [float("inf")] * 999
    )
    refused = all_out.refused + told.refused
    print(
        f"{count:,} deliveries answered 2xx in {all_out.seconds:.1f} s, {refused} refused in all,"
        f" {len(lost)} missing in raw-events\n"
        f"{count / all_out.seconds:,.0f} a second of wall clock,"
        f" {a_core:,.0f} a second of the gateway's CPU ({cpu / max(1, count) * 1e6:.0f} us each)\n"
        f"at {given.rate:,.0f} a second ({len(told.accepted):,}) answered after:"
        f" p50 {late[499] * 1000:.1f} ms, p99 {late[989] * 1000:.1f} ms,"
        f" p99.9 {late[998] * 1000:.1f} ms; load {os.getloadavg()[0]:.1f}"
    )
    return not missed(Speed(a_core, late[989], len(lost)))


def kills(given: argparse.Namespace, folder: str) -> bool:
    """Kill under load, again and again; True when nothing that was answered 2xx is missing."""
    chance = random.Random(7)
    accepted: list[str] = []
    refused = 0
    with topics(given.kafka) as prefix:
        gateway = Gateway(given.kafka, prefix, folder)
        for number in range(given.kills):
            gateway.start()
            run(ready(gateway.port))
            made = deliveries(8_000, 1000 + number, gateway.port)

            async def until_killed(made: list[Sent] = made) -> Told:
                moment = chance.uniform(0.2, 1.5)
                asyncio.get_running_loop().call_later(moment, gateway.kill)
                return await send(gateway.port, made, 30.0, given.connections, 0)

            told = run(until_killed())
            accepted += told.accepted
            refused += told.refused
        found = kept(given.kafka, prefix + "raw-events")
    lost = set(accepted) - found.native_ids
    # Each delivery is one object, said once: another revision of it would pass dedupe.
    twice = found.revisions - len(found.native_ids)
    print(
        f"{given.kills} kills: {len(accepted):,} deliveries answered 2xx, {refused} refused;"
        f" raw-events holds {found.records:,} records of {found.revisions:,} revisions of"
        f" {len(found.native_ids):,} deliveries; {len(lost)} that were answered are missing,"
        f" {twice} are there twice after dedupe; load {os.getloadavg()[0]:.1f}"
    )
    return not lost and not twice and len(accepted) >= given.kills


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--kafka", help="host:port; without it one is started here")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--rate",
        type=float,
        default=float(DELIVERIES_A_CORE),
        help="deliveries a second of the round that measures lateness",
    )
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--blobs", default="/tmp")
    given = parser.parse_args()
    given.seconds = max(_LEAST_SECONDS, given.seconds)
    given.rate = max(1.0, given.rate)
    measure = kills if given.kills else speed
    if given.kafka is not None:
        return 0 if measure(given, given.blobs) else 1
    with stage_set(ROOT / ".klingel" / "bench-gateway", tell) as stack:
        given.kafka = stack.bootstrap
        return 0 if measure(given, given.blobs) else 1


def tell(line: str) -> None:
    """Say on standard error what happens now."""
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
