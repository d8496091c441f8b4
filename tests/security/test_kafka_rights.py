"""Every service can do in Kafka exactly what it must and nothing else: its authoriser decides.

The rights are those of the topics' files (`klingel topics rights --apply`); each is tried with the
service's own client library against the real broker, and so is everything that is not one.
"""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from click.testing import CliRunner
from kafka import KafkaProducer
from kafka import TopicPartition as Place
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.errors import (
    AuthorizationError,
    CoordinatorNotAvailableError,
    UnknownTopicOrPartitionError,
)
from pydantic import SecretStr

from klingel.contracts.access import LAG_READER, principals, rights_by_user
from klingel.contracts.connection import connection
from klingel.contracts.topics import Topic, queue_topic, topic_specs
from klingel.settings import KafkaSettings
from klingel_cli.kafka import admin
from klingel_cli.main import main
from klingel_local.certificates import Authority

from ..waiting import until
from .conftest import Deployment, environment

pytestmark = pytest.mark.servers

QUEUE = queue_topic("nordlicht", "complaints")
TOPICS = [*map(str, Topic), QUEUE]
STAGES = {"understand": ("understand", "thread"), "care": ("care",), "watch": ("watch",)}
GROUPS = {**STAGES, "indexer": ("indexer",), "notifier": ("notifier",)}
SECONDS = 20


def run(kafka: KafkaSettings, *arguments: str) -> Any:
    """Run the command as somebody."""
    names = {**environment(kafka), "KLINGEL_KAFKA__PARTITIONS": "1"}
    return CliRunner(env=names).invoke(main, arguments)


@pytest.fixture(scope="module")
def held(deployment: Deployment) -> Deployment:
    """The deployment with its topics, a record in each, and its rights."""
    administrator = deployment.administrator()
    for arguments in (("topics", "apply"), ("topics", "rights", "--apply", *users(deployment))):
        done = run(administrator, *arguments)
        assert done.exit_code == 0, done.output
    asyncio.run(_fill(administrator))
    return deployment


def users(deployment: Deployment) -> tuple[str, str]:
    return "--users", deployment.prefix


async def _fill(kafka: KafkaSettings) -> None:
    client = KafkaAdminClient(**connection(kafka))
    try:
        client.create_topics({kafka.topic_prefix + QUEUE: {"num_partitions": 1}})
        client.wait_for_topics([kafka.topic_prefix + name for name in TOPICS])
    finally:
        client.close()
    async with producing(kafka) as producer:
        await asyncio.gather(*(write(producer, kafka, name) for name in TOPICS))


