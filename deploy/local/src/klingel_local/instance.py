"""What one instance of the stack remembers between commands: its ports, its name, its password."""

import base64
import hashlib
import json
import os
import secrets
import tempfile
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from klingel_local.errors import LocalStackError
from klingel_local.machine import free_ports, is_free
from klingel_local.settings import EsVersion

_FILE = "instance.json"


@dataclass(frozen=True, slots=True)
class Instance:
    """The memory of an instance.

    Attributes:
        kafka_port: Where Kafka's clients connect.
        controller_port: Where Kafka's controller listens.
        elasticsearch_port: HTTP.
        transport_port: Between nodes of Elasticsearch.
        cluster_id: Of Kafka.
        password: Of Elasticsearch; it counts where security is on.
        es_version: Major version of Elasticsearch, `"8"` or `"9"`.
        es_security: Whether Elasticsearch asks for the password.
        es_folder: Where Elasticsearch keeps its data.
        kafka_security: Whether Kafka asks who is there.
        ssl_port: Where Kafka's clients with a certificate connect, if it does; 0 in an instance that
            is older than that.
    """

    kafka_port: int
    controller_port: int
    elasticsearch_port: int
    transport_port: int
    cluster_id: str
    password: str = field(repr=False)
    es_version: EsVersion
    es_security: bool
    es_folder: str
    kafka_security: bool = False
    ssl_port: int = 0


def instance_name(folder: Path) -> str:
    """Return a short name that no other folder has, for markers and as the seed of ports."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:16]


def new_instance(
    folder: Path, es_version: EsVersion, es_folder: Path, *, es_security: bool
) -> Instance:
    """Choose ports, a cluster id and a password."""
    kafka, controller, elasticsearch, transport, tls = free_ports(instance_name(folder), 5)
    # A leading hyphen would be read as an option by Kafka's tools.
    identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22].replace("-", "A")
    return Instance(
        kafka_port=kafka,
        controller_port=controller,
        elasticsearch_port=elasticsearch,
        transport_port=transport,
        cluster_id=identity,
        password=secrets.token_urlsafe(24),
        es_version=es_version,
        es_security=es_security,
        es_folder=str(es_folder),
        ssl_port=tls,
    )


def read_instance(folder: Path) -> Instance | None:
    """Read the memory of a folder; `None` where it holds no instance.

    Raises:
        LocalStackError: the file is damaged.
    """
    path = folder / _FILE
    try:
        return Instance(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LocalStackError(f"{path} is damaged: run `wipe`, then `up` again.") from error


def write_private(path: Path, content: object) -> None:
    """Write JSON that only its owner may read, whole or not at all."""
    descriptor, scratch = tempfile.mkstemp(prefix=path.stem, suffix=".partial", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
    Path(scratch).replace(path)


def remember(folder: Path, instance: Instance) -> None:
    """Write the memory of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / _FILE, asdict(instance))


def forget(folder: Path) -> None:
    """Remove the memory of a folder."""
    (folder / _FILE).unlink(missing_ok=True)


def move_taken_ports(
    folder: Path, instance: Instance, *, kafka_down: bool, elasticsearch_down: bool
) -> Instance:
    """Replace remembered ports that another program took while a server was down."""
    movable = ["kafka_port", "controller_port", "ssl_port"] if kafka_down else []
    movable += ["elasticsearch_port", "transport_port"] if elasticsearch_down else []
    taken = [name for name in movable if not (port := getattr(instance, name)) or not is_free(port)]
    if not taken:
        return instance
    kept = {
        value
        for name, value in asdict(instance).items()
        if name.endswith("_port") and name not in taken
    }
    fresh = [port for port in free_ports(instance_name(folder), 8) if port not in kept]
    moved: dict[str, int] = dict(zip(taken, fresh, strict=False))
    return replace(instance, **moved)  # type: ignore[arg-type]  # the names are those of ports
