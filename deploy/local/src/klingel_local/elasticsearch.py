"""Elasticsearch as plain processes: a small launcher and the server."""

import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from klingel_local import processes
from klingel_local.certificates import Authority
from klingel_local.java import Java
from klingel_local.machine import Account, give_to
from klingel_local.pins import ElasticsearchBuild
from klingel_local.servers import Server
from klingel_local.settings import heap_bytes

USER = "klingel"
_START_SECONDS = 240.0
_ASK_SECONDS = 5.0
_OVERHEAD = 450 << 20
_HASH_ROUNDS = 10_000
_CONFIG_FILES = ("log4j2.properties", "role_mapping.yml", "roles.yml", "users", "users_roles")
_CERTIFICATE, _KEY = "http.pem", "http.key"
# Garbage collector logs and heap dumps would fill a developer's disk.
_UNWANTED_OPTIONS = re.compile(r"^[^#\n]*(-Xlog:gc|HeapDump).*$", re.MULTILINE)
_VECTOR_OPTION = re.compile(r"^.*jdk\.incubator\.vector.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ElasticsearchConfig:
    """One Elasticsearch of an instance.

    Attributes:
        build: Which Elasticsearch.
        folder: Configuration, data, logs and snapshots.
        port: HTTP port on 127.0.0.1.
        transport_port: Port between nodes.
        heap: Java notation.
        password: Of the user `klingel`; `None` leaves security off.
        account: Whom it runs as; `None` for the user who starts it.
        tls: Folder of the authority that vouches for its HTTP port; `None` leaves that in clear.
    """

    build: ElasticsearchBuild
    folder: Path
    port: int
    transport_port: int
    heap: str
    password: str | None = field(repr=False)
    account: Account | None
    tls: Path | None = None


def server_yaml(config: ElasticsearchConfig) -> str:
    """Return `elasticsearch.yml`: one node, local only, no disk watermarks."""
    folder = config.folder
    lines = [
        "cluster.name: klingel-local",
        "node.name: local-1",
        "network.host: 127.0.0.1",
        f"http.port: {config.port}",
        f"transport.port: {config.transport_port}",
        "discovery.type: single-node",
        f"path.data: {json.dumps(str(folder / 'data'))}",
        f"path.logs: {json.dumps(str(folder / 'logs'))}",
        f"path.repo: [{json.dumps(str(folder / 'snapshots'))}]",
        "cluster.routing.allocation.disk.threshold_enabled: false",
        f"xpack.security.enabled: {'true' if config.password else 'false'}",
    ]
    if config.password:
        lines += [
            f"xpack.security.http.ssl.enabled: {'true' if config.tls else 'false'}",
            "xpack.security.transport.ssl.enabled: false",
            "xpack.security.enrollment.enabled: false",
            "xpack.security.authc.realms.file.local.order: 0",
        ]
    if config.password and config.tls:
        lines += [
            f"xpack.security.http.ssl.certificate: {_CERTIFICATE}",
            f"xpack.security.http.ssl.key: {_KEY}",
        ]
    return "\n".join(lines) + "\n"


def java_options(shipped: str, modules: frozenset[str]) -> str:
    """Return the shipped Java options without those that do not suit this machine.

    Args:
        shipped: The text of `config/jvm.options`.
        modules: What the Java has.
    """
    options = _UNWANTED_OPTIONS.sub("", shipped)
    return options if "jdk.incubator.vector" in modules else _VECTOR_OPTION.sub("", options)


def password_line(user: str, password: str, salt: bytes) -> str:
    """Return a line of the `users` file: the password as PBKDF2 with SHA-512.

    Args:
        user: Name.
        password: Clear text.
        salt: 32 random bytes.
    """
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _HASH_ROUNDS, dklen=32)
    salted = base64.b64encode(salt).decode()
    return f"{user}:{{PBKDF2}}{_HASH_ROUNDS}${salted}${base64.b64encode(digest).decode()}\n"


