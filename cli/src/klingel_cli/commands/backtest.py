"""`klingel backtest`: what klingel would have said of what is long over; no server."""

import csv
import gzip
import io
import math
import statistics
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click

from klingel.config.loader import LoadedBrand, load_brand
from klingel.contracts.topics import Topic
from klingel.domain.early_warning import START, Detector
from klingel.errors import ConfigurationError
from klingel_cli.backtest_report import differences, report_of, say
from klingel_cli.backtesting import Backtest, read_events
from klingel_cli.commands.config import load_all
from klingel_cli.commands.map import deliveries
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_networks.registry import installed

_TIME, _VALUE = "timestamp", "value"
_DIGITS = 6


class Count(NamedTuple):
    """A row of a file of counts.

    Args:
        told: the time as the file writes it.
        at: the same, aware.
        value: posts of the interval that begins there; None if the source was away.
    """

    told: str
    at: datetime
    value: float | None


@click.command("backtest")
@click.option(
    "--counts",
    "counts_file",
    type=click.Path(path_type=Path),
    help="Counts in intervals of one length, .csv or .csv.gz: timestamp,value.",
)
@click.option("--brand", "brand_file", type=click.Path(path_type=Path), help="Brand file.")
@click.option(
    "--compare", type=click.Path(path_type=Path), help="A second brand file, for the same input."
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="Generic events, or a network's native deliveries; may be given more than once.",
)
@click.option("--network", default="webhook", show_default=True, help="Whose deliveries they are.")
@click.option(
    "--source", default="backtest", show_default=True, help="Source of the deliveries, in ids."
)
@click.option(
    "--events",
    "events_file",
    type=click.Path(path_type=Path),
    help="Where the routed events go, as JSON lines.",
)
@click.option("--models", type=click.Path(path_type=Path), help="Folder of the brand's own models.")
@as_json
@pass_shell
def backtest(
    shell: Shell,
    counts_file: Path | None,
    brand_file: Path | None,
    compare: Path | None,
    inputs: tuple[Path, ...],
    network: str,
    source: str,
    events_file: Path | None,
    models: Path | None,
    *,
    as_json: bool,
) -> None:
    """Show what klingel would have done with what is long over.

    With --brand and --input, recorded events go the whole way (mapping, understand, care, watch) in
    one process, without a server, in event time: each is taken as received when it was published.
    The report says which cases, queues, response times, breaches, escalations, alerts and incidents
    it would have come to; the same input and brand always give the same.

    With --counts, when early warning would have rung. The rows of FILE are in time order; a row
    without a value, or a missing row, is a gap: nothing is known of that time, and neither it nor
    what piled up behind it alarms. With --json every row is a line: its timestamp, score (0..1,
    alarming from 0.5 on), alarm (1 where an alarm is raised, followed by a day without another
    one), severity (1..10), baseline and longevity_seconds.
    """
    if counts_file is not None:
        if brand_file is not None or inputs or compare is not None or events_file is not None:
            raise ConfigurationError("--counts stands alone; leave out what belongs to --input")
        _counts(shell, counts_file, as_json=as_json)
        return
    if brand_file is None or not inputs:
        raise ConfigurationError("name --brand and --input, or --counts alone")
    files = [brand_file, *([compare] if compare is not None else [])]
    brands = [loaded for _, loaded in load_all(files)] if compare is None else _two(files)
    reports = [
        _whole_way(each, inputs, network, source, models, events_file if at == 0 else None)
        for at, each in enumerate(brands)
    ]
    if as_json:
        for report in reports:
            shell.tell(report)
        return
    say(shell, reports[0])
    if len(reports) > 1:
        shell.say("")
        found = differences(reports[0], reports[1])
        rows = [(each["path"], str(each["first"]), str(each["second"])) for each in found]
        shell.table(("figure", str(files[0]), str(files[1])), rows)


def _two(files: Sequence[Path]) -> list[LoadedBrand]:
    """Return two files of perhaps the same brand."""
    return [load_brand(path) for path in files]


