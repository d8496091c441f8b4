"""Services and simulators as child processes: started, watched, killed, frozen and stopped.

A fleet is a set of processes that share one Kafka, one Elasticsearch and a prefix. Each has its
own KLINGEL_* environment, port, state folder and log, keeps them over a restart, and carries an
argument that names the fleet, so that survivors of a killed parent are found again.
"""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self
from zlib import crc32

from prometheus_client.parser import text_string_to_metric_families

from klingel.config.loader import load_brand
from klingel.errors import KlingelError
from klingel.settings import Settings, load_settings
from klingel_local import processes as marked
from klingel_local.machine import free_ports

PARTITIONS: Final = 4
SOURCE: Final = "nordlicht"
"""Source of the signed webhooks, of the form and of recordings, as the example brand names it."""
ORIGIN: Final = "http://127.0.0.1"
"""Web origin that may post the form."""

X_TOKEN: Final = "bearer-of-the-stand-in"  # noqa: S105 - the simulated X's own
MAILBOX: Final = "service"
MAIL_ADDRESS: Final = "service@nordlicht.example"
CHAT: Final = "website"
"""Web chat that the gateway serves, as the example brand names it."""
MAIL_LOGIN: Final = ("service", "secret")
"""User and password of the simulated mail server."""

_POLL_SECONDS = 0.1
_HTTP_SECONDS = 2.0
_TERM_SECONDS = 25.0
_KILL_SECONDS = 10.0


class FleetError(KlingelError):
    """A process did not do what it should; the sentence names it and its log."""


class Servers(Protocol):
    """Where Kafka and Elasticsearch answer; `klingel_local.LocalStack` is one."""

    @property
    def bootstrap(self) -> str:
        """`host:port` of Kafka."""
        ...

    @property
    def elasticsearch_url(self) -> str:
        """Address of Elasticsearch."""
        ...

    @property
    def elasticsearch_auth(self) -> tuple[str, str] | None:
        """User and password; None where security is off."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of process is started.

    Attributes:
        module: run with `python -m`.
        verbs: its first arguments.
        probe: path that answers 200 when it is ready; None where it serves nothing.
        shared: whether it takes the services' common settings.
        port_option: option that takes the port, where no setting does.
    """

    module: str
    verbs: tuple[str, ...] = ()
    probe: str | None = "/readyz"
    shared: bool = True
    port_option: str | None = None


