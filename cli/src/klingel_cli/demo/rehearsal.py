"""From nothing to a running platform: servers, topics, templates, brand, services, sources."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from klingel.config.loader import load_brand
from klingel.contracts.partition import partition_for
from klingel.errors import ConfigurationError
from klingel_cli.demo.processes import PARTITIONS, SOURCE, Fleet, FleetError, until
from klingel_cli.demo.signals import undisturbed
from klingel_local import LocalStack
from klingel_local.stack import default_folder

SERVICES = ("indexer", "notifier", "watch", "care", "thread", "understand", "gateway")
"""Started in this order and stopped in the other: who reads is there before who writes."""

CALM = timedelta(hours=25)
"""How much of a calm day early warning hears first: it learns for a day what is usual."""
CALM_SPEED = 500
"""How many times as fast as it was. Early warning takes rows ten minutes late at least, at this speed
1.2 seconds of real time: what the partitions of the pipeline may be apart."""
CALM_SOURCE = "yesterday"
_BRIEF_POSTS = 150
"""Of a calm day that nobody waits for: one in ten minutes, as of a small brand."""
_BRIEF_BEFORE = timedelta(minutes=5)
"""How long before the present it ends: nothing of it is dated ahead of the clock."""

_HEARD_ONE_IN = 300
"""Of what rings beside a calm day, so many things are one about the brand: a network's public speaks
of other things, and a day's past of all of it could not be replayed in minutes."""
_HELP_DESK = 0.002
_OF_OTHER_THINGS = 0.998
_PERIOD_SECONDS = 1_800
_NETWORKS_ONE_IN = 30
"""So many events of Bluesky and the help desk are there for one of X, WhatsApp, Facebook and mail."""
_NETWORKS_ONE_IN_CALM = 1_000
"""The same after a calm day, for early warning must not take a network more for a crisis."""
_CRISIS = ("--crisis-start", "0.04", "--crisis-end", "0.54", "--crisis-share", "0.9")
_CALM_MIX = (
    *("--noise", "0", "--addressed", "0", "--crisis-share", "0", "--edits", "0"),
    *("--deletions", "0", "--duplicates", "0", "--out-of-order", "0"),
)
_WRITING_SECONDS = 120.0

