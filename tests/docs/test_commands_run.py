"""Every command of the pages for those who operate klingel runs, and ends as the page promises.

Understand, care, the indexer and the gateway run on the real Kafka and Elasticsearch; somebody rang,
and one record could not be read. What stands for something on a page (`FILE`, `EVENT_ID`) is put in,
what a sentence merely names (`klingel explain`) gets what it needs. `kubectl` and `docker` do not run
here: what they start in a container does.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from elasticsearch import Elasticsearch

from klingel.contracts.envelope import Output
from klingel.contracts.outputs import status_output
from klingel.contracts.topics import Topic, topic_specs
from klingel.model import ConnectorStatus
from klingel.model.connector_status import GapRecord
from klingel.settings import KafkaSettings
from klingel_cli.books import positions
from klingel_cli.demo.processes import Fleet, until
from klingel_cli.kafka import admin, publish, reading
from klingel_cli.main import main
from klingel_local.machine import free_ports

from ..kibana.test_apply import KEY, Kibana
from ..ringing import generic, ring
from .test_commands import commands, lines, whole
from .test_docs import PAGES, ROOT, read

pytestmark = pytest.mark.servers

OPERATING = re.compile(
    r"docs/(?:runbooks|deploy)/.+|docs/(?:security|sizing|upgrading|observability|kibana)\.md"
)
SERVICES = ("understand", "care", "indexer", "gateway")
BRAND = """\
brand: nordlicht
name: Nordlicht
accounts:
  - network: webhook
    id: forum:nordlicht-team
listening:
  - id: name
    query: '"nordlicht"'
queues:
  - id: first
  - id: second
triage:
  open_indirect: true
"""
RECORDED = json.dumps(
    {
        "did": "did:plc:anna",
        "time_us": 1_772_452_800_000_000,
        "kind": "commit",
        "commit": {
            "rev": "3lzzz",
            "operation": "create",
            "collection": "app.bsky.feed.post",
            "rkey": "3lzzzzzzzzz2a",
            "record": {
                "$type": "app.bsky.feed.post",
                "createdAt": "2026-03-02T12:00:00.000Z",
                "langs": ["de"],
                "text": "nordlicht: kein Internet!",
            },
            "cid": "bafyreib",
        },
    }
)
"""A line of a recording of Bluesky."""
NEEDED = {
    "case override": ("CASE_ID", "--queue", "second"),
    "config apply": ("FILE",),
    "customer show": ("CUSTOMER", "--brand", "nordlicht"),
    "dead-letters redrive": ("ID",),
    "dead-letters show": ("ID",),
    "doctor": ("NAME",),
    "erase": ("--object", "OBJECT_ID"),
    "explain": ("EVENT_ID",),
    "index key": ("indexer",),
    "rules preview": ("FILE",),
    "search": ("nordlicht",),
}
"""What a command needs that a sentence only names."""
WITH_SECURITY = {
    "index key cli": "tests/security/test_elasticsearch_rights.py",
    "index key indexer": "tests/security/test_elasticsearch_rights.py",
    "index roles --apply": "tests/security/test_elasticsearch_rights.py",
    "topics rights --apply": "tests/security/test_kafka_rights.py",
}
"""What servers without users refuse in one sentence; and who runs it on servers that have some."""
CHANGING = (
    "config apply", "case override", "dead-letters redrive", "topics apply", "topics rights",
    "kibana", "index", "reindex", "erase",
)  # fmt: skip
"""Run after what only looks, in this order."""
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]*\b")
SETTING = re.compile(r"[A-Z][A-Z0-9_]*=.*")


def _code(page: str) -> Iterator[list[str]]:
    """Yield the words of each line of code, with the settings before a command."""
    for line in lines(page):
        try:
            yield shlex.split(re.sub(r"^[0-9]+\. +", "", line), comments=True)
        except ValueError:
            continue  # a shape of the language around it, no command


def found() -> list[tuple[str, ...]]:
    """Return each command of the pages once, in the order in which they can be run."""
    every = set[tuple[str, ...]]()
    for words in (each for page in filter(OPERATING.fullmatch, PAGES) for each in _code(page)):
        inner = words[words.index("--") + 1 :] if "--" in words[:-1] else words
        if inner[:4] == ["docker", "compose", "run", "--rm"]:
            inner = ["klingel", *inner[5:]]
        told = [each for each in inner if not SETTING.fullmatch(each)]
        if len(told) > 1 and told[0] == "klingel" and whole(inner):
            every.add(tuple(inner))
    return sorted(every, key=_order)


def _order(words: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    rest = words[words.index("klingel") + 1 :]
    places = [at for at, begin in enumerate(CHANGING) if " ".join(rest).startswith(begin)]
    return (places[0] + 1 if places else 0), rest


@dataclass(frozen=True)
class House:
    """The services, their settings, and what the placeholders of the pages stand for."""

    fleet: Fleet
    environ: dict[str, str]
    meant: dict[str, str]

    def run(self, *words: str) -> Result:
        """Run `klingel`."""
        return CliRunner().invoke(main, list(words), env=self.environ)

    def done(self, *words: str) -> str:
        """Run it; it has to succeed."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture(scope="module")
