"""Against the real Kafka and Elasticsearch: index, search, explain, audit and status."""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import KafkaAdminClient

from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.envelope import Headers, Output, SourcePosition, ce_headers, trace_id
from klingel.contracts.partition import conversation_key, partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import ConnectorStatus, LedgerLine, RawEvent, RoutedEvent, SocialEvent
from klingel.model.routed_event import Decision
from klingel.model.social_event import Author, Lang, Match, Origin
from klingel.settings import ElasticsearchSettings, KafkaSettings
from klingel.stage.checkpoint import checkpoint_output
from klingel.stage.dead_letters import Component, dead_letter
from klingel.stage.ledger import Tally, ledger_output
from klingel_cli import books as books_of
from klingel_cli.books import group_of
from klingel_cli.kafka import admin, reading
from klingel_cli.main import main
from klingel_cli.search_client import ask

pytestmark = pytest.mark.servers

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
OBJECT = "webhook:shop:m1"
CONVERSATION = "webhook:shop:c1"
PLACE = conversation_key("nordlicht", CONVERSATION)
NEAR = partition_for(PLACE, 4)
RAW = partition_for(OBJECT.encode(), 4)
Put = Callable[[Iterable[Output]], None]


def headers(topic: Topic, identity: str, *, caused_by: SourcePosition | None = None) -> Headers:
    return ce_headers(
        topic,
        event_id=identity,
        source="klingel/test",
        subject=identity,
        time=NOON,
        trace=trace_id(identity),
        caused_by=caused_by,
    )


def raw_output(revision: int = 0, value: bytes | None = None) -> Output:
    raw = RawEvent(
        event_id=f"{OBJECT}@{revision}",
        object_id=OBJECT,
        revision=revision,
        network="webhook",
        connector="webhook-1",
        kind="post",
        change="created",
        mode="live",
        received_at=NOON,
        native=msgspec.Raw(b"{}"),
        context={},
    )
    return Output(
        Topic.RAW_EVENTS,
        OBJECT.encode(),
        value or codec.encode(raw),
        headers(Topic.RAW_EVENTS, raw.event_id),
    )


def social(revision: int = 0, offset: int = 0) -> SocialEvent:
    return SocialEvent(
        event_id=f"nordlicht/{OBJECT}@{revision}",
        object_id=OBJECT,
        kind="post",
        change="created",
        revision=revision,
        brand="nordlicht",
        matches=[Match(how="rule", rule="name")],
        network="webhook",
        connector="webhook-1",
        origin=Origin(topic="raw-events", partition=RAW, offset=offset, mode="live"),
        direction="inbound",
        addressing="direct",
        visibility="public",
        published_at=NOON,
        received_at=NOON,
        conversation_id=CONVERSATION,
        threading="network",
        author=Author(id="anna", handle="anna.example"),
        text="Nordlicht, my bill is [red]wrong[/red] \x1b[31m",
        lang=Lang(code="en", score=0.9, from_="detector"),
        index="2026.03",
        content_hash="0123456789abcdef",
        mapping="webhook/1",
        config_version="0123456789abcdef",
    )


def social_output(event: SocialEvent) -> Output:
    source = SourcePosition("raw-events", event.origin.partition, event.origin.offset, 0)
    return Output(
        Topic.SOCIAL_EVENTS,
        event.event_id.encode(),
        codec.encode(event),
        headers(Topic.SOCIAL_EVENTS, event.event_id, caused_by=source),
        partition_key=PLACE,
    )


def routed_output(event: SocialEvent) -> Output:
    decision = Decision(
        number=0,
        direction="inbound",
        triage="problem",
        routed_at=NOON,
        config_version="0123456789abcdef",
        case_id="nordlicht:c1:anna#1",
        queue="billing",
        priority=5,
        rule="bills",
        explain=["bills: hit on bill"],
    )
    routed = RoutedEvent(event=msgspec.Raw(codec.encode(event)), decision=decision)
    return Output(
        Topic.ROUTED_EVENTS,
        event.event_id.encode(),
        codec.encode(routed),
        headers(
            Topic.ROUTED_EVENTS,
            event.event_id,
            caused_by=SourcePosition("social-events", NEAR, 0, 0),
        ),
        partition_key=PLACE,
    )