def _whole_way(
    brand: LoadedBrand,
    inputs: Sequence[Path],
    network_name: str,
    source: str,
    models: Path | None,
    events_file: Path | None,
) -> dict[str, Any]:
    installed().manifest(network_name)  # its error names the nearest network
    network = installed().network(network_name)
    test = Backtest(brand, models)
    bodies = (body for path in inputs for body in deliveries(path, lines=path.suffix != ".json"))
    events = read_events(bodies, network, source, test.heard)
    if not events:
        named = ", ".join(str(path) for path in inputs)
        if all(str(path) != "-" and not path.stat().st_size for path in inputs):
            raise ConfigurationError(f"{named}: empty; name a file of recorded deliveries")
        raise ConfigurationError(
            f"{named}: none of it can be read as deliveries of {network_name}; see --network"
        )
    test.run(events)
    if events_file is not None:
        try:
            with events_file.open("wb") as file:
                for message in test.records(Topic.ROUTED_EVENTS):
                    file.write((message.value or b"") + b"\n")
        except OSError as error:
            reason = error.strerror or "it cannot be written"
            raise ConfigurationError(f"{events_file}: {reason}; name a writable file") from None
    return report_of(test)


def _counts(shell: Shell, counts_file: Path, *, as_json: bool) -> None:
    counts = read_counts(counts_file)
    read = readings(counts)
    if as_json:
        for row in read:
            shell.tell(row)
        return
    alarms = [
        (row["timestamp"], count.value, row["baseline"], row["severity"])
        for count, row in zip(counts, read, strict=True)
        if row["alarm"]
    ]
    if alarms:
        shell.table(("time", "#count", "#usual peak", "#severity"), alarms)
    shell.say(f"{len(counts):,} intervals, {len(alarms):,} alarms.")


def readings(counts: Sequence[Count]) -> Iterator[dict[str, Any]]:
    """Yield for each count what the detector says of it, in event time.

    Intervals are as long as most steps between the rows; where a step is longer, rows are missing.
    """
    seconds = [(later.at - earlier.at).total_seconds() for earlier, later in pairwise(counts)]
    interval = statistics.median_low(seconds) if seconds else 300.0
    detector = Detector(interval)
    state = START
    for count, step in zip(counts, [interval, *seconds], strict=True):
        state = detector.miss(state, round(step / interval) - 1)
        state, reading = detector.observe(state, count.value)
        yield {
            "timestamp": count.told,
            "score": round(reading.score, _DIGITS),
            "alarm": int(reading.alarm),
            "severity": reading.severity,
            "baseline": round(reading.baseline, _DIGITS),
            "longevity_seconds": reading.longevity_seconds,
        }


def read_counts(path: Path) -> list[Count]:
    """Return the rows of a file of counts.

    Raises:
        ConfigurationError: the file cannot be read, or a row is none; the sentence names the line.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: it is not in UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it cannot be read"
        raise ConfigurationError(f"{path}: {reason}; name a file of counts") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    counts: list[Count] = []
    try:
        time_at, value_at = _columns(path, next(rows, []))
        for cells in rows:
            if not cells:
                continue
            if len(cells) <= max(time_at, value_at):
                raise _wrong(path, rows.line_num, f"{_TIME} or {_VALUE} is missing")
            count = _count(path, rows.line_num, cells[time_at].strip(), cells[value_at].strip())
            if counts and count.at <= counts[-1].at:
                raise _wrong(path, rows.line_num, "the time is not after the row before it")
            counts.append(count)
    except csv.Error:
        raise _wrong(path, rows.line_num, "this is no row of a CSV file") from None
    if not counts:
        raise ConfigurationError(f"{path}: it holds no counts")
    return counts


def _columns(path: Path, header: Sequence[str]) -> tuple[int, int]:
    names = [name.strip().lower() for name in header]
    if _TIME not in names or _VALUE not in names:
        raise _wrong(path, 1, f"the header does not name {_TIME} and {_VALUE}, with commas between")
    return names.index(_TIME), names.index(_VALUE)


def _count(path: Path, line: int, told: str, value: str) -> Count:
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        raise _wrong(path, line, "the time is none, such as 2026-03-02 12:05:00") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if not value:
        return Count(told, at, None)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise _wrong(path, line, "the value is no number from zero on")
    return Count(told, at, number)


def _wrong(path: Path, line: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"{path}:{line}: {what}")
