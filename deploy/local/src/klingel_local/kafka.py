"""Kafka as one plain process that is broker and controller (KRaft)."""

import os
import socket
import ssl
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from klingel_local import processes
from klingel_local.certificates import Authority
from klingel_local.errors import StartError
from klingel_local.servers import Server
from klingel_local.settings import heap_bytes

_START_SECONDS = 120.0
_ASK_SECONDS = 2.0
_OVERHEAD = 150 << 20
# Metadata request, version 1, for no topic: it lists the brokers that serve.
_METADATA = struct.pack(">hhih7si", 3, 1, 1, 7, b"klingel", 0)


ADMIN = "admin"
"""Whom a broker that asks for names lets do everything; a certificate proves it."""
_BROKER = "broker"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """One Kafka of an instance.

    Attributes:
        folder: Configuration and data.
        port: Where clients connect, on 127.0.0.1.
        controller_port: Where the controller listens.
        cluster_id: 22 characters of URL-safe base64.
        heap: Java notation.
        ssl_port: Where clients with a certificate connect (mutual TLS) when it asks who is there; its
            `port` then takes names and passwords (SASL/SCRAM over TLS), and nobody may do anything
            that no access list allows. None lets everybody do everything, unencrypted.
    """

    folder: Path
    port: int
    controller_port: int
    cluster_id: str
    heap: str
    ssl_port: int | None = None

    @property
    def data(self) -> Path:
        """Folder of the logs of all topics."""
        return self.folder / "data"

    @property
    def tls(self) -> Path:
        """Folder of the authority, and of the certificates of broker and administrator."""
        return self.folder / "tls"


def server_properties(config: KafkaConfig) -> str:
    """Return Kafka's configuration: one node, small internal topics, quick group changes.

    A killed broker can register again only when the session of its former life has ended, so a
    restart takes that long; the default would be 9 s.

    A coordinator that is loaded in small pieces gives up a load that a restart has overtaken. In large
    ones it finishes it and lets an empty coordinator serve (Kafka 4.4): groups lose their positions
    for seconds, or cannot be joined until the next restart.
    """
    data = _escaped(config.data)
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{config.controller_port}
controller.listener.names=CONTROLLER
{_secure(config) if config.ssl_port else _open(config)}\
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


def _open(config: KafkaConfig) -> str:
    return f"""\
listeners=PLAINTEXT://127.0.0.1:{config.port},CONTROLLER://127.0.0.1:{config.controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{config.port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
"""


def _secure(config: KafkaConfig) -> str:
    """Return listeners that ask for a name, and the authoriser.

    A certificate's common name is the user, so that a user's rights are the same either way.
    """
    clients = f"SASL_SSL://127.0.0.1:{config.port},SSL://127.0.0.1:{config.ssl_port}"
    return f"""\
listeners={clients},CONTROLLER://127.0.0.1:{config.controller_port}
advertised.listeners={clients}
inter.broker.listener.name=SSL
listener.security.protocol.map=CONTROLLER:SSL,SSL:SSL,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={_SCRAM} required;
ssl.keystore.type=PEM
ssl.keystore.location={_escaped(config.tls / "broker.keystore.pem")}
ssl.truststore.type=PEM
ssl.truststore.location={_escaped(config.tls / "ca.pem")}
listener.name.ssl.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+)$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{_BROKER};User:{ADMIN}
"""


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\")


class KafkaServer(Server[KafkaConfig, tuple[str, Path]]):
    """The Kafka of an instance; its tools are the `java` command and the folder of jars."""

    title = "Kafka"
    start_seconds = _START_SECONDS

    @property
    def _ports(self) -> tuple[int, ...]:
        ports = self._config.port, self._config.controller_port
        return ports if self._config.ssl_port is None else (*ports, self._config.ssl_port)

    @property
    def bootstrap(self) -> str:
        """Address for clients; where it asks who is there, for those with name and password."""
        return f"127.0.0.1:{self._config.port}"

    @property
    def ssl_bootstrap(self) -> str | None:
        """Address for clients with a certificate; `None` where security is off."""
        port = self._config.ssl_port
        return None if port is None else f"127.0.0.1:{port}"

    @property
    def tls(self) -> Path:
        """Folder of authority and administrator, where security is on."""
        return self._config.tls

    def _memory(self) -> int:
        return heap_bytes(self._config.heap) + _OVERHEAD

    def _launch(self) -> None:
        java, jars = self._tools()
        config = self._config
        config.folder.mkdir(parents=True, exist_ok=True)
        self._certify()
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

    def _certify(self) -> None:
        """Make the certificates of broker and administrator, where it asks for them."""
        if self._config.ssl_port is None:
            return
        authority = Authority(self._config.tls)
        certificate, key = authority.issue(_BROKER, hosts=("IP:127.0.0.1", "DNS:localhost"))
        store = self._config.tls / "broker.keystore.pem"
        store.write_text(key.read_text() + certificate.read_text(), encoding="utf-8")
        authority.issue(ADMIN)

    def _answers(self) -> bool:
        port, tls = self._config.ssl_port, self._config.tls
        if port is None:
            return count_brokers("127.0.0.1", self._config.port) >= 1
        context = ssl.create_default_context(cafile=tls / "ca.pem")
        context.load_cert_chain(tls / f"{ADMIN}.pem", tls / f"{ADMIN}.key")
        return count_brokers("127.0.0.1", port, context) >= 1


def count_brokers(host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
    """Ask a Kafka how many brokers serve.

    Args:
        host: where.
        port: of a listener that asks for no password.
        tls: whom we trust and who we are, where it is encrypted.

    Raises:
        OSError: nobody listens, or the answer is cut short.
    """
    with socket.create_connection((host, port), _ASK_SECONDS) as plain:
        if tls is None:
            return _count(plain)
        with tls.wrap_socket(plain, server_hostname=host) as connection:
            return _count(connection)


def _count(connection: socket.socket) -> int:
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