@pytest.fixture(scope="module")
def applied(elasticsearch_url: str) -> Iterator[dict[str, str]]:
    """Settings for Elasticsearch, with the templates applied once for all of these tests."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    settings = {
        "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": prefix,
    }
    arguments = ["index", "apply", "--refresh-interval", "1s"]
    result = CliRunner().invoke(main, arguments, env=settings)
    assert result.exit_code == 0, result.output
    yield settings

    async def clear(client: Any) -> None:
        await client.indices.delete_index_template(name=f"{prefix}*")
        await client.cluster.delete_component_template(name=f"{prefix}*")

    ask(ElasticsearchSettings(url=elasticsearch_url), clear)


@pytest.fixture
def both(env: dict[str, str], applied: dict[str, str]) -> Iterator[dict[str, str]]:
    """Settings for both servers; this test's indices are deleted after it."""
    yield env | applied

    async def clear(client: Any) -> None:
        made = await client.indices.get(index=f"{applied['KLINGEL_ELASTICSEARCH__INDEX_PREFIX']}*")
        if made.body:
            await client.indices.delete(index=list(made.body))

    ask(ElasticsearchSettings(url=applied["KLINGEL_ELASTICSEARCH__URL"]), clear)


@pytest.fixture
def index(both: dict[str, str]) -> Callable[[SocialEvent], None]:
    """Put the document of an event into the index, searchable at once."""
    elasticsearch = ElasticsearchSettings(url=both["KLINGEL_ELASTICSEARCH__URL"])
    prefix = both["KLINGEL_ELASTICSEARCH__INDEX_PREFIX"]

    def put(event: SocialEvent) -> None:
        document = msgspec.to_builtins(event) | {
            "queue": "billing",
            "decision": 0,
            "document_version": event.revision << 20,
            "indexed_at": "2026-03-02T12:00:01.000Z",
        }

        async def write(client: Any) -> None:
            await client.index(
                index=f"{prefix}events-nordlicht-2026.03",
                id=event.object_id,
                document=document,
                refresh=True,
            )

        ask(elasticsearch, write)

    return put


@pytest.fixture
def commit(kafka: KafkaSettings) -> Callable[[str, Topic, int, int, str], None]:
    """Commit where a stage stands, with its running tally."""

    def write(stage: str, topic: Topic, partition: int, offset: int, metadata: str = "") -> None:
        place = TopicPartition(kafka.topic_prefix + topic, partition)
        with admin(kafka) as client:
            _alter(client, group_of(kafka, stage), {place: OffsetAndMetadata(offset, metadata, -1)})

    return write


def _alter(client: KafkaAdminClient, group: str, offsets: dict[Any, Any]) -> None:
    client.alter_group_offsets(group, offsets)


# -- index and search ------------------------------------------------------------------------


def test_templates_are_applied_and_a_difference_is_told(run, both) -> None:
    assert run("index", "check", "--refresh-interval", "1s", env=both).exit_code == 0
    result = run("index", "check", "--refresh-interval", "7s", env=both)
    assert result.exit_code == 1
    assert "refresh_interval; `klingel index apply` mends it" in result.stdout
    fresh = both | {"KLINGEL_ELASTICSEARCH__INDEX_PREFIX": "never-"}
    missing = json.loads(run("index", "check", "--json", env=fresh).stdout)["differences"]
    assert any("is missing" in each for each in missing)


def test_a_refused_template_is_exit_2_and_says_why(run, both) -> None:
    result = run("index", "apply", "--refresh-interval", "soon", env=both)
    assert result.exit_code == 2
    assert "refresh_interval" in result.stderr


