"""Against the real Kafka and Elasticsearch: cases listed, shown and commanded, incidents closed.

Care decides in this process: what it reads and writes lies in the real topics.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, rfc3339
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.model import Case, CaseCommand, Incident
from klingel.model.incident import TermCount
from klingel.settings import ElasticsearchSettings, KafkaSettings
from klingel.testing.conversations import NOON
from klingel_cli.commands.config import who
from klingel_cli.kafka import publish, reading
from klingel_cli.search_client import ask
from klingel_indexer.templates import apply_templates

from ..caseload import Caseload, bulk_body
from .conftest import BRAND as BRAND_FILE

pytestmark = pytest.mark.servers

TEMPLATES = Path(__file__).resolve().parents[2] / "schemas" / "generated" / "elasticsearch"
WRITTEN = (Topic.CASES, Topic.CASE_EVENTS, Topic.ESCALATIONS)
INCIDENT = "1" * 32


class Index:
    """Elasticsearch with the documents of a caseload, searchable at once."""

    def __init__(self, url: str, prefix: str) -> None:
        self.settings = ElasticsearchSettings(url=url)
        self.prefix = prefix
        self.written = dict.fromkeys(WRITTEN, 0)

    def bulk(self, messages: Iterable[Message]) -> None:
        """Write what the indexer would write of these messages."""
        body = bulk_body(list(messages), self.prefix, rfc3339(datetime.now(UTC)))
        if not body:
            return

        async def write(client: Any) -> None:
            answer = await client.bulk(body=body, refresh=True)
            failed = [
                result["error"]
                for item in answer["items"]
                for result in item.values()
                if result["status"] >= 400 and result["status"] != 409
            ]
            assert not failed, failed[0]

        ask(self.settings, write)

    def follow(self, load: Caseload) -> None:
        """Write what care wrote since the last time."""
        for topic in WRITTEN:
            messages = load.desk.broker.messages(topic)
            self.bulk(messages[self.written[topic] :])
            self.written[topic] = len(messages)


@pytest.fixture(scope="module")
def prefix(elasticsearch_url: str) -> Iterator[str]:
    """Templates under a prefix of this module's own."""
    name = f"t{uuid.uuid4().hex[:8]}-"
    settings = ElasticsearchSettings(url=elasticsearch_url)
    ask(settings, lambda client: apply_templates(client, TEMPLATES, name, {}))
    yield name

    async def clear(client: Any) -> None:
        await client.indices.delete_index_template(name=f"{name}*")
        await client.cluster.delete_component_template(name=f"{name}*")

    ask(settings, clear)


@pytest.fixture
def load() -> Caseload:
    """Some days of care."""
    return Caseload(25, seed=5)


@pytest.fixture
def index(elasticsearch_url: str, prefix: str, load: Caseload) -> Iterator[Index]:
    """What the indexer made of them; gone after the test."""
    made = Index(elasticsearch_url, prefix)
    made.follow(load)
    yield made

    async def clear(client: Any) -> None:
        found = await client.indices.get(index=f"{prefix}*")
        if found.body:
            await client.indices.delete(index=list(found.body))

    ask(made.settings, clear)


@pytest.fixture
def settings(elasticsearch_url: str, prefix: str) -> dict[str, str]:
    """Settings that name Elasticsearch alone."""
    return {
        "KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:9",
        "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": prefix,
    }


@pytest.fixture
def both(env: dict[str, str], settings: dict[str, str]) -> dict[str, str]:
    """Settings that name both servers."""
    return settings | env


