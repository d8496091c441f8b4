"""Topics: made once, checked by name, never shrunk, grown only while they are empty."""

import json
import uuid
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic, topic_specs
from klingel.settings import KafkaSettings
from klingel_cli import topics
from klingel_cli.kafka import admin, publish
from klingel_cli.topics import Held, Wanted

COUNT = len(topic_specs())


def test_differences_tell_what_is_missing_and_what_differs() -> None:
    wanted = topics.wanted(KafkaSettings(partitions=4, topic_prefix="x-"))
    held = {
        topic.name: Held(topic.partitions, dict(topic.config))
        for topic in wanted
        if topic.spec.name is not Topic.CASES
    }
    held["x-raw-events"] = Held(3, held["x-raw-events"].config)
    held["x-social-events"] = Held(
        4, {"cleanup.policy": "compact", "retention.ms": str(30 * 86_400_000)}
    )
    held["x-object-directory"] = Held(
        4, {"cleanup.policy": "delete,compact", "retention.ms": str(400 * 86_400_000)}
    )
    found = [(each.topic, each.what, each.held) for each in topics.differences(wanted, held)]
    assert sorted(found) == [
        ("x-cases", "missing", ""),
        ("x-raw-events", "partitions", "3"),
        ("x-social-events", "cleanup.policy", "compact"),
    ]


MISSING = topics.Difference("raw-events", "missing")


class Looks:
    """Answers one after the other, and a clock that goes on by what is waited."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.time = 0.0

    def look(self):
        """Give the next answer, or raise it."""
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self, seconds: float) -> None:
        """Let the time go on."""
        self.time += seconds

    def until_right(self, seconds: float):
        """Look as the command does."""
        return topics.until_right(self.look, seconds, pause=self.pause, now=lambda: self.time)


def test_who_waits_sees_the_topics_come() -> None:
    looks = Looks(KafkaConnectionError(), [MISSING], [])
    assert looks.until_right(60) == []
    assert looks.time == 2.0


def test_who_waits_in_vain_is_told_what_is_missing() -> None:
    looks = Looks([MISSING], [MISSING], [MISSING])
    assert looks.until_right(2) == [MISSING]


def test_who_does_not_wait_is_told_at_once() -> None:
    assert Looks([MISSING]).until_right(0) == [MISSING]
    with pytest.raises(KafkaConnectionError):
        Looks(KafkaConnectionError()).until_right(0)


def test_a_refusal_is_not_waited_out() -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        Looks(TopicAuthorizationFailedError(), []).until_right(60)


@pytest.fixture
def fresh(kafka_bootstrap: str) -> Iterator[dict[str, str]]:
    """Settings with a prefix under which nothing exists yet."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    yield {
        "KLINGEL_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "KLINGEL_KAFKA__TOPIC_PREFIX": prefix,
        "KLINGEL_KAFKA__PARTITIONS": "2",
    }
    with admin(KafkaSettings(bootstrap=kafka_bootstrap)) as client:
        client.delete_topics([name for name in client.list_topics() if name.startswith(prefix)])


@pytest.mark.servers
def test_apply_makes_all_topics_once(run, fresh) -> None:
    result = run("topics", "check", env=fresh)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == COUNT
    result = run("topics", "apply", env=fresh)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("made ") == COUNT
    assert run("topics", "check", env=fresh).exit_code == 0
    result = run("topics", "apply", env=fresh)
    assert result.stdout.splitlines()[-1].endswith(f"{COUNT} were right already")


@pytest.mark.servers
def test_a_changed_configuration_is_told_and_mended(run, fresh) -> None:
    run("topics", "apply", env=fresh)
    name = fresh["KLINGEL_KAFKA__TOPIC_PREFIX"] + Topic.RAW_EVENTS
    with admin(KafkaSettings(bootstrap=fresh["KLINGEL_KAFKA__BOOTSTRAP"])) as client:
        topics.configure(client, name, {"retention.ms": "1000", "max.message.bytes": "999999"})
        altered = [Wanted(topic_specs()[Topic.RAW_EVENTS], name, 2, 1, {"retention.ms": "1000"})]
        topics.wait_until_seen(client, altered, set())
    result = run("topics", "check", "--json", env=fresh)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["differences"] == [
        {"topic": name, "what": "retention.ms", "held": "1000", "wanted": "604800000"}
    ]
    assert run("topics", "apply", env=fresh).exit_code == 0
    assert run("topics", "check", env=fresh).exit_code == 0
    with admin(KafkaSettings(bootstrap=fresh["KLINGEL_KAFKA__BOOTSTRAP"])) as client:
        (wanted,) = [
            each
            for each in topics.wanted(
                KafkaSettings(topic_prefix=fresh["KLINGEL_KAFKA__TOPIC_PREFIX"])
            )
            if each.spec.name is Topic.RAW_EVENTS
        ]
        held = topics.describe(client, [wanted])[name]
    assert held.config["max.message.bytes"] == "999999"  # what is not ours stays


@pytest.mark.servers
def test_topics_never_shrink_and_grow_only_while_all_are_empty(run, fresh, brand_file) -> None:
    run("topics", "apply", env=fresh)
    result = run("topics", "apply", env=fresh | {"KLINGEL_KAFKA__PARTITIONS": "1"})
    assert result.exit_code == 1
    assert "topics never shrink" in result.stdout
    result = run("topics", "apply", env=fresh | {"KLINGEL_KAFKA__PARTITIONS": "3"})
    assert result.exit_code == 0, result.output
    assert run("topics", "check", env=fresh | {"KLINGEL_KAFKA__PARTITIONS": "3"}).exit_code == 0

    kafka = KafkaSettings(
        bootstrap=fresh["KLINGEL_KAFKA__BOOTSTRAP"],
        topic_prefix=fresh["KLINGEL_KAFKA__TOPIC_PREFIX"],
    )
    publish(kafka, [Output(Topic.DEAD_LETTERS, b"key", b"value", partition=0)])
    result = run("topics", "apply", env=fresh | {"KLINGEL_KAFKA__PARTITIONS": "4"})
    assert result.exit_code == 1
    with admin(kafka) as client:
        held = topics.describe(client, topics.wanted(kafka))
    assert {each.partitions for each in held.values()} == {1, 3}