def test_documents_and_media_go_when_they_are_older_than_their_brand_keeps_them(
    run, both, index, brand_file, tmp_path
) -> None:
    index(social())  # in the month of March 2026, whose whole is long past 30 days
    both = both | {"KLINGEL_BLOBS__DIR": str(tmp_path / "blobs")}
    store = BlobStore(tmp_path / "blobs")
    old, young = (tmp_path / "blobs" / store.put(each).ref for each in (b"old", b"young"))
    os.utime(old, (0, 0))

    def posts() -> int:
        elasticsearch = ElasticsearchSettings(url=both["KLINGEL_ELASTICSEARCH__URL"])
        name = f"{both['KLINGEL_ELASTICSEARCH__INDEX_PREFIX']}events-*"
        return ask(elasticsearch, lambda client: client.count(index=name))["count"]

    unknown = run("index", "age", env=both)
    assert unknown.exit_code == 1
    assert "retention is not known" in unknown.stdout
    assert "left     media and originals: how long a brand keeps" in unknown.stdout
    assert posts() == 1
    assert old.exists()
    with brand_file.open("a", encoding="utf-8") as file:
        file.write("retention:\n  posts_days: 30\n")
    assert run("config", "apply", brand_file, env=both).exit_code == 0
    told = json.loads(run("index", "age", "--dry-run", "--json", env=both).stdout)
    assert [(each["documents"], each["whole"]) for each in told["aged"]] == [(1, True)]
    assert (told["blobs"]["files"], told["blobs"]["bytes"]) == (1, 3)
    assert posts() == 1
    assert old.exists()
    aged = run("index", "age", env=both)
    assert aged.exit_code == 0
    assert re.search("deleted  media and originals stored before 20..-..-..: 1 files", aged.stdout)
    assert posts() == 0
    assert (old.exists(), young.exists()) == (False, True)
    again = run("index", "age", env=both).stdout
    assert "no document is older" in again
    assert "media" not in again


def test_search_hits_what_the_rule_hits(run, both, index) -> None:
    index(social())
    result = run("search", "nordlicht AND bill", env=both)
    assert result.exit_code == 0, result.output
    assert "[red]wrong[/red]" in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert "1 of 1 posts" in result.stdout
    hit = json.loads(run("search", "--json", "network:webhook", "bill", env=both).stdout)
    assert hit["object_id"] == OBJECT
    by_field = run("search", "queue:billing AND decision:0", "--brand", "nordlicht", env=both)
    assert "1 of 1 posts" in by_field.stdout
    assert "0 of 0 posts" in run("search", "bill", "--brand", "other", env=both).stdout


@pytest.mark.parametrize(
    "command", ["search bill", "search bill --json", "case list", "chat list", "incident list"]
)
def test_that_nothing_was_ever_indexed_is_no_empty_answer(run, applied, command: str) -> None:
    """An answer of nothing is given by indices that there are."""
    prefix = applied["KLINGEL_ELASTICSEARCH__INDEX_PREFIX"]
    never = run(*command.split(), env=applied)
    assert never.exit_code == 1
    assert never.output == (
        f"klingel: nothing was indexed under {prefix} yet, or this credential sees none of it; "
        "`klingel status` says whether the indexer works\n"
    )
    elsewhere = applied | {"KLINGEL_ELASTICSEARCH__INDEX_PREFIX": f"{prefix}elsewhere-"}
    missing = run(*command.split(), env=elsewhere)
    assert missing.exit_code == 2
    assert missing.output == (
        f"klingel: Elasticsearch at {applied['KLINGEL_ELASTICSEARCH__URL']} has neither indices nor "
        f"templates under {prefix}elsewhere-; see KLINGEL_ELASTICSEARCH__INDEX_PREFIX, or run "
        "`klingel index apply`\n"
    )