KINDS: Final[Mapping[str, Kind]] = {
    "understand": Kind("klingel_processors", ("understand",)),
    "thread": Kind("klingel_processors", ("thread",)),
    "care": Kind("klingel_processors", ("care",)),
    "watch": Kind("klingel_processors", ("watch",)),
    "indexer": Kind("klingel_indexer", ("run",)),
    "notifier": Kind("klingel_notifier", ("run",)),
    "gateway": Kind("klingel_connectors", ("gateway",)),
    "media": Kind("klingel_connectors", ("media",)),
    "bluesky": Kind("klingel_connectors", ("run", "bluesky")),
    "replay": Kind("klingel_connectors", ("run", "replay")),
    "x": Kind("klingel_connectors", ("run", "x")),
    "email": Kind("klingel_connectors", ("run", "email")),
    "feed": Kind("klingel_connectors", ("run", "feed")),
    "jetstream": Kind(
        "klingel_simulator", ("jetstream",), "/control/status", shared=False, port_option="--port"
    ),
    "webhook": Kind("klingel_simulator", ("webhook",), None, shared=False),
    "ndjson": Kind("klingel_simulator", ("ndjson",), None, shared=False),
    "networks": Kind(
        "klingel_simulator", ("networks",), "/control/status", shared=False, port_option="--port"
    ),
    "receiver": Kind(
        "klingel_simulator", ("receiver",), "/control/status", shared=False, port_option="--port"
    ),
}
TARGETS: Final = "KLINGEL_NOTIFIER__TARGETS__"
"""Beginning of the settings that hold the addresses and secrets of targets."""
CONNECTORS: Final = ("bluesky", "x", "email", "feed", "replay")
"""Kinds that read a network by themselves."""
_PROCESSORS: Final = frozenset({"understand", "thread", "care", "watch"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a process's `/metrics`."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a process answers on its probe: ready or not, and why not."""

    ready: bool
    says: str


@dataclass(slots=True)
class Child:
    """One process of a fleet.

    Attributes:
        name: kind and number, such as `care-0`; the static member name of workers.
        kind: key of KINDS.
        command: what was started.
        environ: its whole environment.
        port: of its HTTP server; 0 where it has none.
        log: everything it writes.
        process: the running or ended process.
        state: `running`, `frozen`, or `stopping` once we have asked it to end.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    port: int
    log: Path
    process: "subprocess.Popen[bytes]"
    state: str = "running"

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None


def _new_secret() -> str:
    """Return a signing secret after Standard Webhooks, for this run alone."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


@dataclass(slots=True)
class Fleet:
    """The processes of one demo, test or benchmark.

    Args:
        servers: Kafka and Elasticsearch.
        folder: logs, state and blobs lie here.
        prefix: of topics and groups; indices too. Empty for klingel's own names.
        settings: further KLINGEL_* settings that every service gets.
    """

    servers: Servers
    folder: Path
    prefix: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    _secret: str = field(default_factory=_new_secret)
    _key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folder's path whole: children run elsewhere than we may."""
        self.folder = self.folder.expanduser().absolute()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_all()

    # ------------------------------------------------------------------ environments

    @property
    def mark(self) -> str:
        """Argument that every process of this fleet carries."""
        return f"-Xklingel.fleet={crc32(str(self.folder).encode()):08x}"

    def environ(self) -> dict[str, str]:
        """Return the KLINGEL_* settings that all services share."""
        index_prefix = self.prefix or "klingel-"
        shared = {
            "KLINGEL_KAFKA__BOOTSTRAP": self.servers.bootstrap,
            "KLINGEL_KAFKA__TOPIC_PREFIX": self.prefix,
            "KLINGEL_KAFKA__GROUP_PREFIX": self.prefix or "klingel-",
            "KLINGEL_KAFKA__PARTITIONS": str(PARTITIONS),
            "KLINGEL_ELASTICSEARCH__URL": self.servers.elasticsearch_url,
            "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": index_prefix,
            "KLINGEL_ELASTICSEARCH__REFRESH_INTERVAL": "1s",
            "KLINGEL_BLOBS__DIR": str(self.folder / "blobs"),
        }
        if self.servers.elasticsearch_auth is not None:
            user, password = self.servers.elasticsearch_auth
            shared["KLINGEL_ELASTICSEARCH__USERNAME"] = user
            shared["KLINGEL_ELASTICSEARCH__PASSWORD"] = password
        return {**shared, **self.settings}

    def read_settings(self) -> Settings:
        """Return these settings as the services read them."""
        return load_settings(self.environ())

    def _own(self, kind: str, name: str, port: int) -> dict[str, str]:
        """Return what one process gets beside the shared settings."""
        if kind == "webhook":
            return {"KLINGEL_DEMO_SECRET": self._secret}
        if kind == "networks":
            return {"KLINGEL_DEMO_SECRET": self._secret, "KLINGEL_DEMO_KEY": self._key}
        if not KINDS[kind].shared:
            return {}
        own = {"KLINGEL_HTTP__PORT": str(port)}
        if kind in _PROCESSORS:
            own["KLINGEL_PROCESSOR__INSTANCE"] = name
            own["KLINGEL_PROCESSOR__STATE_DIR"] = str(self.folder / "state" / name)
        elif kind == "indexer":
            own["KLINGEL_INDEXER__INSTANCE"] = name
        elif kind == "notifier":
            own["KLINGEL_NOTIFIER__INSTANCE"] = name
            own["KLINGEL_NOTIFIER__SMTP_HOST"] = "127.0.0.1"
            own["KLINGEL_NOTIFIER__SMTP_PORT"] = str(self.port_of("receiver-mail"))
            own["KLINGEL_NOTIFIER__SMTP_SECURITY"] = "none"
        elif kind == "gateway":
            own["KLINGEL_WEBHOOK_SOURCES"] = SOURCE
            own[f"KLINGEL_WEBHOOK_SECRET_{SOURCE.upper()}"] = self._secret
            own["KLINGEL_FORM_SOURCES"] = SOURCE
            own["KLINGEL_FORM_ORIGINS"] = ORIGIN
            own["KLINGEL_FORM_KEY"] = self._key
            own["KLINGEL_HOOKS"] = "meta"
            own["KLINGEL_HOOK_SECRET_META"] = self._secret
            own["KLINGEL_WHATSAPP_HASH_KEY"] = self._key
            own["KLINGEL_CHAT_CHANNELS"] = CHAT
            own["KLINGEL_CHAT_BASE"] = f"http://127.0.0.1:{port}"
            own["KLINGEL_CHAT_ORIGINS"] = ORIGIN
            own["KLINGEL_CHAT_KEY"] = self._key
        elif kind == "x":
            own["KLINGEL_X_BEARER_TOKEN"] = X_TOKEN
            own["KLINGEL_X_ENDPOINT"] = f"http://127.0.0.1:{self.port_of('networks-0')}"
        elif kind == "email":
            own["KLINGEL_EMAIL_HOST"] = "127.0.0.1"
            own["KLINGEL_EMAIL_PORT"] = str(self.port_of("networks-mail"))
            own["KLINGEL_EMAIL_SECURITY"] = "none"
            own["KLINGEL_EMAIL_MAILBOX"] = MAILBOX
            own["KLINGEL_EMAIL_OWN_ADDRESSES"] = MAIL_ADDRESS
            own["KLINGEL_EMAIL_USERNAME"], own["KLINGEL_EMAIL_PASSWORD"] = MAIL_LOGIN
            own["KLINGEL_EMAIL_ADDRESS_KEY"] = self._key
        return own

    def told_settings(self, brand: Path) -> dict[str, str]:
        """Return the notifier's settings that send whatever a brand file names to our receiver.

        Raises:
            BrandFileError: the file is wrong.
        """
        receiver = f"http://127.0.0.1:{self.port_of('receiver-0')}"
        found: dict[str, str] = {}
        for target in load_brand(brand).brand.targets:
            if target.url_setting is not None:
                found[f"{TARGETS}{target.url_setting.upper()}"] = f"{receiver}/{target.id}"
            if target.secret_setting is not None:
                found[f"{TARGETS}{target.secret_setting.upper()}"] = self._secret
        return found

    # ------------------------------------------------------------------ starting

    def start(
        self,
        kind: str,
        *options: str,
        instance: int = 0,
        environ: Mapping[str, str] | None = None,
        module: str | None = None,
    ) -> Child:
        """Start a process; it may not be ready yet.

        Args:
            kind: key of KINDS.
            options: further arguments of its command.
            instance: number of this one among its kind; names it `<kind>-<instance>`.
            environ: further settings of this process alone.
            module: run in place of the kind's own, with the same arguments.

        Raises:
            FleetError: one of that name runs already.
        """
        name = f"{kind}-{instance}"
        known = self.children.get(name)
        if known is not None and known.running:
            raise FleetError(f"{name} runs already")
        how = KINDS[kind]
        port = self.port_of(name) if how.probe else 0
        command = [sys.executable, self.mark, "-m", module or how.module, *how.verbs, *options]
        if kind in CONNECTORS:
            command += ["--holder", name]
        if how.port_option:
            command += [how.port_option, str(port)]
        if kind == "receiver":
            command += ["--smtp-port", str(self.port_of("receiver-mail"))]
        if kind == "networks":
            command += ["--imap-port", str(self.port_of("networks-mail"))]
        whole = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KLINGEL_")},
            "PYTHONUNBUFFERED": "1",
            **(self.environ() if how.shared else {}),
            **self._own(kind, name, port),
            **(environ or {}),
        }
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        process = self._spawn(command, whole, log)
        child = Child(name, kind, tuple(command), whole, port, log, process)
        self.children.pop(name, None)
        self.children[name] = child
        return child

    def restart(self, name: str) -> Child:
        """Start an ended process again: same name, settings, port and state."""
        child = self[name]
        if child.running:
            raise FleetError(f"{name} runs already")
        child.process = self._spawn(list(child.command), child.environ, child.log)
        child.state = "running"
        return child

    def _spawn(
        self, command: list[str], environ: Mapping[str, str], log: Path
    ) -> "subprocess.Popen[bytes]":
        with log.open("ab") as sink:
            # A session of its own: the Ctrl-C of a terminal is for us, who stop it in order.
            return subprocess.Popen(  # noqa: S603 - put together above
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=self.folder,
                start_new_session=True,
            )

    def port_of(self, name: str) -> int:
        """Return the port of a process, the same for its whole life."""
        if name not in self._ports:
            taken = set(self._ports.values())
            free = free_ports(f"{self.folder}/{name}", len(taken) + 1)
            self._ports[name] = next(port for port in free if port not in taken)
        return self._ports[name]

    # ------------------------------------------------------------------ asking

    def __getitem__(self, name: str) -> Child:
        """Return a process by name; raises FleetError."""
        try:
            return self.children[name]
        except KeyError:
            known = ", ".join(self.children) or "none"
            raise FleetError(f"there is no process {name}; known are {known}") from None

    def readiness(self, name: str) -> Readiness:
        """Ask a process whether it is ready."""
        child = self[name]
        if not child.running:
            return Readiness(ready=False, says=ending(child.process.poll()))
        if child.state == "frozen":
            return Readiness(ready=False, says="frozen")
        probe = KINDS[child.kind].probe
        if probe is None:
            return Readiness(ready=True, says="running")
        try:
            status, body = self.get(name, probe)
        except (OSError, HTTPException):
            return Readiness(ready=False, says="starting")
        return Readiness(
            status == 200, _state_in(body) or ("ready" if status == 200 else "starting")
        )

    def wait_ready(self, name: str, seconds: float = 60.0) -> None:
        """Wait until a process is ready; raises FleetError when it ends or time is up."""
        child = self[name]

        def ready() -> bool:
            answer = self.readiness(name)
            if not child.running:
                raise FleetError(f"{name} {answer.says} while starting; its log is {child.log}")
            return answer.ready

        if not until(ready, seconds):
            says = self.readiness(name).says
            raise FleetError(
                f"{name} is not ready after {seconds:.0f} s ({says}); its log is {child.log}"
            )

    def wait(self, name: str, seconds: float) -> int:
        """Wait for the end of a process; return its exit code, raises FleetError when time is up."""
        child = self[name]
        try:
            return child.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise FleetError(
                f"{name} still runs after {seconds:.0f} s; its log is {child.log}"
            ) from None

    def metrics(self, name: str) -> list[Sample]:
        """Read `/metrics` of a process; empty while it does not answer."""
        try:
            status, body = self.get(name, "/metrics")
        except (OSError, HTTPException):
            return []
        if status != 200:
            return []
        return [
            Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        ]

    def get(self, name: str, path: str) -> tuple[int, bytes]:
        """Ask a process over HTTP; raises OSError or HTTPException where it does not answer."""
        child = self[name]
        if not child.port:
            raise ConnectionRefusedError(name)
        connection = HTTPConnection("127.0.0.1", child.port, timeout=_HTTP_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def said(self, name: str, event: str) -> dict[str, Any] | None:
        """Return the last line of JSON of that `event` in a process's log."""
        found = None
        for line in self.lines(name):
            if line.get("event") == event:
                found = line
        return found

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a log that are JSON objects."""
        with self[name].log.open(encoding="utf-8", errors="replace") as log:
            for line in log:
                if line.startswith("{"):
                    try:
                        yield json.loads(line)
                    except ValueError:  # the line is being written
                        continue

    def fallen(self) -> list[Child]:
        """Return the processes that ended without being asked, other than with exit code 0."""
        return [
            child
            for child in self.children.values()
            if child.state != "stopping" and child.process.poll() not in {None, 0}
        ]

    # ------------------------------------------------------------------ faults

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        child = self[name]
        child.state = "stopping"
        _signal(child, signal.SIGKILL)
        child.process.wait(_KILL_SECONDS)

    def freeze(self, name: str) -> None:
        """SIGSTOP: it keeps its memory and connections, and does nothing."""
        child = self[name]
        _signal(child, signal.SIGSTOP)
        child.state = "frozen"

    def thaw(self, name: str) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        child = self[name]
        _signal(child, signal.SIGCONT)
        child.state = "running"

    # ------------------------------------------------------------------ stopping

    def stop(self, name: str, seconds: float = _TERM_SECONDS) -> str | None:
        """SIGTERM, wait, SIGKILL when time is up.

        Returns:
            A sentence when it did not end well, else None.
        """
        child = self[name]
        asked = _ask_to_end(child)
        return self._ended(child, time.monotonic() + seconds, asked=asked)

    def stop_all(self, say: Callable[[str], None] = lambda _name: None) -> list[str]:
        """Stop everything: all are asked to end, the last one started first, then waited for.

        Args:
            say: is given each name before it is stopped.

        Returns:
            A sentence for each process that did not end well.
        """
        order = [*reversed(self.children.values())]
        asked = []
        for child in order:
            if child.running:
                say(child.name)
            asked.append(_ask_to_end(child))
        deadline = time.monotonic() + _TERM_SECONDS
        told = [
            self._ended(child, deadline, asked=was) for child, was in zip(order, asked, strict=True)
        ]
        return [sentence for sentence in told if sentence is not None]

    def _ended(self, child: Child, deadline: float, *, asked: bool) -> str | None:
        """Wait until a process has ended; return a sentence when it did not end well."""
        if not asked:
            fell = child in self.fallen()
            return f"{child.name} {ending(child.process.poll())}: {child.log}" if fell else None
        try:
            code = child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill(child.name)
            seconds = f"{_TERM_SECONDS:.0f} s"
            return f"{child.name} did not stop within {seconds} and was killed: {child.log}"
        if code in {0, -signal.SIGTERM}:
            return None
        return f"{child.name} {ending(code)} when it was stopped: {child.log}"

    def end_survivors(self) -> int:
        """Kill what an earlier fleet in this folder left behind; return how many."""
        found = len(marked.find(self.mark))
        if found:
            marked.kill(self.mark)
        return found

    # ------------------------------------------------------------------ the command

    def klingel(self, *arguments: str, seconds: float = 60.0) -> str:
        """Run the `klingel` command with this fleet's settings; return its standard output.

        Raises:
            FleetError: it failed; with what it said.
        """
        environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KLINGEL_")},
            **self.environ(),
        }
        start = "import sys; from klingel_cli.main import main; main(sys.argv[1:])"
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                [sys.executable, self.mark, "-c", start, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                env=environ,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            told = " ".join(arguments)
            raise FleetError(f"`klingel {told}` did not end within {seconds:.0f} s") from None
        if done.returncode:
            told = (done.stderr or done.stdout).strip()
            raise FleetError(f"`klingel {' '.join(arguments)}` failed: {told}")
        return done.stdout


def _ask_to_end(child: Child) -> bool:
    """Send SIGTERM to a process that runs; return whether it did."""
    if not child.running:
        return False
    child.state = "stopping"
    _signal(child, signal.SIGTERM)
    _signal(child, signal.SIGCONT)
    return True


def until(fulfilled: Callable[[], bool], seconds: float) -> bool:
    """Ask until the answer is yes or time is up; return the last answer."""
    deadline = time.monotonic() + seconds
    while not fulfilled():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def ending(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "runs"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _signal(child: Child, number: signal.Signals) -> None:
    try:
        os.killpg(child.process.pid, number)
    except ProcessLookupError:
        return


def _state_in(body: bytes) -> str:
    """Return what a probe's answer says, in one line; empty where it says nothing."""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    waiting = answer.get("waiting_for")
    if waiting:
        return f"waiting for {waiting}"
    return str(answer.get("state") or "")