AT_A_CALM_DAY = tuple(kind for kind in SERVICES if kind != "watch")
"""Watch passes the time of the present as soon as it has caught up. It is started when the whole day
lies before it, and reads that as what it missed, in event time."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the simulated networks ring.

    Attributes:
        seed: same seed, same traffic.
        bluesky, webhook: how many events; 0 without end.
        networks: how many of X, WhatsApp, Facebook and mail together, beside those; 0 without end,
            None where they are silent.
        rate: events a second of both together; 0 as fast as they are taken.
        overdue: share of the help desk's first posts that were said 30 to 80 minutes earlier.
        calm_day: a calm day is replayed first, and what rings then is in proportion to it.
        brief_day: a calm day of few posts is heard first, whatever rings then: for who cannot wait.
    """

    seed: int = 7
    bluesky: int = 6_000
    webhook: int = 3_000
    networks: int | None = None
    rate: float = 300.0
    overdue: float = 0.2
    calm_day: bool = False
    brief_day: bool = False


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

    Kafka and Elasticsearch are furnished at the same time; the brand needs its topic.

    Raises:
        FleetError: one of them failed.
    """

    def run(*commands: tuple[str, ...]) -> None:
        for arguments in commands:
            said = fleet.klingel(*arguments).strip().splitlines()
            say(f"klingel {' '.join(arguments)}: {said[-1] if said else 'done'}")

    with ThreadPoolExecutor(2) as both:
        indices = both.submit(run, ("index", "apply", "--refresh-interval", "1s"))
        topics = both.submit(run, ("topics", "apply"), ("config", "apply", str(brand)))
    topics.result()
    indices.result()


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
    common: tuple[str, ...] = ("--seed", str(traffic.seed))
    public: tuple[str, ...] = ()
    if traffic.calm_day:
        share = 1 - _HELP_DESK
        common += _CRISIS
        public = ("--noise", str(_OF_OTHER_THINGS), "--addressed", "0")
    fleet.start(
        "jetstream",
        *common,
        *public,
        *_period(traffic.rate * share),
        *("--events", str(traffic.bluesky), "--rate", f"{traffic.rate * share:.3f}"),
        *("--truth", str(truth_file(fleet, "jetstream")), "--wait-for-subscriber"),
    )
    if traffic.networks is not None:
        ring_networks(fleet, traffic)
    fleet.wait_ready("jetstream-0")
    endpoint = f"ws://127.0.0.1:{fleet['jetstream-0'].port}"
    fleet.start("bluesky", "--endpoint", endpoint)
    gateway = fleet["gateway-0"].port
    fleet.start(
        "webhook",
        *common,
        *_period(traffic.rate * (1 - share)),
        *("--events", str(traffic.webhook), "--rate", f"{traffic.rate * (1 - share):.3f}"),
        *("--truth", str(truth_file(fleet, "webhook"))),
        *("--url", f"http://127.0.0.1:{gateway}/webhook/{SOURCE}", "--source", SOURCE),
        *("--secret-env", "KLINGEL_DEMO_SECRET", "--connections", str(connections)),
        # What rings at a help desk is meant for it.
        *("--noise", "0", "--addressed", "0.8", "--overdue", str(traffic.overdue)),
    )
    fleet.wait_ready("bluesky-0")


def ring_networks(fleet: Fleet, traffic: Traffic) -> None:
    """Start simulated X, WhatsApp, Facebook and mail, and the connectors that read them.

    WhatsApp and Facebook post to the gateway. X and the mailbox ring once their connectors listen.

    Raises:
        FleetError: one of them failed.
    """
    one_in = _NETWORKS_ONE_IN_CALM if traffic.calm_day else _NETWORKS_ONE_IN
    gateway = fleet["gateway-0"].port
    fleet.start(
        "networks",
        *("--seed", str(traffic.seed), "--events", str(traffic.networks or 0)),
        *("--rate", f"{traffic.rate / one_in:.3f}", "--noise", "0", "--addressed", "0.8"),
        *("--hook-url", f"http://127.0.0.1:{gateway}/hook/meta"),
        *("--secret-env", "KLINGEL_DEMO_SECRET", "--key-env", "KLINGEL_DEMO_KEY"),
        *("--truth", str(truth_file(fleet, "networks"))),
    )
    fleet.wait_ready("networks-0")
    for kind in ("x", "email"):
        fleet.start(kind)


def _period(rate: float) -> Sequence[str]:
    """Return after how many objects a source without an end has its next crisis."""
    return ("--period", str(round(rate * _PERIOD_SECONDS))) if rate * _PERIOD_SECONDS >= 1 else ()


def calm_brand(fleet: Fleet, brand: Path) -> Path:
    """Write the brand file that is in force while a calm day is replayed; return where it lies.

    It is the brand without outreach: of what was said about it yesterday no case comes today, whose
    clocks would all be late. Nobody says anything to the brand in that day.
    """
    parts = load_brand(brand).brand.model_dump(mode="json", exclude_unset=True, by_alias=True)
    parts.pop("outreach", None)
    path = fleet.folder / "brand-of-a-calm-day.yaml"
    path.write_text(json.dumps(parts, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def write_calm_day(fleet: Fleet, traffic: Traffic) -> Path:
    """Let the simulator write a day without a crisis that ends when it has been replayed.

    Raises:
        FleetError: it was not written.
    """
    a_second = traffic.rate / _HEARD_ONE_IN
    began_at = datetime.now(UTC) - CALM + CALM / CALM_SPEED
    return _write_calm(fleet, traffic.seed + 1, a_second, began_at)


def write_brief_calm_day(fleet: Fleet, seed: int, end: datetime) -> Path:
    """Let the simulator write a day of few posts, for who cannot wait for a whole one.

    All of them lie on one partition of `raw-events`: however fast they are replayed, they are heard
    in the order in which they were said.

    Args:
        fleet: whose folder it lies in.
        seed: same seed, same posts.
        end: of the day.

    Raises:
        FleetError: it was not written.
    """
    a_second = PARTITIONS * _BRIEF_POSTS / CALM.total_seconds()
    path = _write_calm(fleet, seed + 1, a_second, end - CALM)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if _partition(line) == 0))
    return path


def _partition(line: bytes) -> int:
    object_id = f"replay:{CALM_SOURCE}:{json.loads(line)['id']}"
    return partition_for(object_id.encode(), PARTITIONS)


def _write_calm(fleet: Fleet, seed: int, a_second: float, began_at: datetime) -> Path:
    path = fleet.folder / "calm-day.ndjson"
    child = fleet.start(
        "ndjson",
        *("--seed", str(seed), "--source", CALM_SOURCE, "--out", str(path)),
        *("--events", str(max(1, round(CALM.total_seconds() * a_second)))),
        *("--rate", f"{a_second:.6f}", "--start", began_at.isoformat()),
        *_CALM_MIX,
    )
    if not until(lambda: not child.running, _WRITING_SECONDS) or child.process.returncode:
        raise FleetError(f"the calm day was not written; the log is {child.log}")
    del fleet.children[child.name]
    return path


def hear_brief_calm_day(fleet: Fleet, seed: int, brand: Path, seconds: float) -> None:
    """Let a day of few posts pass, start watch, and put the brand in force as it is.

    Args:
        fleet: with all services ready but watch.
        seed: same seed, same posts.
        brand: put in force once the day is over.
        seconds: bound of each wait.

    Raises:
        FleetError: it was not replayed, or time was up.
    """
    path = write_brief_calm_day(fleet, seed, datetime.now(UTC) - _BRIEF_BEFORE)
    options = (str(path), "--source", CALM_SOURCE, "--instance", CALM_SOURCE, "--exit")
    calm = fleet.start("replay", *options)
    if fleet.wait(calm.name, seconds) != 0:
        raise FleetError(f"the calm day was not replayed; the log is {calm.log}")
    await_heard(fleet, "understand-0", len(path.read_bytes().splitlines()), seconds)
    del fleet.children[calm.name]
    fleet.start("watch")
    fleet.wait_ready("watch-0", seconds)
    await_heard(fleet, "watch-0", 1, seconds)
    fleet.klingel("config", "apply", str(brand))


def replay_calm_day(fleet: Fleet, traffic: Traffic) -> None:
    """Start the replay of a calm day; raises FleetError."""
    path = write_calm_day(fleet, traffic)
    rate = traffic.rate / _HEARD_ONE_IN * CALM_SPEED
    options = (str(path), "--source", CALM_SOURCE, "--rate", f"{rate:g}")
    fleet.start("replay", *options, "--exit")


def await_heard(fleet: Fleet, name: str, messages: int, seconds: float) -> None:
    """Wait until a process has read so many messages, and nothing lies ahead of it.

    Raises:
        FleetError: time was up.
    """

    def heard() -> bool:
        samples = fleet.metrics(name)
        received = sum(each.value for each in samples if each.name == "klingel_received_total")
        lag = sum(each.value for each in samples if each.name == "klingel_lag_messages")
        return received >= messages and lag == 0

    if not until(heard, seconds):
        raise FleetError(f"{name} has not read {messages} messages after {seconds:.0f} s")


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