def kibana() -> Iterator[Kibana]:
    server = Kibana()
    yield server
    server.close()


@pytest.fixture(scope="module")
def house(
    kafka_bootstrap: str,
    elasticsearch_url: str,
    kibana: Kibana,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    """Services under a prefix of this file's own, made by the commands themselves."""
    servers = SimpleNamespace(
        bootstrap=kafka_bootstrap, elasticsearch_url=elasticsearch_url, elasticsearch_auth=None
    )
    folder = tmp_path_factory.mktemp("operated")
    (folder / "nordlicht.yaml").write_text(BRAND, encoding="utf-8")
    settings = {"KLINGEL_ERASURE__KEY": "a key of this file's own"}
    with Fleet(servers, folder, f"t{uuid.uuid4().hex[:8]}-", settings) as fleet:
        told = fleet.environ() | {
            "KLINGEL_KIBANA__URL": kibana.url,
            "KLINGEL_KIBANA__API_KEY": KEY,
        }
        house = House(fleet, told, {"FILE": str(folder / "nordlicht.yaml"), "NAME": "webhook"})
        try:
            house.done("topics", "apply")
            house.done("index", "apply")
            house.done("config", "apply", house.meant["FILE"])
            for kind in SERVICES:
                fleet.start(kind)
            for kind in SERVICES:
                fleet.wait_ready(f"{kind}-0")
            _ring(house)
            yield house
        finally:
            fleet.stop_all()
            _forget(house, elasticsearch_url)


def _ring(house: House) -> None:
    """Let two people ring and one record be unreadable; wait until all is where it ends."""
    kafka = _kafka(house)
    now = datetime.now(UTC)
    said = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    events = [
        generic("a1", "nordlicht: kein Internet!", published_at=said),
        generic("b1", "nordlicht: bei mir auch nicht!", published_at=said, author={"id": "bert"}),
    ]
    rung = [ring(event, received_at=now) for event in events]
    told = {"connector": "mastodon", "network": "mastodon", "state": "running", "at": now}
    lost = GapRecord(channel="", cause="disconnected", outcome="filled", opened_at=now)
    for status in (
        ConnectorStatus(instance="mastodon", **told, credential="ok", last_event_at=now),
        ConnectorStatus(instance="mastodon/gap/1", **told, gap=lost),
    ):
        publish(kafka, [status_output(status, "klingel/test")])
    publish(kafka, [*rung, Output(Topic.RAW_EVENTS, b"strange", b"no JSON", rung[0].headers)])
    assert until(lambda: len(_told(house, "case", "list", "--json")) == 2, 60)
    assert until(lambda: _told(house, "dead-letters", "list", "--json") != [], 60)
    (case, _) = sorted(_told(house, "case", "list", "--json"), key=lambda each: each["case_id"])
    (letter,) = _told(house, "dead-letters", "list", "--json")
    (post, *_) = _told(house, "search", "nordlicht", "--json")
    delivery = house.fleet.folder / "delivery.json"
    delivery.write_bytes(msgspec.json.encode({**events[0], "network": "webhook"}))
    house.meant.update(
        CASE_ID=case["case_id"],
        CUSTOMER=case["customer_id"],
        DELIVERY=str(delivery),
        EVENT_ID=post["event_id"],
        FOLDER=str(ROOT / "deploy/kibana"),
        ID=letter["id"],
        NETWORK="webhook",
        OBJECT_ID=post["object_id"],
    )


def _kafka(house: House) -> KafkaSettings:
    return house.fleet.read_settings().kafka


def _told(house: House, *words: str) -> list[dict[str, Any]]:
    """Return the records that a command prints, one a line or in one list."""
    result = house.run(*words)
    lines = [json.loads(line) for line in result.stdout.splitlines() if result.exit_code == 0]
    return lines[0] if len(lines) == 1 and isinstance(lines[0], list) else lines


def _forget(house: House, elasticsearch_url: str) -> None:
    """Remove topics, indices and templates."""
    prefix = house.fleet.prefix
    with admin(_kafka(house)) as client:
        client.delete_topics([prefix + name for name in topic_specs()])
    with Elasticsearch(elasticsearch_url) as client:
        for name in client.indices.get(index=f"{prefix}*,-.*"):
            client.indices.delete(index=name)
        client.indices.delete_index_template(name=f"{prefix}*")
        client.cluster.delete_component_template(name=f"{prefix}*")


def filled(words: tuple[str, ...], house: House) -> tuple[dict[str, str], list[str]]:
    """Return a command's settings and arguments, with what its placeholders mean here."""
    at = words.index("klingel")
    told, meant = " ".join(words[at + 1 :]), dict(house.meant)
    if told.startswith("map "):
        meant["FILE"] = meant["DELIVERY"]
    # whom a page erases as an example has never rung here: nothing is found, and nothing left
    rest = [each.removesuffix("…").replace("…", "example") for each in words]
    rest += NEEDED.get(told, ())
    prefix = house.fleet.prefix
    rest = [
        PLACEHOLDER.sub(lambda name: meant.get(name[0], name[0]), each)
        .replace("klingel2-", f"{prefix.removesuffix('-')}b-")
        .replace("=klingel-", f"={prefix}")
        for each in rest
    ]
    return dict(each.split("=", 1) for each in rest[:at]), rest[at + 1 :]


def _wrong(words: tuple[str, ...], house: House) -> str | None:
    """Run a command; returns what is not as its page promises."""
    settings, arguments = filled(words, house)
    told = " ".join(arguments)
    refused = [each for each in WITH_SECURITY if told.startswith(each)]
    environ = house.environ | settings
    result = CliRunner().invoke(main, arguments, env=environ)
    if not isinstance(result.exception, SystemExit | None):
        return f"raised {result.exception!r}"
    if refused:
        sentence = result.stderr.startswith("klingel: ") and result.stderr.count("\n") == 1
        return None if (result.exit_code, sentence) == (2, True) else result.output
    return result.output if result.exit_code or "Traceback" in result.output else None


def test_every_command_runs_and_ends_as_its_page_promises(house: House) -> None:
    """With 0; in their order, since some change what the others look at."""
    every = [each for each in found() if "--every" not in each]
    assert len(every) > 50
    wrong = {}
    for words in every:
        # two prefixes agree while nobody writes to one of them, as the page says
        with _silent(house) if "--to" in words else nullcontext():
            wrong[" ".join(words)] = _wrong(words, house)
    assert {words: why for words, why in wrong.items() if why is not None} == {}


@contextmanager
def _silent(house: House) -> Iterator[None]:
    """Let nobody write: the gateway tells its state every 10 s, and the indexer what it was told."""
    house.fleet.freeze("gateway-0")
    try:
        assert until(lambda: _all_indexed(house), 60), "the indexer stands still"
        house.fleet.freeze("indexer-0")
        yield
    finally:
        house.fleet.thaw("indexer-0")
        house.fleet.thaw("gateway-0")


def _all_indexed(house: House) -> bool:
    """Whether the indexer has committed every status."""
    kafka = _kafka(house)
    with admin(kafka) as client, reading(kafka) as log:
        at = positions(client, kafka, "indexer")
        ends = log.ends(log.slots(Topic.CONNECTOR_STATUS))
    return all(not end or (slot in at and at[slot].offset >= end) for slot, end in ends.items())


@pytest.mark.parametrize("told", WITH_SECURITY)
def test_what_needs_users_runs_where_there_are_some(told: str) -> None:
    """The suite of rights runs it: its words stand there one after the other."""
    there = (ROOT / WITH_SECURITY[told]).read_text(encoding="utf-8")
    *group, last = told.split()
    assert ", ".join(f'"{each}"' for each in group) in there
    assert f'"{last}"' in there


def test_the_audit_as_a_service_answers_and_ends_when_it_is_told(house: House) -> None:
    """It never ends by itself: asked, then ended by SIGTERM."""
    (words,) = {each for each in found() if "--every" in each}
    (port,) = free_ports("the audit of the pages", 1)
    environ = house.environ | {"KLINGEL_HTTP__PORT": str(port)}
    command = [str(Path(sys.executable).with_name("klingel")), *words[1:]]
    with subprocess.Popen(command, env={**os.environ, **environ}) as process:
        try:
            assert until(lambda: _answers(port, "/readyz"), 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def test_recordings_are_played_back(house: House) -> None:
    """`klingel-connector run replay` of the page ends when they do; what they tell is heard."""
    (words,) = {
        tuple(each)
        for page in filter(OPERATING.fullmatch, PAGES)
        for each in commands(page, ("klingel-connector",))
    }
    assert words[1:3] == ("run", "replay")
    recording = house.fleet.folder / "recording.ndjson"
    recording.write_text(RECORDED, encoding="utf-8")
    options = [str(recording) if each == "FILE…" else each for each in words[3:]]
    child = house.fleet.start("replay", *options)
    assert house.fleet.wait("replay-0", 60) == 0, child.log.read_text(encoding="utf-8")
    assert until(lambda: "bluesky" in house.done("search", "network:bluesky", "--json"), 30)


def test_backups_are_made_and_restored(house: House, elasticsearch_url: str) -> None:
    """The lines of `curl`, with a repository and documents of this test's own."""
    index = f"{house.fleet.prefix}kept"
    with Elasticsearch(elasticsearch_url) as client:
        client.index(index=index, id="1", document={"kept": True}, refresh=True)
        made, kept, restored = _curls("docs/upgrading.md")
        try:
            for each in (made, kept):
                _curl(each, elasticsearch_url, index)
            client.indices.delete(index=index)
            _curl(restored, elasticsearch_url, index)
            assert client.get(index=index, id="1")["_source"] == {"kept": True}
        finally:
            client.snapshot.delete(repository=index, snapshot="*")
            client.snapshot.delete_repository(name=index)


def _curls(page: str) -> list[list[str]]:
    """Return the words of each call of a page."""
    text = re.sub(r" *\\\n *", " ", read(page))
    return [shlex.split(each) for each in re.findall(r"^curl .+$", text, re.MULTILINE)]


def _curl(words: list[str], url: str, index: str) -> None:
    told = [
        each.replace("$ES", url)
        .replace("_snapshot/klingel", f"_snapshot/{index}")
        .replace('"location": "klingel"', f'"location": "{index}"')
        .replace("klingel-*", index)
        for each in words
    ]
    done = subprocess.run(
        [*told, "--silent", "--show-error", "--fail-with-body"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