def test_that_there_is_no_case_yet_is_an_answer(run, both, index) -> None:
    index(social())
    for group in ("case", "chat", "incident"):
        result = run(group, "list", env=both)
        assert result.exit_code == 0, result.output
        assert "0 of 0" in result.stdout


@pytest.mark.parametrize("command", ["index key cli", "index roles --apply"])
def test_without_security_there_are_no_keys_and_roles(run, applied, command: str) -> None:
    result = run(*command.split(), env=applied)
    assert result.exit_code == 2
    assert result.output == (
        f"klingel: Elasticsearch at {applied['KLINGEL_ELASTICSEARCH__URL']} knows no users, roles and "
        "keys: its security is off (xpack.security.enabled)\n"
    )


def test_a_query_that_is_none_is_exit_2_and_not_repeated(run, both, index) -> None:
    index(social())
    result = run("search", "queue:(billing AND", env=both)
    assert result.exit_code == 2
    assert "Elasticsearch refuses the query" in result.stderr
    assert "Traceback" not in result.output


# -- explain ---------------------------------------------------------------------------------


def steps(run, event_id: str, settings: dict[str, str]) -> list[tuple[str, str]]:
    result = run("explain", "--json", event_id, env=settings)
    return [(each["step"], each["state"]) for each in json.loads(result.stdout)["steps"]]


def test_the_whole_way_of_an_event_is_told(run, both, put: Put, index) -> None:
    event = social()
    put([raw_output(), social_output(event), routed_output(event)])
    index(event)
    found = [
        ("raw event", "found"),
        ("social event", "found"),
        ("routing decision", "found"),
        ("document", "found"),
    ]
    assert steps(run, f"{OBJECT}@0", both) == found
    assert steps(run, f"nordlicht/{OBJECT}@0", both) == found
    result = run("explain", f"{OBJECT}@0", env=both)
    assert f"raw-events/{RAW}/0" in result.stdout
    assert "heard by      rule name" in result.stdout
    assert "because       bills: hit on bill" in result.stdout
    assert "it reached the document" in result.stdout
    assert "my bill" not in result.stdout


def test_a_way_that_ends_names_the_step_and_the_reason(run, both, put: Put, commit) -> None:
    result = run("explain", f"{OBJECT}@0", env=both)
    assert result.exit_code == 1
    assert "no connector published revision 0" in result.stdout

    put([raw_output()])
    assert steps(run, f"{OBJECT}@0", both)[-1] == ("social event", "waiting")
    commit("understand", Topic.RAW_EVENTS, RAW, 1)
    assert steps(run, f"{OBJECT}@0", both)[-1] == ("social event", "ended")
    assert "no brand hears it" in run("explain", f"{OBJECT}@0", env=both).stdout

    event = social()
    put([social_output(event)])
    assert steps(run, f"{OBJECT}@0", both)[-1] == ("routing decision", "waiting")
    put([routed_output(event)])
    assert steps(run, f"{OBJECT}@0", both)[-1] == ("document", "waiting")
    commit("indexer", Topic.ROUTED_EVENTS, NEAR, 1)
    assert steps(run, f"{OBJECT}@0", both)[-1] == ("document", "ended")


def test_a_way_that_ends_in_the_dead_letters_names_the_letter(run, both, put: Put, kafka) -> None:
    put([raw_output()])
    with reading(kafka) as log:
        (message,) = list(log.read_whole(Topic.RAW_EVENTS))
    error = InvalidMessage(ErrorType.MISSING_FIELD, "text is missing", path="text")
    put([dead_letter(message, error, Component("klingel-understand/1", "understand"), NOON)])
    result = run("explain", f"{OBJECT}@0", env=both)
    assert "understand could not read it: text: text is missing" in result.stdout
    assert "dead-letters/" in result.stdout