class ElasticsearchServer(Server[ElasticsearchConfig, tuple[Java, Path]]):
    """The Elasticsearch of an instance; its tools are the Java and the home of Elasticsearch."""

    title = "Elasticsearch"
    start_seconds = _START_SECONDS

    @property
    def _ports(self) -> tuple[int, ...]:
        return self._config.port, self._config.transport_port

    @property
    def version(self) -> str:
        """Version of the server."""
        return self._config.build.version

    @property
    def url(self) -> str:
        """Address for clients."""
        scheme = "https" if self._config.tls else "http"
        return f"{scheme}://127.0.0.1:{self._config.port}"

    @property
    def tls(self) -> Path | None:
        """Folder of the authority that vouches for it; `None` where it speaks in clear."""
        return self._config.tls

    @property
    def auth(self) -> tuple[str, str] | None:
        """User and password; `None` where security is off."""
        password = self._config.password
        return (USER, password) if password else None

    def _memory(self) -> int:
        return heap_bytes(self._config.heap) + _OVERHEAD

    def _launch(self) -> None:
        java, home = self._tools()
        folder = self._config.folder
        self._configure(java, home)
        give_to(self._config.account, folder)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ES_HOME": str(home),
            "ES_PATH_CONF": str(folder / "config"),
            "ES_TMPDIR": str(folder / "tmp"),
            "ES_DISTRIBUTION_TYPE": "zip",
            "ES_JAVA_HOME": str(java.home),
            "JAVA": java.executable,
            "JAVA_TYPE": "ES_JAVA_HOME",
        }
        command = [java.executable, "-Xms4m", "-Xmx64m", "-XX:+UseSerialGC", self._mark]
        command += launcher_arguments(self._config.build, home, folder / "config")
        processes.spawn(command, self.log, home, environment, self._config.account)

    def _configure(self, java: Java, home: Path) -> None:
        config, folder = self._config, self._config.folder
        for name in ("config/jvm.options.d", "data", "logs", "tmp", "snapshots"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        conf = folder / "config"
        for name in _CONFIG_FILES:
            shutil.copyfile(home / "config" / name, conf / name)
        shipped = (home / "config" / "jvm.options").read_text(encoding="utf-8")
        (conf / "jvm.options").write_text(java_options(shipped, java.modules), encoding="utf-8")
        (conf / "jvm.options.d" / "klingel.options").write_text(
            f"-Xms{config.heap}\n-Xmx{config.heap}\n{self._mark}\n", encoding="utf-8"
        )
        (conf / "elasticsearch.yml").write_text(server_yaml(config), encoding="utf-8")
        if config.password:
            line = password_line(USER, config.password, secrets.token_bytes(32))
            (conf / "users").write_text(line, encoding="utf-8")
            (conf / "users_roles").write_text(f"superuser:{USER}\n", encoding="utf-8")
        if config.tls:
            # For its address alone: tests reach it by a name that is not in the certificate, too.
            names = ("IP:127.0.0.1",)
            certificate, key = Authority(config.tls).issue("elasticsearch", hosts=names)
            shutil.copyfile(certificate, conf / _CERTIFICATE)
            shutil.copyfile(key, conf / _KEY)

    def _answers(self) -> bool:
        connection = self._connection()
        headers = {}
        if self.auth:
            token = base64.b64encode(":".join(self.auth).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        path = "/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status == http.client.OK
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        port, tls = self._config.port, self._config.tls
        if tls is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_SECONDS)
        trusting = ssl.create_default_context(cafile=tls / "ca.pem")
        return http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_ASK_SECONDS, context=trusting
        )


def launcher_arguments(build: ElasticsearchBuild, home: Path, conf: Path) -> list[str]:
    """Return class path, properties and main class of the launcher, which differ by version."""
    if build.version.startswith("9."):
        return [
            "-cp",
            str(home / "lib" / "tools" / "server-launcher" / "*"),
            "org.elasticsearch.server.launcher.ServerLauncher",
        ]
    return [
        "-Dcli.name=server",
        "-Dcli.script=bin/elasticsearch",
        "-Dcli.libs=lib/tools/server-cli",
        f"-Des.path.home={home}",
        f"-Des.path.conf={conf}",
        "-Des.distribution.type=zip",
        "-Des.java.type=ES_JAVA_HOME",
        "-cp",
        f"{home / 'lib' / '*'}:{home / 'lib' / 'cli-launcher' / '*'}",
        "org.elasticsearch.launcher.CliToolLauncher",
    ]
