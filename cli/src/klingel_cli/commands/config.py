"""`klingel config`: check brand files, put them in force, say what is not in force yet."""

import getpass
from collections.abc import Sequence
from pathlib import Path

import click

from klingel.config.brand import Brand
from klingel.config.loader import BrandFileError, LoadedBrand, load_brand, to_config
from klingel.contracts import codec
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage
from klingel.model import BrandConfig
from klingel.settings import KafkaSettings
from klingel_cli import topics
from klingel_cli.kafka import SOURCE, admin, publish, reading
from klingel_cli.shell import Shell, as_json, pass_shell

files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)


@click.group("config")
def config_group() -> None:
    """Check brand files and put them in force."""


@config_group.command("check")
@files_argument
@as_json
@pass_shell
def check_config(shell: Shell, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check brand files without touching anything; exit 2 with every problem and its line.

    A folder stands for the .yaml files in it.
    """
    for path, loaded in load_all(files):
        if as_json:
            shell.tell({"file": str(path), "brand": loaded.brand.brand, "version": loaded.version})
        else:
            shell.say(f"{path}: brand {loaded.brand.brand} is right (version {loaded.version})")


@config_group.command("apply")
@files_argument
@as_json
@pass_shell
def apply_config(shell: Shell, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check brand files and publish them; every service takes them at once, without a restart.

    A folder stands for the .yaml files in it.
    """
    brands = load_all(files)
    now, by = shell.now(), who()
    records = [
        BrandConfig(
            brand=loaded.brand.brand,
            version=loaded.version,
            applied_at=now,
            config=to_config(loaded.brand),
            applied_by=by,
        )
        for _, loaded in brands
    ]
    _make_queue_topics(shell.settings.kafka, [loaded.brand for _, loaded in brands])
    publish(shell.settings.kafka, [config_output(record) for record in records])
    for record in records:
        if as_json:
            shell.tell({"brand": record.brand, "version": record.version, "applied_at": now})
        else:
            shell.say(f"brand {record.brand} is in force (version {record.version})")


def _make_queue_topics(kafka: KafkaSettings, brands: Sequence[Brand]) -> None:
    """Make the topics of queues that declare one, before anybody writes to them."""
    wanted = topics.of_queues(kafka, brands)
    if not wanted:
        return
    with admin(kafka) as client:
        held = topics.describe(client, wanted)
        missing = [topic for topic in wanted if topic.name not in held]
        if missing:
            topics.create(client, missing)
            topics.wait_until_seen(client, wanted, set())


@config_group.command("diff")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE...]")
@as_json
@pass_shell
def diff_config(shell: Shell, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Compare brand files with what is in force; exit 1 when they differ.

    Without a file, list what is in force.
    """
    brands = load_all(files)
    held = in_force(shell.settings.kafka)
    if not brands:
        _list(shell, held, as_json=as_json)
        return
    different = 0
    for path, loaded in brands:
        name = loaded.brand.brand
        there = held.get(name)
        changes = differences(there.config if there else {}, to_config(loaded.brand))
        different += bool(changes)
        if as_json:
            shell.tell({"file": str(path), "brand": name, "changes": changes})
        elif there is None:
            shell.say(f"{path}: brand {name} is not in force yet")
        elif not changes:
            shell.say(f"{path}: brand {name} is in force as it stands here")
        else:
            shell.say(f"{path}: brand {name} differs from what is in force:")
            for change in changes:
                shell.say(f"  {change}")
    if different:
        shell.found_wrong()


def _list(shell: Shell, held: dict[str, BrandConfig], *, as_json: bool) -> None:
    if as_json:
        for record in held.values():
            shell.tell(
                {
                    "brand": record.brand,
                    "version": record.version,
                    "applied_at": record.applied_at,
                    "applied_by": record.applied_by,
                }
            )
    elif not held:
        shell.say("no brand is in force; `klingel config apply FILE` puts one in force")
    else:
        shell.table(
            ("brand", "version", "applied at", "by"),
            [
                (each.brand, each.version, f"{each.applied_at:%Y-%m-%d %H:%M:%S}Z", each.applied_by)
                for each in held.values()
            ],
        )


def _spread(files: Sequence[Path]) -> list[Path]:
    """Put the brand files of a folder in its place, by name; one without any is a problem."""
    found: list[Path] = []
    for path in files:
        inside = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not inside:
            raise BrandFileError([f"{path}: no brand file (*.yaml) is in this folder"])
        found.extend(inside)
    return found


def load_all(files: Sequence[Path]) -> list[tuple[Path, LoadedBrand]]:
    """Read brand files; a folder stands for those in it.

    Raises:
        BrandFileError: with the problems of all of them; also where two name one brand.
    """
    loaded: list[tuple[Path, LoadedBrand]] = []
    problems: list[str] = []
    seen: dict[str, Path] = {}
    for path in _spread(files):
        try:
            brand = load_brand(path)
        except BrandFileError as error:
            problems.extend(error.problems)
            continue
        first = seen.setdefault(brand.brand.brand, path)
        if first is not path:
            problems.append(
                f"{path}: brand: '{brand.brand.brand}' stands in {first} too; one file a brand"
            )
        loaded.append((path, brand))
    if problems:
        raise BrandFileError(problems)
    return loaded


def config_output(record: BrandConfig) -> Output:
    """Return the record that puts a brand in force."""
    return Output(
        topic=Topic.BRAND_CONFIG,
        key=record.brand.encode(),
        value=codec.encode(record),
        headers=ce_headers(
            Topic.BRAND_CONFIG,
            event_id=f"{record.brand}@{record.version}",
            source=SOURCE,
            subject=record.brand,
            time=record.applied_at,
            trace=trace_id(record.brand),
        ),
    )


def in_force(kafka: KafkaSettings) -> dict[str, BrandConfig]:
    """Read which configuration is in force, by brand; raises KafkaError, SourceUnavailable."""
    held: dict[str, BrandConfig] = {}
    with reading(kafka) as log:
        for message in log.read_whole(Topic.BRAND_CONFIG):
            name = (message.key or b"").decode("utf-8", "replace")
            held.pop(name, None)
            if message.value is not None:
                try:
                    held[name] = codec.decode(BrandConfig, message.value)
                except InvalidMessage:
                    continue  # services leave what was in force too; they log it
    return dict(sorted(held.items()))


def differences(held: object, wanted: object, path: str = "") -> list[str]:
    """Return one line for each place where two configurations differ."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        return [
            line
            for key in dict.fromkeys([*held, *wanted])
            for line in differences(
                held.get(key), wanted.get(key), f"{path}.{key}" if path else str(key)
            )
        ]
    if isinstance(held, list) and isinstance(wanted, list):
        longest = max(len(held), len(wanted))
        return [
            line
            for at in range(longest)
            for line in differences(
                held[at] if at < len(held) else None,
                wanted[at] if at < len(wanted) else None,
                f"{path}.{at}",
            )
        ]
    if held == wanted:
        return []
    return [f"{path}: {_shown(held)} -> {_shown(wanted)}"]


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)


def who() -> str:
    """Return who gives a command: the name that the machine knows."""
    try:
        return getpass.getuser()[:120]
    except (KeyError, OSError):
        return "unknown"