class CareOnKafka(threading.Thread):
    """Takes commands from the real topic, and writes to the real topics what comes of them."""

    def __init__(self, kafka: KafkaSettings, load: Caseload, index: Index | None = None) -> None:
        super().__init__(daemon=True)
        self._kafka, self._load, self._index = kafka, load, index
        self._ended = threading.Event()
        self.taken: list[CaseCommand] = []
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(30)
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """Work until it is stopped."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  raised where the test ends
            self.error = error

    def _work(self) -> None:
        with reading(self._kafka) as log:
            starts = dict.fromkeys(log.slots(Topic.CASE_COMMANDS), 0)
            for messages in log.follow(starts, 0.1):
                if self._ended.is_set():
                    return
                if messages:
                    self._decide(messages)

    def _decide(self, messages: Iterable[Message]) -> None:
        desk = self._load.desk
        before = {topic: len(desk.broker.messages(topic)) for topic in WRITTEN}
        desk.now = datetime.now(UTC)
        for message in messages:
            self.taken.append(codec.decode(CaseCommand, message.value))
            desk.broker.append(_again(message), int(desk.now.timestamp() * 1000))
            desk.stage.drain()
        publish(
            self._kafka,
            [
                _again(each)
                for topic in (Topic.CASE_EVENTS, Topic.CASES)
                for each in desk.broker.messages(topic)[before[topic] :]
            ],
        )
        if self._index is not None:
            self._index.follow(self._load)


def _again(message: Message) -> Output:
    """Return a record as it is to be written to the other broker, beside its conversation."""
    content = json.loads(message.value or b"")
    return Output(
        message.topic,
        message.key or b"",
        message.value,
        message.headers,
        partition_key=conversation_key(content["brand"], content["conversation_id"]),
    )


def ids(result: Any) -> list[str]:
    """Return the cases of a list in JSON, in its order."""
    assert result.exit_code == 0, result.output
    return [json.loads(line)["case_id"] for line in result.stdout.splitlines()]


# -- what is there -------------------------------------------------------------------------------


def test_lists_hold_what_was_asked_for_the_nearest_deadline_first(
    run, settings, index, load
) -> None:
    cases = load.cases()

    def listed(*arguments: str) -> list[str]:
        return ids(run("case", "list", "--json", *arguments, env=settings))

    def expected(wanted: Callable[[Case], object]) -> set[str]:
        found = {case.case_id for case in cases if wanted(case)}
        assert found, "the caseload has none of these"
        return found

    unclosed = expected(lambda case: case.state in {"open", "waiting", "snoozed"})
    every = listed()
    assert set(every) == unclosed
    due = {case.case_id: case.due_at for case in cases}
    dates = [due[each] for each in every if due[each] is not None]
    assert dates == sorted(dates)
    assert every[: len(dates)] == [each for each in every if due[each] is not None]
    assert set(listed("--state", "closed")) == expected(lambda case: case.state == "closed")
    assert set(listed("--state", "open", "--state", "closed")) == expected(
        lambda case: case.state in {"open", "closed"}
    )
    assert set(listed("--queue", "second")) == unclosed & expected(
        lambda case: case.queue == "second"
    )
    assert set(listed("--late")) >= unclosed & expected(lambda case: case.late)
    assert set(listed("--assignee", "jo")) == unclosed & expected(
        lambda case: case.assignee == "jo"
    )
    assert set(listed("--assignee", "-")) == unclosed & expected(lambda case: not case.assignee)
    assert set(listed("--brand", "nordlicht")) == unclosed
    assert listed("--brand", "other") == []
    assert len(listed("--size", "3")) == 3
    waiting = expected(lambda case: case.waiting_since is not None) & unclosed
    assert set(listed("--waiting-longer-than", "1m")) == waiting


def test_a_list_for_people_is_a_table(run, settings, index, load) -> None:
    result = run("case", "list", "--size", "2", env=settings)
    assert result.exit_code == 0
    assert result.stdout.split()[:3] == ["state", "queue", "priority"]
    unclosed = [case for case in load.cases() if case.state in {"open", "waiting", "snoozed"}]
    assert f"2 of {len(unclosed)} cases" in result.stdout


def test_a_case_is_shown_with_clocks_that_add_up_and_all_that_happened(
    run, settings, index, load
) -> None:
    case = next(
        case
        for case in load.cases()
        if case.first_response_at is not None and "first_response" in (case.late or ())
    )
    told = json.loads(run("case", "show", case.case_id, "--json", env=settings).stdout)
    assert told["case"]["case_id"] == case.case_id
    assert [clock["name"] for clock in told["clocks"]] == [each.name for each in case.clocks]
    for clock in told["clocks"]:
        assert sum(each["seconds"] for each in clock["intervals"]) == clock["target_seconds"]
    kinds = [each["kind"] for each in told["timeline"]]
    assert kinds[0] == "opened"
    assert {"breached", "escalated", "responded"} <= set(kinds)
    shown = run("case", "show", case.case_id, env=settings)
    assert shown.exit_code == 0
    assert "first_response: met_late, policy public, 1h 00m until" in shown.stdout
    assert "counted by calendar office (Europe/Berlin) 3,600 s" in shown.stdout
    assert "why this queue" in shown.stdout
    assert f"answered       {case.first_response_at:%Y-%m-%d %H:%M:%S}Z by" in shown.stdout
    assert "escalations" in shown.stdout
    assert "timeline" in shown.stdout


def test_a_case_that_is_not_there_is_exit_1(run, settings, index) -> None:
    result = run("case", "show", "nordlicht:c:u#1", env=settings)
    assert (result.exit_code, result.stderr) == (
        1,
        "klingel: no such case is indexed; see klingel case list\n",
    )
    result = run("case", "ack", "other:c:u#1", env=settings)
    assert result.exit_code == 2
    assert "name its --conversation" in result.stderr


# -- commands ------------------------------------------------------------------------------------


def test_commands_are_taken_and_their_outcomes_waited_for(run, both, kafka, index, load) -> None:
    """Each is one line with what happened; what cannot be done is exit 1 with one sentence."""
    case = next(case for case in load.cases() if case.state == "open" and len(case.facts) == 1)
    post = next(
        f"bluesky:network:{number}-0" for number in range(25) if f"root-{number}:" in case.case_id
    )
    ordered = (
        (("assign", "--to", "jo"), "assigned"),
        (("ack",), "acknowledged"),
        (("override", "--queue", "second", "--priority", "77"), "overridden"),
        (("override", "--post", post, "--tone", "negative", "--intent", "lead"), "overridden"),
        (("snooze", "--for", "4h"), "snoozed"),
        (("close",), "closed"),
        (("reopen",), "reopened"),
    )

    def order(name: str, *options: str) -> Any:
        return run("case", name, case.case_id, *options, "--wait", "60", env=both)

    with CareOnKafka(kafka, load, index) as care:
        for (name, *options), kind in ordered:
            result = order(name, *options)
            assert result.exit_code == 0, result.output
            assert kind in result.stdout
            assert care.taken[-1].command_id in result.stdout
        result = order("reopen")
        assert (result.exit_code, result.stderr) == (
            1,
            "klingel: reopen is refused: the case is open already\n",
        )
        result = run("case", "close", case.case_id, "--wait", "60", "--json", env=both)
        assert json.loads(result.stdout)["happened"][-1] == "closed"
        result = run("case", "close", case.case_id, "--wait", "60", "--json", env=both)
        assert result.exit_code == 1
        assert json.loads(result.stdout)["refused"] == "case_closed"
    after = next(each for each in load.cases() if each.case_id == case.case_id)
    assert (after.assignee, after.queue, after.priority.score) == ("jo", "second", 77)
    assert (after.state, after.closed_because) == ("closed", "command")
    assert {command.by for command in care.taken} == {who()}
    decision = load.desk.routed()[-1].decision
    assert (decision.overruled_tone, decision.overruled_intents) == ("negative", ["lead"])


def test_two_cases_are_merged_whichever_is_named_first(run, both, kafka, index, load) -> None:
    first, second = sorted(case.case_id for case in load.cases() if case.state == "open")[:2]
    with CareOnKafka(kafka, load):
        result = run("case", "merge", first, second, "--wait", "60", env=both)
        assert result.exit_code == 0, result.output
    states = {case.case_id: (case.state, case.merged_into) for case in load.cases()}
    assert states[second] == ("merged", first)
    assert states[first] == ("open", None)


def test_without_elasticsearch_a_case_is_named_by_brand_conversation_and_customer(
    run, env, kafka, load, tmp_path
) -> None:
    case = next(case for case in load.cases() if case.state == "open")
    away = env | {"KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9"}
    named = (
        "--brand",
        "nordlicht",
        "--conversation",
        case.conversation_id,
        "--customer",
        case.customer_id,
    )
    result = run("case", "ack", *named, env=away)
    assert result.exit_code == 2
    assert "there is no brand nordlicht in force; there are none" in result.stderr
    path = tmp_path / "nordlicht.yaml"
    path.write_text(BRAND_FILE, encoding="utf-8")
    assert run("config", "apply", path, env=away).exit_code == 0
    result = run("case", "ack", *named, env=away)
    assert result.exit_code == 0, result.output
    with CareOnKafka(kafka, load):
        result = run("case", "close", *named, "--wait", "60", env=away)
        assert result.exit_code == 0, result.output
    after = next(each for each in load.cases() if each.case_id == case.case_id)
    assert after.state == "closed"
    assert after.acknowledged_by is not None


def test_when_nobody_takes_a_command_it_is_said_and_exit_3(run, both, index, load) -> None:
    case = load.cases()[0]
    result = run("case", "ack", case.case_id, "--wait", "1", env=both)
    assert result.exit_code == 3
    assert "care did not take the command cli-" in result.stderr
    assert "within 1 s; it may still do so" in result.stderr


# -- incidents -----------------------------------------------------------------------------------


def incident() -> Message:
    """Return the record of an incident."""
    value = Incident(
        incident_id=INCIDENT,
        brand="nordlicht",
        kind="same_question",
        lang="de",
        state="open",
        revision=3,
        opened_at=NOON,
        updated_at=NOON,
        count=30,
        authors=28,
        terms=[TermCount(term="störung", count=22)],
        samples=["bluesky:network:1-0"],
    )
    return Message(Topic.INCIDENTS, 0, 0, INCIDENT.encode(), codec.encode(value))


def test_an_incident_is_listed_shown_and_all_its_cases_closed(
    run, both, kafka, index, load
) -> None:
    index.bulk([incident()])
    members = [case for case in load.cases() if case.state == "open"][:3]
    for number, case in enumerate(members):
        load.desk.order(
            "incident_joined",
            case.customer_id,
            conversation=case.conversation_id,
            command_id=f"join-{number}",
            target=INCIDENT,
        )
    index.follow(load)
    result = run("incident", "list", env=both)
    assert INCIDENT in result.stdout
    assert "störung" in result.stdout
    assert run("incident", "list", "--brand", "other", "--json", env=both).stdout == ""
    shown = run("incident", "show", INCIDENT, "--brand", "nordlicht", "--json", env=both)
    told = json.loads(shown.stdout)
    assert (told["incident"]["count"], told["cases"]) == (30, {"open": 3})
    assert "3 open" in run("incident", "show", INCIDENT, "--brand", "nordlicht", env=both).stdout
    with CareOnKafka(kafka, load, index) as care:
        result = run("incident", "close", INCIDENT, "--brand", "nordlicht", env=both)
        assert result.exit_code == 0, result.output
        assert "3 cases are open; 3 commands are given" in result.stdout
        assert "no case of the incident is open; 3 commands were given" in result.stdout
    assert {command.kind for command in care.taken} == {"incident_closed"}
    after = {case.case_id: case for case in load.cases()}
    for case in members:
        assert (after[case.case_id].state, after[case.case_id].incident) == ("closed", INCIDENT)


def test_an_incident_that_is_not_there_is_exit_1(run, both, index) -> None:
    for command in ("show", "close"):
        result = run("incident", command, "2" * 32, "--brand", "nordlicht", env=both)
        assert result.exit_code == 1
        assert "no such incident is indexed" in result.stderr