def test_a_revision_that_a_newer_one_replaced_is_told(run, both, put: Put, index) -> None:
    event = social()
    put([raw_output(), social_output(event), routed_output(event)])
    index(social(revision=7))
    result = run("explain", f"{OBJECT}@0", env=both)
    assert "it holds revision 7, which replaced this one" in result.stdout


# -- audit and status ------------------------------------------------------------------------


def books(lines: Sequence[tuple[str, Topic, int, int, int, dict[str, int]]]) -> list[Output]:
    """Ledger lines: stage, topic, partition, before, after, emitted."""
    return [
        ledger_output(
            LedgerLine(
                stage=stage,
                topic=str(topic),
                partition=partition,
                before=before,
                after=after,
                received=after - before,
                redone=0,
                fates={"delivered": after - before},
                emitted=emitted,
                written_at=NOON,
                holder="worker-1",
            )
        )
        for stage, topic, partition, before, after, emitted in lines
    ]


def filled(topic: Topic, partition: int, count: int) -> list[Output]:
    """Records whose content no audit looks at; their sources are raw-events in order."""
    return [
        Output(
            topic,
            b"key",
            b"{}",
            (("klingel-source", SourcePosition("raw-events", 0, at, 0).encode()),),
            partition=partition,
        )
        for at in range(count)
    ]


def test_books_that_add_up_are_clean_and_what_waits_is_told(run, env, put: Put) -> None:
    put(filled(Topic.RAW_EVENTS, 0, 5) + filled(Topic.SOCIAL_EVENTS, 1, 2))
    put(
        books(
            [
                ("understand", Topic.RAW_EVENTS, 0, 0, 2, {"social-events": 1}),
                ("understand", Topic.RAW_EVENTS, 0, 2, 3, {"social-events": 1}),
                ("care", Topic.SOCIAL_EVENTS, 1, 0, 2, {}),
            ]
        )
    )
    result = run("audit", env=env)
    assert result.exit_code == 0, result.output
    assert "everything adds up; 2 messages wait" in result.stdout
    told = json.loads(run("audit", "--json", env=env).stdout)
    assert told["clean"] is True
    assert told["totals"][0]["received"] == 3
    assert told["totals"][0]["waiting"] == 2


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not add up is looked at again without a pause."""
    monkeypatch.setattr("klingel_cli.commands.audit._SETTLE_SECONDS", 0.0)


def _checkpointed(env: dict[str, str]) -> books_of.Books:
    """Audit as the service does: read, check, write the checkpoints."""
    kafka = KafkaSettings(
        bootstrap=env["KLINGEL_KAFKA__BOOTSTRAP"],
        topic_prefix=env["KLINGEL_KAFKA__TOPIC_PREFIX"],
        group_prefix=env["KLINGEL_KAFKA__GROUP_PREFIX"],
    )
    found = books_of.read_books(kafka, NOON)
    books_of.keep_checkpoints(kafka, found)
    return found


def test_an_audit_begins_with_the_checkpoints_of_another(
    run, env, put: Put, commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by whoever comes next, compared by --full; a false one is found by it."""
    monkeypatch.setattr(books_of, "ADVANCE", 1)
    put(filled(Topic.RAW_EVENTS, 0, 6) + filled(Topic.SOCIAL_EVENTS, 1, 3))
    first = ("understand", Topic.RAW_EVENTS, 0, 0, 2, {"social-events": 1})
    put(books([first, ("understand", Topic.RAW_EVENTS, 0, 2, 4, {"social-events": 1})]))
    commit("understand", Topic.RAW_EVENTS, 0, 4, "")
    (made,) = _checkpointed(env).checkpoints
    assert [(each.before, each.after, each.received) for each in made.books] == [(0, 4, 4)]
    put(
        books(
            [
                ("understand", Topic.RAW_EVENTS, 0, 4, 5, {"social-events": 1}),
                ("care", Topic.SOCIAL_EVENTS, 1, 0, 3, {}),
            ]
        )
    )
    commit("understand", Topic.RAW_EVENTS, 0, 5, "")
    reads: list[int] = []
    monkeypatch.setattr(books_of.Folding, "take", _noting(books_of.Folding.take, reads))
    told = json.loads(run("audit", "--json", env=env).stdout)
    assert (told["clean"], told["totals"][0]["received"]) == (True, 5)
    assert len(reads) == 2, "the two lines that came since"
    full = run("audit", "--full", env=env)
    assert full.exit_code == 0, full.output
    assert len(reads) == 2 + 4, "every line"
    false = msgspec.structs.replace(made.books[0], received=3, fates={"delivered": 3})
    put([checkpoint_output(msgspec.structs.replace(made, books=[false]))])
    wrong = run("audit", "--full", env=env)
    assert wrong.exit_code == 1
    assert "the checkpoint tells 3 of fates.delivered up to 3, the lines tell 4" in wrong.stdout


