"""Kafka as one plain process that is broker and controller (KRaft)."""

import os
import socket
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from klingel_local import processes
from klingel_local.errors import StartError
from klingel_local.servers import Server
from klingel_local.settings import heap_bytes

_START_SECONDS = 120.0
_ASK_SECONDS = 2.0
_OVERHEAD = 150 << 20
# Metadata request, version 1, for no topic: it lists the brokers that serve.
_METADATA = struct.pack(">hhih7si", 3, 1, 1, 7, b"klingel", 0)


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """One Kafka of an instance.

    Attributes:
        folder: Configuration and data.
        port: Where clients connect, on 127.0.0.1.
        controller_port: Where the controller listens.
        cluster_id: 22 characters of URL-safe base64.
        heap: Java notation.
    """

    folder: Path
    port: int
    controller_port: int
    cluster_id: str
    heap: str

    @property
    def data(self) -> Path:
        """Folder of the logs of all topics."""
        return self.folder / "data"


def server_properties(config: KafkaConfig) -> str:
    """Return Kafka's configuration: one node, small internal topics, quick group changes.

    A killed broker can register again only when the session of its former life has ended, so a
    restart takes that long; the default would be 9 s.

    A coordinator that is loaded in small pieces gives up a load that a restart has overtaken. In large
    ones it finishes it and lets an empty coordinator serve (Kafka 4.4): groups lose their positions
    for seconds, or cannot be joined until the next restart.
    """
    data = str(config.data).replace("\\", "\\\\")
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{config.controller_port}
listeners=PLAINTEXT://127.0.0.1:{config.port},CONTROLLER://127.0.0.1:{config.controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{config.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
offsets.load.buffer.size=65536
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=16777216
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
"""


class KafkaServer(Server[KafkaConfig, tuple[str, Path]]):
    """The Kafka of an instance; its tools are the `java` command and the folder of jars."""

    title = "Kafka"
    start_seconds = _START_SECONDS

    @property
    def _ports(self) -> tuple[int, ...]:
        return self._config.port, self._config.controller_port

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self._config.port}"

    def _memory(self) -> int:
        return heap_bytes(self._config.heap) + _OVERHEAD

    def _launch(self) -> None:
        java, jars = self._tools()
        config = self._config
        config.folder.mkdir(parents=True, exist_ok=True)
        properties = config.folder / "server.properties"
        properties.write_text(server_properties(config), encoding="utf-8")
        if not (config.data / "meta.properties").exists():
            self._format(java, jars, properties)
        command = [
            java,
            f"-Xmx{config.heap}",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            self._mark,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            "-cp",
            str(jars / "*"),
            "kafka.Kafka",
            str(properties),
        ]
        processes.spawn(command, self.log, config.folder, _environment(os.environ))

    def _format(self, java: str, jars: Path, properties: Path) -> None:
        command = [java, "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", str(jars / "*")]
        command += ["kafka.tools.StorageTool", "format", "-t", self._config.cluster_id]
        answer = subprocess.run(  # noqa: S603 - the pinned Kafka on the chosen Java
            [*command, "-c", str(properties)],
            check=False,
            capture_output=True,
            text=True,
            env=_environment(os.environ),
        )
        if answer.returncode != 0:
            raise StartError(f"Kafka could not format its data folder: {answer.stderr[-1000:]}")

    def _answers(self) -> bool:
        return count_brokers("127.0.0.1", self._config.port) >= 1


def count_brokers(host: str, port: int) -> int:
    """Ask a Kafka how many brokers serve.

    Raises:
        OSError: nobody listens, or the answer is cut short.
    """
    with socket.create_connection((host, port), _ASK_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(_METADATA)) + _METADATA)
        with connection.makefile("rb") as stream:
            (length,) = struct.unpack(">i", _read(stream, 4))
            answer = _read(stream, length)
    # Behind the correlation id stands the array of brokers.
    (brokers,) = struct.unpack_from(">i", answer, 4)
    return int(brokers)


def _read(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < max(count, 4):
        raise ConnectionError("the answer was cut short")
    return data


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}
