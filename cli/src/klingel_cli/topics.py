"""Topics as they are against topics as `schemas/topics` wants them; the difference is pure."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kafka.admin import (
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    NewTopic,
)
from kafka.errors import AuthorizationError, KafkaError

from klingel.config.brand import Brand
from klingel.contracts.topics import Topic, TopicSpec, queue_topic, topic_specs
from klingel.errors import SourceUnavailable
from klingel.settings import KafkaSettings
from klingel_cli.kafka import Slot

_SETS = {"cleanup.policy"}  # values whose order means nothing


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it shall be; `name` is the physical one."""

    spec: TopicSpec
    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """A topic as it is."""

    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it shall be.

    Attributes:
        topic: physical name.
        what: `missing`, `partitions` or the name of a configuration.
        held, wanted: as text; empty for a missing topic.
    """

    topic: str
    what: str
    held: str = ""
    wanted: str = ""

    def sentence(self) -> str:
        """Return it for people."""
        if self.what == "missing":
            return f"{self.topic}: missing; `klingel topics apply` makes it"
        return f"{self.topic}: {self.what} is {self.held or 'not set'}, wanted is {self.wanted}"


def wanted(kafka: KafkaSettings) -> list[Wanted]:
    """Return every topic as the settings want it."""
    return [
        Wanted(
            spec,
            kafka.topic_prefix + spec.name,
            spec.partitions or kafka.partitions,
            kafka.replication,
            spec.config(),
        )
        for spec in topic_specs().values()
    ]


def of_queues(kafka: KafkaSettings, brands: Iterable[Brand]) -> list[Wanted]:
    """Return the topics of queues that declare one; each is as wide and lasts as routed-events.

    Args:
        kafka: settings of the deployment.
        brands: whose queues they are.
    """
    spec = topic_specs()[Topic.ROUTED_EVENTS]
    return [
        Wanted(
            spec,
            kafka.topic_prefix + queue_topic(brand.brand, queue.id),
            spec.partitions or kafka.partitions,
            kafka.replication,
            spec.config(),
        )
        for brand in brands
        for queue in brand.queues
        if queue.topic
    ]


def differences(topics: list[Wanted], held: Mapping[str, Held]) -> list[Difference]:
    """Return what is not as it shall be, in the order of the topics."""
    found: list[Difference] = []
    for topic in topics:
        there = held.get(topic.name)
        if there is None:
            found.append(Difference(topic.name, "missing"))
            continue
        if there.partitions != topic.partitions:
            found.append(
                Difference(topic.name, "partitions", str(there.partitions), str(topic.partitions))
            )
        found.extend(
            Difference(topic.name, name, there.config.get(name, ""), value)
            for name, value in topic.config.items()
            if not _same(name, there.config.get(name, ""), value)
        )
    return found


def _same(name: str, held: str, value: str) -> bool:
    if name in _SETS:
        return set(held.split(",")) == set(value.split(","))
    return held == value


def describe(client: KafkaAdminClient, topics: list[Wanted]) -> dict[str, Held]:
    """Ask Kafka for those of the topics that exist; raises KafkaError."""
    existing = set(client.list_topics())
    names = [topic.name for topic in topics if topic.name in existing]
    if not names:
        return {}
    partitions = {each["name"]: len(each["partitions"]) for each in client.describe_topics(names)}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = client.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: Held(
            partitions[name],
            {key: str(entry["value"]) for key, entry in configs[name].items()},
        )
        for name in names
    }


def wait_until_seen(
    client: KafkaAdminClient, topics: list[Wanted], left: set[Difference], seconds: float = 30.0
) -> None:
    """Wait until the broker tells what was changed: it learns of it from the controller.

    Args:
        client: of the cluster.
        topics: all that are wanted.
        left: differences that stay.
        seconds: at most.

    Raises:
        SourceUnavailable: it does not tell in time.
        KafkaError: Kafka is away.
    """
    deadline = time.monotonic() + seconds
    while not set(differences(topics, describe(client, topics))) <= left:
        if time.monotonic() > deadline:
            raise SourceUnavailable("Kafka accepted the changes and does not show them yet")
        time.sleep(0.05)


def until_right(
    look: Callable[[], list[Difference]],
    seconds: float,
    *,
    pause: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> list[Difference]:
    """Look once a second until nothing differs or the time is over; returns what differs then.

    Args:
        look: asks Kafka; its KafkaError is waited out as a difference is.
        seconds: at most; 0 looks once.
        pause: waits for seconds.
        now: a clock that only goes on.

    Raises:
        KafkaError: Kafka is away until the end, or refuses who we are.
    """
    deadline = now() + seconds
    while True:
        try:
            found = look()
        except AuthorizationError:
            raise
        except KafkaError:
            if now() >= deadline:
                raise
        else:
            if not found or now() >= deadline:
                return found
        pause(1.0)


def create(client: KafkaAdminClient, topics: list[Wanted]) -> None:
    """Make topics; raises KafkaError."""
    client.create_topics(
        [
            NewTopic(
                name=topic.name,
                num_partitions=topic.partitions,
                replication_factor=topic.replication,
                topic_configs=dict(topic.config),
            )
            for topic in topics
        ]
    )


def grow(client: KafkaAdminClient, topic: Wanted) -> None:
    """Give a topic more partitions; raises KafkaError."""
    client.create_partitions({topic.name: topic.partitions})


def configure(client: KafkaAdminClient, topic: str, config: Mapping[str, str]) -> None:
    """Set configuration of a topic and leave the rest; raises KafkaError."""
    client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(config))])


def is_empty(begins: Mapping[Slot, int], ends: Mapping[Slot, int]) -> bool:
    """Whether nothing lies in these partitions."""
    return all(ends[slot] <= begins[slot] for slot in ends)
