"""The local stack: one Kafka and one Elasticsearch that belong to a folder."""

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from klingel_local import pins, processes
from klingel_local.artifacts import ArtifactCache, cache_folder
from klingel_local.elasticsearch import ElasticsearchConfig, ElasticsearchServer
from klingel_local.errors import LocalStackError, MissingError, SettingError
from klingel_local.instance import (
    Instance,
    forget,
    instance_name,
    move_taken_ports,
    new_instance,
    read_instance,
    remember,
    write_private,
)
from klingel_local.java import (
    ELASTICSEARCH_9_MODULES,
    ELASTICSEARCH_9_VERSION,
    Java,
    ask_java,
    find_javas,
)
from klingel_local.kafka import KafkaConfig, KafkaServer
from klingel_local.machine import (
    Account,
    can_enter,
    make_enterable,
    read_available_memory,
    require_disk,
    unprivileged_account,
)
from klingel_local.repository import maven_settings_files, repository_address
from klingel_local.settings import EsVersion, Settings, read_settings

_STACK_FILE = "stack.json"
_DATA_DISK = 500_000_000
_ROOMY = 2_600_000_000
_BUILDS: dict[EsVersion, pins.ElasticsearchBuild] = {
    "8": pins.ELASTICSEARCH_8,
    "9": pins.ELASTICSEARCH_9,
}


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def default_folder() -> Path:
    """Return `.klingel/local` of the checkout, or of the working folder outside of one."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "deploy" / "local" / "pyproject.toml").is_file():
            return parent / ".klingel" / "local"
    return Path.cwd() / ".klingel" / "local"


def choose_heap(available: int | None) -> str:
    """Return the heap of Elasticsearch that suits the free memory, in bytes."""
    return "512m" if available is not None and available < _ROOMY else "1g"


def _of_security(kafka: KafkaServer) -> dict[str, str]:
    """Return where those with a certificate connect, and the folder of authority and administrator."""
    if kafka.ssl_bootstrap is None:
        return {}
    return {"ssl_bootstrap": kafka.ssl_bootstrap, "tls": str(kafka.tls)}


class LocalStack:
    """Real Kafka and real Elasticsearch on this machine, as plain processes.

    The processes live on when this object goes away; another one on the same folder finds them.

    Args:
        folder: Configuration, data and logs; `None` for `.klingel/local` of the checkout.
        es_version: `"8"` or `"9"`; `None` takes the setting, else what the machine can run.
        security: Whether Elasticsearch asks for a password; `None` takes the setting.
        kafka_security: Whether Kafka asks who is there; `None` takes the setting.
        settings: `None` reads them from the environment.
        say: Takes one line for the user; `None` writes to standard error.
        out: Where the progress of downloads is shown; `None` for standard error.

    Raises:
        SettingError: a setting is not understood.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        es_version: EsVersion | None = None,
        *,
        security: bool | None = None,
        kafka_security: bool | None = None,
        settings: Settings | None = None,
        say: Callable[[str], None] | None = None,
        out: TextIO | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser().absolute() if folder else default_folder()
        self._settings = settings if settings is not None else read_settings(os.environ)
        self._es_version = es_version or self._settings.es_version
        self._security = self._settings.es_security if security is None else security
        self._kafka_security = (
            self._settings.kafka_security if kafka_security is None else kafka_security
        )
        self._say = say or _to_stderr
        self._account: Account | None = unprivileged_account()
        home = Path.home()
        self._cache = ArtifactCache(
            cache_folder(self._settings.cache, os.environ, home, os.geteuid()),
            lambda: repository_address(self._settings.repository, maven_settings_files(home)),
            self._say,
            out or sys.stderr,
        )
        self._jdk: Java | None = None
        self._runtime: Java | None = None
        self._servers: tuple[KafkaServer, ElasticsearchServer] | None = None

    @property
    def kafka(self) -> KafkaServer:
        """The Kafka of this folder.

        Raises:
            LocalStackError: the folder holds no instance yet.
        """
        return self._both()[0]

    @property
    def elasticsearch(self) -> ElasticsearchServer:
        """The Elasticsearch of this folder.

        Raises:
            LocalStackError: the folder holds no instance yet.
        """
        return self._both()[1]

    @property
    def bootstrap(self) -> str:
        """Address of Kafka for clients, `host:port`."""
        return self.kafka.bootstrap

    @property
    def elasticsearch_url(self) -> str:
        """Address of Elasticsearch for clients."""
        return self.elasticsearch.url

    @property
    def elasticsearch_auth(self) -> tuple[str, str] | None:
        """User and password of Elasticsearch; `None` where security is off."""
        return self.elasticsearch.auth

    def fetch(self) -> None:
        """Fetch what `up` would need, and verify every byte of it.

        Raises:
            LocalStackError: see `errors`.
        """
        version = self._wanted_version(None)
        self._cache.verify(_BUILDS[version])
        if version == "8":
            self._cache.java_runtime()

    def prepare(self) -> None:
        """Fetch what is missing and settle version, ports and folders, without starting.

        Raises:
            LocalStackError: see `errors`.
        """
        if self._account and not can_enter(self._account, self._cache.folder):
            raise MissingError(
                f"`nobody`, who runs Elasticsearch in root's place, cannot enter the cache folder "
                f"{self._cache.folder}: name another in KLINGEL_CACHE_DIR."
            )
        known = read_instance(self.folder)
        if known is not None and self._both()[1].running:
            self._require_same(known)
            version, security = known.es_version, known.es_security
        else:
            version, security = self._wanted_version(known), self._wanted_security(known)
        self.folder.mkdir(parents=True, exist_ok=True)
        if known is None:
            self._end_survivors()
        es_folder = self._elasticsearch_folder(version)
        instance = known or new_instance(self.folder, version, es_folder, es_security=security)
        if not es_folder.is_relative_to(self.folder):
            make_enterable(es_folder.parent, self._cache.folder)
            self._say(
                f"`nobody` cannot enter {self.folder}: Elasticsearch keeps its data in {es_folder}."
            )
        asks = self._wanted_kafka_security(known)
        instance = replace(
            instance,
            es_version=version,
            es_security=security,
            es_folder=str(es_folder),
            kafka_security=asks,
        )
        remember(self.folder, instance)
        self._servers = None
        kafka, elasticsearch = self._both()
        moved = move_taken_ports(
            self.folder,
            instance,
            kafka_down=not kafka.running,
            elasticsearch_down=not elasticsearch.running,
        )
        if moved != instance:
            self._say("A remembered port is taken by another program: choosing another.")
            remember(self.folder, moved)
            self._servers = None
        self._cache.kafka()
        self._cache.elasticsearch(_BUILDS[version])

    def up(self) -> None:
        """Start what is down, wait until both answer, and write `stack.json`.

        Raises:
            LocalStackError: see `errors`; what this call started is stopped again.
        """
        with self._alone():
            self.prepare()
            require_disk(self.folder, _DATA_DISK, "The data of the local stack")
            begun: list[KafkaServer | ElasticsearchServer] = []
            try:
                for server in self._both():
                    if server.begin():
                        begun.append(server)
                        self._say(f"{server.title} is starting.")
                    else:
                        self._say(f"{server.title} is already running.")
                for server in self._both():
                    server.wait()
            except BaseException:
                for server in begun:
                    server.stop()
                raise
            self._say(f"Kafka answers at {self.bootstrap}.")
            elasticsearch = self.elasticsearch
            self._say(f"Elasticsearch {elasticsearch.version} answers at {elasticsearch.url}.")

    def down(self) -> None:
        """Stop both in an orderly way; data and ports are kept.

        Raises:
            LocalStackError: a process cannot be ended.
        """
        with self._alone():
            if read_instance(self.folder) is not None:
                for server in self._both():
                    if server.stop():
                        self._say(f"{server.title} has stopped.")
            (self.folder / _STACK_FILE).unlink(missing_ok=True)

    def wipe(self) -> None:
        """Stop both at once and delete their data, logs and remembered ports.

        Raises:
            LocalStackError: a process cannot be ended.
        """
        with self._alone():
            self._end_survivors()
            for version in _BUILDS:
                shutil.rmtree(self.folder / f"elasticsearch-{version}", ignore_errors=True)
            shutil.rmtree(self._open_folder(), ignore_errors=True)
            for name in ("kafka", "logs"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / _STACK_FILE).unlink(missing_ok=True)
            forget(self.folder)
            self._servers = None

    def status(self) -> dict[str, Any]:
        """Return what runs: as `stack.json`, without the password, with `running` and `ready`.

        Raises:
            LocalStackError: the memory of the folder is damaged.
        """
        if read_instance(self.folder) is None:
            down = {"running": False, "ready": False, "pid": None}
            return {"folder": str(self.folder), "kafka": down, "elasticsearch": dict(down)}
        kafka, elasticsearch = self._both()
        described = self._describe()
        described["elasticsearch"].pop("password", None)
        return {
            "folder": str(self.folder),
            "kafka": described["kafka"] | asdict(kafka.status()),
            "elasticsearch": described["elasticsearch"] | asdict(elasticsearch.status()),
        }

    def _end_survivors(self) -> None:
        """Kill processes of this folder, also those whose memory was lost with its file."""
        for server in ("kafka", "elasticsearch"):
            processes.kill(processes.marker(server, instance_name(self.folder)))

    def _describe(self) -> dict[str, dict[str, Any]]:
        kafka, elasticsearch = self._both()
        described: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap": kafka.bootstrap, "pid": kafka.pid, **_of_security(kafka)},
            "elasticsearch": {
                "url": elasticsearch.url,
                "version": elasticsearch.version,
                "pid": elasticsearch.pid,
            },
        }
        if elasticsearch.auth:
            user, password = elasticsearch.auth
            described["elasticsearch"] |= {"user": user, "password": password}
        if elasticsearch.tls:
            described["elasticsearch"]["tls"] = str(elasticsearch.tls)
        return described

    def _write_description(self) -> None:
        write_private(self.folder / _STACK_FILE, self._describe())

    def _both(self) -> tuple[KafkaServer, ElasticsearchServer]:
        if self._servers is None:
            instance = read_instance(self.folder)
            if instance is None:
                raise LocalStackError(f"There is no local stack in {self.folder}: run `up` first.")
            self._servers = self._kafka_of(instance), self._elasticsearch_of(instance)
        return self._servers

    def _kafka_of(self, instance: Instance) -> KafkaServer:
        config = KafkaConfig(
            folder=self.folder / "kafka",
            port=instance.kafka_port,
            controller_port=instance.controller_port,
            cluster_id=instance.cluster_id,
            heap=self._settings.kafka_heap,
            ssl_port=instance.ssl_port if instance.kafka_security else None,
        )
        return KafkaServer(
            config,
            processes.marker("kafka", instance_name(self.folder)),
            lambda: (self._java_for(instance.es_version).executable, self._cache.kafka()),
            self.folder / "logs" / "kafka.log",
            self._write_description,
        )

    def _elasticsearch_of(self, instance: Instance) -> ElasticsearchServer:
        build = _BUILDS[instance.es_version]
        config = ElasticsearchConfig(
            build=build,
            folder=Path(instance.es_folder),
            port=instance.elasticsearch_port,
            transport_port=instance.transport_port,
            heap=self._settings.es_heap or choose_heap(read_available_memory()),
            password=instance.password if instance.es_security else None,
            account=self._account,
            # Who secures both gets one authority for both.
            tls=self.folder / "kafka" / "tls"
            if instance.es_security and instance.kafka_security
            else None,
        )
        return ElasticsearchServer(
            config,
            processes.marker("elasticsearch", instance_name(self.folder)),
            lambda: (self._java_for(instance.es_version), self._cache.elasticsearch(build)),
            self.folder / "logs" / "elasticsearch.log",
            self._write_description,
        )

    def _wanted_version(self, known: Instance | None) -> EsVersion:
        """Decide the version: the choice, else what the folder has, else what can run here."""
        wanted = self._es_version or (known.es_version if known else None)
        if wanted == "8":
            return "8"
        if self._find_jdk() is not None:
            return "9"
        if self._es_version == "9":
            raise MissingError(
                "Elasticsearch 9 needs a whole JDK 21 or newer and none was found: install one, "
                "name its folder in KLINGEL_LOCAL_JAVA_HOME, or set KLINGEL_LOCAL_ES=8."
            )
        self._say(
            "No JDK 21 or newer was found: taking Elasticsearch 8 with the Java that comes with it."
        )
        return "8"

    def _wanted_security(self, known: Instance | None) -> bool:
        """Decide on security: the choice, else what the folder has, else none."""
        if self._security is not None:
            return self._security
        return known.es_security if known else False

    def _wanted_kafka_security(self, known: Instance | None) -> bool:
        """Decide on Kafka's security: the choice, else what the folder has, else none.

        Raises:
            LocalStackError: it runs the other way.
        """
        has = known.kafka_security if known else False
        wanted = has if self._kafka_security is None else self._kafka_security
        if wanted != has and known is not None and self._both()[0].running:
            raise LocalStackError(
                f"Kafka with security {'on' if has else 'off'} is running in {self.folder}: "
                "run `down` first to start another."
            )
        return wanted

    def _java_for(self, version: EsVersion) -> Java:
        """Return the Java for both servers: a JDK of this machine, or the one fetched with 8."""
        if version == "9":
            if jdk := self._find_jdk():
                return jdk
            raise MissingError(
                "The JDK that Elasticsearch 9 ran on is gone: install one again, or set "
                "KLINGEL_LOCAL_ES=8 and run `up`."
            )
        if self._runtime is None:
            home = self._cache.java_runtime()
            self._runtime = ask_java(home, self._account)
            if self._runtime is None:
                raise MissingError(f"The fetched Java in {home} does not run on this machine.")
        return self._runtime

    def _find_jdk(self) -> Java | None:
        if self._jdk is None:
            found = find_javas(self._settings.java_home, os.environ, self._account)
            fit = (j for j in found if j.serves(ELASTICSEARCH_9_VERSION, ELASTICSEARCH_9_MODULES))
            self._jdk = next(fit, None)
        return self._jdk

    def _require_same(self, known: Instance) -> None:
        asked = self._es_version or known.es_version
        security = known.es_security if self._security is None else self._security
        if asked != known.es_version or security != known.es_security:
            raise LocalStackError(
                f"Elasticsearch {known.es_version} with security "
                f"{'on' if known.es_security else 'off'} is running in {self.folder}: "
                "run `down` first to start another."
            )

    def _elasticsearch_folder(self, version: EsVersion) -> Path:
        """Return where Elasticsearch keeps its data; each version has its own.

        Root's checkout may lie where the account of Elasticsearch cannot enter; then the data
        lies in the cache, which is open.
        """
        name = f"elasticsearch-{version}"
        if self._account is None or can_enter(self._account, self.folder):
            return self.folder / name
        return self._open_folder() / name

    def _open_folder(self) -> Path:
        return self._cache.folder / "data" / instance_name(self.folder)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder alone; a second command on it waits.

        Raises:
            SettingError: the folder cannot be made, or nothing can be written there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("ab")
        except OSError as error:
            reason = error.strerror or "it cannot be written"
            raise SettingError(f"{self.folder}: {reason}; name another folder by --dir.") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