@asynccontextmanager
async def producing(kafka: KafkaSettings, **more: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**connection(kafka), **more)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def consuming(kafka: KafkaSettings, group: str | None = None) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(
        **connection(kafka),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def write(producer: AIOKafkaProducer, kafka: KafkaSettings, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        await producer.send_and_wait(
            kafka.topic_prefix + name, key=b"key", value=b"value", partition=0
        )


async def read(consumer: AIOKafkaConsumer, kafka: KafkaSettings, name: str) -> None:
    place = TopicPartition(kafka.topic_prefix + name, 0)
    async with asyncio.timeout(SECONDS):
        # As our services do; the consumer itself waits for ever for a topic that it may not see.
        await consumer._client._wait_on_metadata(place.topic)
        consumer.assign([place])
        consumer.seek(place, 0)
        assert await consumer.getone(place) is not None


async def allowed(
    names: Iterable[str], attempt: Callable[[str], Awaitable[object]], refusal: type[KafkaError]
) -> set[str]:
    """Return for which names an attempt is not refused; any other failure is one of the test."""

    async def one(name: str) -> str | None:
        try:
            await attempt(name)
        except refusal:
            return None
        return name

    return {name for name in [await one(each) for each in names] if name is not None}


@pytest.mark.parametrize("principal", principals(topic_specs()))
async def test_a_service_writes_and_reads_its_topics_and_no_other(held, principal) -> None:
    kafka = held.kafka(principal)
    async with producing(kafka) as producer:
        written = await allowed(
            TOPICS, lambda name: write(producer, kafka, name), TopicAuthorizationFailedError
        )
    async with consuming(kafka) as consumer:
        got = await allowed(
            TOPICS, lambda name: read(consumer, kafka, name), TopicAuthorizationFailedError
        )
    specs = topic_specs().values()
    queues = {QUEUE} if principal == "care" else set()
    assert written == {str(spec.name) for spec in specs if principal in spec.producers} | queues
    assert got == {str(spec.name) for spec in specs if principal in spec.consumers}


@pytest.mark.parametrize(
    ("principal", "topic", "how"),
    [
        ("connectors", Topic.SOCIAL_EVENTS, "read"),
        ("indexer", Topic.RAW_EVENTS, "write"),
        ("notifier", Topic.SOCIAL_EVENTS, "read"),
        ("care", Topic.RAW_EVENTS, "read"),
        ("watch", Topic.CASES, "write"),
        ("understand", Topic.CASES, "read"),
    ],
)
def test_what_the_files_must_never_say(principal, topic, how) -> None:
    """The test above would follow a file that says too much."""
    spec = topic_specs()[topic]
    assert principal not in (spec.consumers if how == "read" else spec.producers)


def group_of(kafka: KafkaSettings, stage: str) -> str:
    return kafka.group_prefix + kafka.topic_prefix + stage


@pytest.mark.parametrize("principal", principals(topic_specs()))
async def test_a_service_joins_its_own_groups_and_no_other(held, principal) -> None:
    kafka = held.kafka(principal)
    stages = [stage for each in GROUPS.values() for stage in each]
    names = {group_of(kafka, stage): stage for stage in stages}
    names |= {f"{kafka.group_prefix}{each}": each for each in ("media", "chat", "lease-bluesky")}

    async def commit(group: str) -> None:
        readable = next(
            (spec.name for spec in topic_specs().values() if principal in spec.consumers), None
        )
        assert readable is not None
        place = TopicPartition(kafka.topic_prefix + readable, 0)
        async with consuming(kafka, group) as consumer:
            consumer.assign([place])
            async with asyncio.timeout(SECONDS):
                await consumer.commit({place: 1})

    joined = await allowed(names, commit, GroupAuthorizationFailedError)
    own = set(GROUPS.get(principal, ()))
    if principal == "connectors":
        own = {"media", "chat", "lease-bluesky"}
    assert {names[group] for group in joined} == own


@pytest.mark.parametrize("principal", principals(topic_specs()))
async def test_a_service_opens_its_own_transactions_and_no_other(held, principal) -> None:
    kafka = held.kafka(principal)
    names = {group_of(kafka, stage): stage for each in GROUPS.values() for stage in each}

    async def open_one(group: str) -> None:
        async with asyncio.timeout(SECONDS):
            async with producing(kafka, transactional_id=f"{group}-0"):
                pass

    opened = await allowed(names, open_one, TransactionalIdAuthorizationFailed)
    assert {names[group] for group in opened} == set(STAGES.get(principal, ()))


def is_seen(client: KafkaAdminClient, group: str) -> bool:
    """Whether a group's positions are seen; who asks first has the broker make their topic."""
    try:
        return group in client.list_group_offsets(group)
    except CoordinatorNotAvailableError:
        return False


async def test_who_measures_backlogs_reads_no_record(held) -> None:
    """It sees every topic's end and every group's position, and nothing that anybody wrote."""
    kafka = held.kafka(LAG_READER)
    places = [TopicPartition(kafka.topic_prefix + spec.name, 0) for spec in topic_specs().values()]
    with admin(kafka) as client:
        for group in (group_of(kafka, stage) for each in GROUPS.values() for stage in each):
            assert await until(
                lambda group=group: is_seen(client, group), seconds=SECONDS, pace=0.1
            )
    async with consuming(kafka) as consumer:
        assert set(await consumer.end_offsets(places)) == set(places)
        got = await allowed(
            TOPICS, lambda name: read(consumer, kafka, name), TopicAuthorizationFailedError
        )
    assert not got


def test_a_certificate_of_the_same_name_has_the_same_rights(held) -> None:
    """By kafka-python too, which connectors and the command use."""
    kafka = held.secured.with_certificate(held.user("connectors"), **held.names)
    producer = KafkaProducer(**connection(kafka), max_block_ms=SECONDS * 1000)
    try:
        place = {"partition": 0, "key": b"k", "value": b"v"}
        producer.send(kafka.topic_prefix + Topic.RAW_EVENTS, **place).get(SECONDS)
        with pytest.raises(AuthorizationError):
            producer.send(kafka.topic_prefix + Topic.SOCIAL_EVENTS, **place).get(SECONDS)
    finally:
        producer.close(timeout=5)


def locked_out(kafka: KafkaSettings, monkeypatch) -> str:
    """Return what the command says to somebody whom Kafka does not let in."""
    monkeypatch.setattr("klingel_cli.kafka.BOOTSTRAP_MS", 300)
    with warnings.catch_warnings():
        # kafka-python leaves a socket to the collector when nobody lets it in.
        warnings.simplefilter("ignore", ResourceWarning)
        done = run(kafka, "topics", "check")
        gc.collect()
    assert "Traceback" not in done.output
    assert done.exit_code == 2 or kafka.security_protocol == "PLAINTEXT"
    return done.output


def test_nobody_comes_in_without_a_name(held, monkeypatch) -> None:
    """Neither with a wrong password at the one door, nor without a certificate at the other."""
    known, doors = held.kafka("care"), held.secured
    encrypted = {"security_protocol": "SSL", "ssl_cafile": doors.authority.file}
    nameless = KafkaSettings.model_validate({"bootstrap": doors.ssl_bootstrap, **encrypted})
    wrong = known.model_copy(update={"sasl_password": SecretStr("wrong-canary")})
    for kafka in (wrong, nameless):
        said = locked_out(kafka, monkeypatch)
        assert "listens and does not let us in; see KLINGEL_KAFKA__SECURITY_PROTOCOL" in said
        assert "canary" not in said
    assert "does not answer" in locked_out(KafkaSettings(bootstrap=doors.bootstrap), monkeypatch)


def test_a_broker_that_another_authority_vouches_for_is_not_trusted(
    held, tmp_path, monkeypatch
) -> None:
    other = held.kafka("care").model_copy(update={"ssl_cafile": Authority(tmp_path).file})
    assert "whom we trust (KLINGEL_KAFKA__SSL_CAFILE)" in locked_out(other, monkeypatch)


def test_the_command_is_refused_with_one_sentence(held) -> None:
    refused = run(held.kafka("care"), "topics", "rights", "--apply", *users(held))
    assert refused.exit_code == 2
    assert "refuses our credential" in refused.output


def test_rights_are_made_once_and_surplus_ones_are_withdrawn(held) -> None:
    administrator = held.administrator()
    again = run(administrator, "topics", "rights", "--apply", "--json", *users(held))
    assert again.exit_code == 0
    assert '"granted": []' in again.output
    assert '"withdrawn": []' in again.output


def test_the_rights_that_are_shown_are_those_that_are_made(held) -> None:
    shown = run(held.administrator(), "topics", "rights", *users(held))
    kafka = held.administrator()
    for principal, rights in rights_by_user(topic_specs(), kafka).items():
        assert held.user(principal) in shown.output
        for right in rights:
            assert right.name in shown.output


def administering(kafka: KafkaSettings, client: KafkaAdminClient) -> dict[str, Callable[[], Any]]:
    """Return what only the administrator may do, each as an attempt that raises when refused."""
    # Nothing of it is done where it is allowed.
    own, user = f"{kafka.topic_prefix}{Topic.RAW_EVENTS}", str(kafka.sasl_username)
    secret = UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, "x" * 16)
    everything = ACL(
        f"User:{user}",
        "*",
        ACLOperation.ALL,
        ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType.TOPIC, "*"),
    )
    return {
        "makes topics": lambda: client.create_topics(
            {f"{kafka.topic_prefix}more": {"num_partitions": 1}}
        ),
        "deletes topics": lambda: client.delete_topics([own]),
        "adds partitions": lambda: client.create_partitions({own: 2}, validate_only=True),
        "sets topics": lambda: client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, own, {"retention.ms": "1000"})],
            validate_only=True,
            raise_on_unknown=False,
            incremental=True,
        ),
        "deletes records": lambda: client.delete_records({Place(own, 0): 1}),
        "looks at rights": lambda: client.describe_acls(
            ACLFilter(
                None,
                None,
                ACLOperation.ANY,
                ACLPermissionType.ANY,
                ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
            )
        ),
        "gives rights": lambda: client.create_acls([everything]),
        "changes passwords": lambda: client.alter_user_scram_credentials([secret]),
        "looks at users": lambda: client.describe_user_scram_credentials([user]),
    }


def refused(attempt: Callable[[], Any]) -> bool:
    """Whether an attempt is refused: by an error, or by one in what it returns.

    A topic that somebody may not even see is unknown to them.
    """
    try:
        told = repr(attempt())
    except (AuthorizationError, UnknownTopicOrPartitionError):
        return True
    return "AuthorizationFailed" in told or "needs ALTER permission" in told


@pytest.mark.parametrize("principal", [*principals(topic_specs()), LAG_READER])
def test_nobody_but_the_command_administers(held, principal) -> None:
    """Nor does the command beyond its topics: it gives no rights and knows no users."""
    kafka = held.kafka(principal)
    client = KafkaAdminClient(**connection(kafka))
    try:
        attempts = administering(kafka, client)
        may = {what for what, attempt in attempts.items() if not refused(attempt)}
    finally:
        client.close()
    assert may == ({"adds partitions", "sets topics"} if principal == "cli" else set())