def _noting(take: Callable[..., None], reads: list[int]) -> Callable[..., None]:
    def noting(self: object, offset: int, line: LedgerLine) -> None:
        reads.append(offset)
        take(self, offset, line)

    return noting


@pytest.mark.usefixtures("_at_once")
def test_a_worker_that_began_anew_before_a_checkpoint_is_audited_line_by_line(
    run, env, put: Put, commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody set its offsets back: what the checkpoint says of it counts no more."""
    monkeypatch.setattr(books_of, "ADVANCE", 1)
    put(filled(Topic.RAW_EVENTS, 0, 6))
    put(books([("understand", Topic.RAW_EVENTS, 0, at, at + 1, {}) for at in range(5)]))
    commit("understand", Topic.RAW_EVENTS, 0, 5, "")
    assert _checkpointed(env).checkpoints
    commit("understand", Topic.RAW_EVENTS, 0, 2, "")
    put(books([("understand", Topic.RAW_EVENTS, 0, 2, 6, {})]))
    commit("understand", Topic.RAW_EVENTS, 0, 6, "")
    told = json.loads(run("audit", "--json", env=env).stdout)
    assert told["clean"], told
    assert told["totals"][0]["received"] == 6


@pytest.mark.usefixtures("_at_once")
def test_the_running_tally_of_a_committed_offset_belongs_to_the_books(
    run, env, put: Put, commit
) -> None:
    put(filled(Topic.RAW_EVENTS, 0, 3) + filled(Topic.SOCIAL_EVENTS, 1, 1))
    put(books([("care", Topic.SOCIAL_EVENTS, 1, 0, 1, {})]))
    assert run("audit", env=env).exit_code == 1  # care received what nobody tells of
    tally = Tally.resume("understand", Topic.RAW_EVENTS, 0, 0, "")
    metadata = json.loads(tally.metadata()) | {
        "r": 3,
        "f": {"delivered": 1, "discarded": 2},
        "e": {"social-events": 1},
    }
    commit("understand", Topic.RAW_EVENTS, 0, 3, json.dumps(metadata))
    result = run("audit", env=env)
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("lines", "where", "sentence"),
    [
        (
            [
                ("understand", Topic.RAW_EVENTS, 0, 0, 2, {}),
                ("understand", Topic.RAW_EVENTS, 0, 3, 5, {}),
            ],
            "understand raw-events/0 at offset 2",
            "no line covers the offsets 2 to 2",
        ),
        (
            [
                ("understand", Topic.RAW_EVENTS, 0, 0, 5, {"social-events": 2}),
                ("care", Topic.SOCIAL_EVENTS, 1, 0, 2, {}),
                ("care", Topic.SOCIAL_EVENTS, 1, 1, 2, {}),
            ],
            "care social-events/1 at offset 1",
            "two lines cover the offsets 1 to 1",
        ),
        (
            [
                ("understand", Topic.RAW_EVENTS, 0, 0, 2, {"social-events": 2}),
                ("understand", Topic.RAW_EVENTS, 0, 2, 5, {"social-events": 1}),
                ("care", Topic.SOCIAL_EVENTS, 1, 0, 2, {}),
            ],
            "understand raw-events/0 at offset 2",
            "tells 1 records into social-events, the log holds 0",
        ),
    ],
    ids=["gap", "overlap", "lost"],
)
def test_what_does_not_add_up_is_exit_1_and_named_by_its_first_offset(
    run, env, put: Put, lines: Any, where: str, sentence: str
) -> None:
    put(filled(Topic.RAW_EVENTS, 0, 5) + filled(Topic.SOCIAL_EVENTS, 1, 2))
    put(books(lines))
    result = run("audit", env=env)
    assert result.exit_code == 1
    assert where in result.stdout
    assert sentence in result.stdout


def test_status_tells_services_queues_connectors_and_letters(run, env, put: Put) -> None:
    status = ConnectorStatus(
        instance="bluesky-1",
        connector="bluesky",
        network="bluesky",
        state="running",
        at=NOON,
        published=7,
    )
    put(
        [
            *filled(Topic.RAW_EVENTS, 0, 5),
            *books([("understand", Topic.RAW_EVENTS, 0, 0, 2, {})]),
            Output(Topic.CONNECTOR_STATUS, b"bluesky-1", codec.encode(status)),
            Output(Topic.DEAD_LETTERS, b"key", b"x", (("x-dlq-kind", b"too_deep"),)),
        ]
    )
    told = json.loads(run("status", "--json", env=env).stdout)
    assert [each["stage"] for each in told["services"]] == ["understand"]
    assert told["services"][0]["workers"] == ["worker-1"]
    assert told["queues"][0] == {
        "stage": "understand",
        "topic": "raw-events",
        "partitions": 4,
        "waiting": 3,
    }
    assert told["connectors"][0]["state"] == "running"
    assert told["dead_letters"] == {"too_deep": 1}
    shown = run("status", env=env)
    assert shown.exit_code == 0, shown.output
    assert "bluesky-1" in shown.stdout


# -- remap -----------------------------------------------------------------------------------


def test_what_was_received_since_is_sent_again_once(run, env, put: Put, kafka) -> None:
    put([raw_output(), raw_output(1), raw_output(2, b"{")])
    told = ("remap", "--network", "webhook", "--json", "--from")
    dry = run(*told, "2026-03-02T12:00:00Z", "--dry-run", env=env)
    assert json.loads(dry.stdout) == {
        "network": "webhook",
        "dry_run": True,
        "sent": 2,
        "unreadable": 1,
    }
    for _ in range(2):
        result = run(*told, "2026-03-02T12:00:00Z", env=env)
        assert json.loads(result.stdout)["sent"] == 2, result.output
    assert json.loads(run(*told, "2026-03-02T12:00:01Z", env=env).stdout)["sent"] == 0
    with reading(kafka) as log:
        messages = list(log.read_whole(Topic.RAW_EVENTS))
    assert {message.partition for message in messages} == {RAW}
    original, again = messages[0], messages[3]
    assert again.headers == original.headers
    first, second = (codec.decode(RawEvent, each.value) for each in (original, again))
    assert second == msgspec.structs.replace(first, mode="remap")


def test_a_remap_that_cannot_be_meant_is_exit_2(run, env) -> None:
    wrong = {
        ("--from", "yesterday", "--network", "webhook"): "a time looks like",
        ("--from", "2026-03-02T12:00:00", "--network", "webhook"): "a time looks like",
        ("--from", "2026-03-02T12:00:00Z", "--network", "twitter"): "there is no network twitter",
        ("--from", "2126-03-02T12:00:00Z", "--network", "webhook"): "lies before --to",
    }
    for arguments, sentence in wrong.items():
        result = run("remap", *arguments, env=env)
        assert (result.exit_code, sentence in result.stderr) == (2, True), result.output
