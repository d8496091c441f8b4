"""From nothing to a running platform: servers, topics, templates, brand, services, sources."""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from klingel.errors import ConfigurationError
from klingel_cli.demo.processes import SOURCE, Fleet, FleetError
from klingel_cli.demo.signals import undisturbed
from klingel_local import LocalStack
from klingel_local.stack import default_folder

SERVICES = ("indexer", "notifier", "watch", "care", "thread", "understand", "gateway")
"""Started in this order and stopped in the other: who reads is there before who writes."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the simulated networks ring.

    Attributes:
        seed: same seed, same traffic.
        bluesky, webhook: how many events; 0 without end.
        rate: events a second of both together; 0 as fast as they are taken.
    """

    seed: int = 7
    bluesky: int = 6_000
    webhook: int = 3_000
    rate: float = 300.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What the user rings with.

    Attributes:
        files: NDJSON, plain or .gz.
        network: whose deliveries they are; `replay` for generic events.
        rate: events a second; 0 as fast as they are taken.
    """

    files: tuple[Path, ...]
    network: str = "replay"
    rate: float = 200.0


def demo_folder() -> Path:
    """Return `.klingel/demo` of the checkout, or of the working folder outside of one."""
    return default_folder().parent / "demo"


def brand_file() -> Path:
    """Return the example brand of the checkout.

    Raises:
        ConfigurationError: this is no checkout.
    """
    for parent in Path(__file__).resolve().parents:
        path = parent / "brands" / "nordlicht.yaml"
        if path.is_file():
            return path
    raise ConfigurationError(
        "the example brand (brands/nordlicht.yaml) is not there; name a brand file with --brand"
    )


@contextmanager
def stage_set(folder: Path, say: Say) -> Iterator[LocalStack]:
    """Hold a folder alone, wipe it, start Kafka and Elasticsearch in it, and stop them at the end.

    Raises:
        FleetError: a demo runs there already.
        LocalStackError: Kafka or Elasticsearch cannot be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FleetError(
                f"a demo runs in {folder} already; stop it, or name another folder with --folder"
            ) from None
        stack = LocalStack(folder / "stack", say=say)
        _wipe(stack, folder, say)
        try:
            stack.up()
            yield stack
        finally:
            with undisturbed():
                say("Stopping Kafka and Elasticsearch.")
                stack.down()


def _wipe(stack: LocalStack, folder: Path, say: Say) -> None:
    survivors = Fleet(stack, folder).end_survivors()
    if survivors:
        say(f"{survivors} processes of an earlier demo were still running; they are ended.")
    stack.wipe()
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def furnish(fleet: Fleet, brand: Path, say: Say) -> None:
    """Make topics and templates and put the brand in force, by the commands that a user would use.

    Raises:
        FleetError: one of them failed.
    """
    for arguments in (
        ("topics", "apply"),
        ("index", "apply", "--refresh-interval", "1s"),
        ("config", "apply", str(brand)),
    ):
        said = fleet.klingel(*arguments).strip().splitlines()
        say(f"klingel {' '.join(arguments)}: {said[-1] if said else 'done'}")


def open_services(fleet: Fleet, say: Say, brand: Path, services: Sequence[str] = SERVICES) -> None:
    """Start somebody who is told, then the services, and wait until all are ready.

    Raises:
        FleetError: one of them failed.
    """
    fleet.start("receiver")
    for kind in services:
        fleet.start(kind, environ=fleet.told_settings(brand) if kind == "notifier" else None)
    for kind in ("receiver", *services):
        fleet.wait_ready(f"{kind}-0")
        say(f"{kind} is ready.")


def ring_simulated(fleet: Fleet, traffic: Traffic, *, connections: int = 8) -> None:
    """Start the simulated networks and the connector that listens to them; raises FleetError.

    The simulated Jetstream begins to ring when the connector has subscribed. Each writes the list
    of what it sent to `<folder>/truth-<name>.ndjson`.
    """
    both = traffic.bluesky + traffic.webhook
    share = traffic.bluesky / both if both else 2 / 3
    common = ("--seed", str(traffic.seed))
    fleet.start(
        "jetstream",
        *common,
        *("--events", str(traffic.bluesky), "--rate", f"{traffic.rate * share:.3f}"),
        *("--truth", str(truth_file(fleet, "jetstream")), "--wait-for-subscriber"),
    )
    fleet.wait_ready("jetstream-0")
    endpoint = f"ws://127.0.0.1:{fleet['jetstream-0'].port}"
    fleet.start("bluesky", "--endpoint", endpoint)
    fleet.wait_ready("bluesky-0")
    gateway = fleet["gateway-0"].port
    fleet.start(
        "webhook",
        *common,
        *("--events", str(traffic.webhook), "--rate", f"{traffic.rate * (1 - share):.3f}"),
        *("--truth", str(truth_file(fleet, "webhook"))),
        *("--url", f"http://127.0.0.1:{gateway}/webhook/{SOURCE}", "--source", SOURCE),
        *("--secret-env", "KLINGEL_DEMO_SECRET", "--connections", str(connections)),
        # What rings at a help desk is meant for it.
        *("--noise", "0", "--addressed", "0.8"),
    )


def ring_recorded(fleet: Fleet, recording: Recording) -> None:
    """Start the replay of the user's files."""
    options = [str(path.absolute()) for path in recording.files]
    options += ["--network", recording.network]
    if recording.network == "replay":
        options += ["--source", SOURCE, "--shift-to-now"]
    if recording.rate:
        options += ["--rate", f"{recording.rate:g}"]
    fleet.start("replay", *options, "--exit")


def truth_file(fleet: Fleet, name: str) -> Path:
    """Return where a simulated network lists what it sent."""
    return fleet.folder / f"truth-{name}.ndjson"
