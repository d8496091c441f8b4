"""How a stage's pure half, its ports and the frame are put together; the same for every stage."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from klingel.clock import Clock
from klingel.contracts.blobs import BlobStore
from klingel.metrics import Metrics
from klingel.settings import Settings
from klingel.stage.dead_letters import Component
from klingel.stage.ports import Log, Logic, StateTable, Transactions
from klingel_processors.app import BatchService, Frame, add_pages, build_frame, wait_for_topics
from klingel_processors.batch_service import BatchLoop, BatchSettings
from klingel_processors.kafka_ports import KafkaInput, KafkaTransactions
from klingel_processors.rocks import RocksTable
from klingel_streams.follower import Follower


@dataclass(frozen=True, slots=True)
class Wiring:
    """The world of one stage.

    Attributes:
        name: stage.
        settings: all settings.
        metrics: metrics of the process.
        clock: time.
        log: for rebuilding and reading back.
        tables: local table to the seconds after which its entries disappear, None never.
        layout: of the tables; one that was written in another is built anew from its topic.
    """

    name: str
    settings: Settings
    metrics: Metrics
    clock: Clock
    log: Log
    tables: Mapping[str, int | None]
    layout: int = 1

    def build(
        self,
        logic: Callable[[int], Logic],
        kind: type[Logic],
        follower: Follower,
        check: Callable[[], None] = lambda: None,
    ) -> tuple[Frame, BatchService]:
        """Build frame and service; nothing starts.

        Args:
            logic: builds the pure half of one partition.
            kind: the class of it.
            follower: reads the configuration.
            check: called when the configuration is known; raises ConfigurationError.
        """

        async def prepare() -> None:
            await wait_for_topics(self.log, kind)
            await follower.caught_up.wait()
            check()

        service = BatchService(
            prepare, lambda: self._loop(logic, kind), (follower.run,), lambda: follower.refused
        )
        frame = build_frame(self.name, self.settings.kafka, self.settings.http)
        frame.service(service)  # type: ignore[arg-type] # Faust takes an instance too
        add_pages(frame, service, self.metrics)
        return frame, service

    def _loop(self, logic: Callable[[int], Logic], kind: type[Logic]) -> BatchLoop:
        kafka, processor = self.settings.kafka, self.settings.processor
        blobs = BlobStore(self.settings.blobs.dir)
        holder = processor.instance or f"{socket.gethostname()}-{os.getpid()}"

        def writer(number: int) -> Transactions:
            return KafkaTransactions(kafka, group=self.name, number=number)

        return BatchLoop(
            logic=logic,
            source=KafkaInput(kafka, kind.inputs, self.name, processor.instance),
            log=self.log,
            writer=writer,
            tables=self._open_tables,
            component=Component(
                service=f"klingel-{self.name}/{version('klingel-processors')}",
                stage=self.name,
                holder=holder,
            ),
            clock=self.clock,
            metrics=self.metrics,
            settings=BatchSettings(
                batch_messages=processor.batch_messages,
                batch_wait_seconds=processor.batch_wait_seconds,
                settle_seconds=kafka.session_timeout_seconds / 2,
            ),
            keep=lambda original: blobs.put(original).ref,
        )

    def _open_tables(self, partition: int) -> Mapping[str, StateTable]:
        # Another prefix is another deployment: its mirrors are not these.
        deployment = self.settings.kafka.topic_prefix or "klingel"
        folder = self.settings.processor.state_dir / deployment / self.name / str(partition)
        return {
            name: RocksTable(folder / name, ttl_seconds=seconds, layout=self.layout)
            for name, seconds in self.tables.items()
        }
