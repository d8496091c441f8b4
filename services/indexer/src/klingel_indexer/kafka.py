"""Kafka behind the indexer's ports: one consumer group over all inputs."""

from collections.abc import Mapping
from typing import Any

import aiokafka
from aiokafka.structs import OffsetAndMetadata

from klingel.clock import Clock, SystemClock
from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel_indexer.convert import INPUTS
from klingel_indexer.service import Position
from klingel_streams.group import GroupSource
from klingel_streams.ports import Slot


class KafkaSource(GroupSource[Position]):
    """Membership in the group, with positions and their metadata.

    A partition without a committed offset starts at its beginning; one whose committed offset
    retention has taken stops the worker.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        group: consumer group.
        topic_prefix: before every topic name.
        instance: static member name, None joins afresh.
        session_timeout_seconds: a silent worker loses its partitions after it.
        doubt_seconds: how long it is asked again when no partition of the group has a position,
            although there is something to be read.
        clock: tells how long that has been so.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        *,
        group: str,
        topic_prefix: str,
        instance: str | None,
        session_timeout_seconds: float,
        doubt_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            connection,
            inputs=INPUTS,
            needed=(*INPUTS, Topic.SUPPRESSIONS),
            lost="what lies between was not indexed. Replay it, then reset the group's offset",
            group=group,
            topic_prefix=topic_prefix,
            instance=instance,
            session_timeout_seconds=session_timeout_seconds,
        )
        self._doubt_seconds = doubt_seconds
        self._clock = clock or SystemClock()
        self._denied_at: float | None = None

    async def _begin(
        self, held: Mapping[aiokafka.TopicPartition, OffsetAndMetadata]
    ) -> dict[aiokafka.TopicPartition, Position]:
        first = [one for one, at in held.items() if at.offset < 0]
        beginnings = await self._consumer.beginning_offsets(first) if first else {}
        if beginnings:
            await self._doubt(beginnings)
        self._denied_at = None
        return {
            one: Position(beginnings[one])
            if one in beginnings
            else Position(at.offset, at.metadata or "")
            for one, at in held.items()
        }

    async def _doubt(self, beginnings: Mapping[aiokafka.TopicPartition, int]) -> None:
        """Raise SourceUnavailable while positions that Kafka denies may yet be found.

        A broker that serves the group before it knows it denies all positions alike, without an
        error; believed, that would index everything again. One position of the group that it does
        know tells that it knows the group.
        """
        ends = await self._consumer.end_offsets(list(beginnings))
        if all(ends[one] <= begin for one, begin in beginnings.items()):
            return
        known = await self._admin.list_consumer_group_offsets(self._group)
        if any(at.offset >= 0 for at in known.values()):
            return
        now = self._clock.monotonic()
        if self._denied_at is None:
            self._denied_at = now
        if now - self._denied_at < self._doubt_seconds:
            raise SourceUnavailable("Kafka knows no position of the group")

    async def commit(self, positions: Mapping[Slot, Position]) -> None:
        """Commit positions with their metadata; raises SourceUnavailable while Kafka is away."""
        await self._commit({slot: (at.offset, at.metadata) for slot, at in positions.items()})
