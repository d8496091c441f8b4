"""What each stage costs without Kafka and Elasticsearch: CPU microseconds an event, by stage.

`python benchmarks/stages.py [--events N] [--model NAME] [--profile STAGE]` runs the pipeline's mix through the real
code of connector, understand, care and indexer in one process, with the real state tables. It tells
whether a change to the code pays, also on a machine that others use.

What care takes contains the decoding of its events, which stands apart too: its gate, 60
microseconds an event, is for what it takes beyond. Exit code 1 where it is missed.
"""

import argparse
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ringing_mix import (
    ACCOUNT,
    BRAND,
    SOURCE,
    Mix,
    NoTextsError,
    brand_file,
    real_texts,
)

from klingel.config.compiled import CompiledBrand
from klingel.config.loader import load_brand, version_of
from klingel.contracts.codec import decode
from klingel.contracts.envelope import Message, Output, rfc3339
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.language.identify import load_detector
from klingel.model import SocialEvent
from klingel.stage.batch import Overlay, history_needed, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.fates import Fate
from klingel.stage.guard import Brake
from klingel.stage.ledger import Tally
from klingel.stage.ports import Logic, StateTable
from klingel_connectors.raw import Heard, Origin, raw_output, read_delivery
from klingel_indexer.bulk import action_line
from klingel_indexer.convert import INPUTS, Write, convert
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed
from klingel_processors.care.logic import CareLogic
from klingel_processors.rocks import RocksTable
from klingel_processors.understand.logic import UnderstandLogic, World
from klingel_processors.understand.models import Models

ROOT = Path(__file__).resolve().parents[1]
BATCH = 500
CARE_US = 60.0
Costs = dict[str, float]


@contextmanager
def cost(name: str, events: int, costs: Costs, profiled: str | None) -> Iterable[None]:
    """Note the CPU microseconds an event that a block takes; profile it when it is asked for."""
    profile = cProfile.Profile() if name == profiled else None
    gc.collect()
    began = time.process_time()
    if profile is not None:
        profile.enable()
    yield
    if profile is not None:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    costs[name] = (time.process_time() - began) / events * 1e6


def numbered(outputs: Iterable[Output], ends: dict[Topic, int]) -> list[Message]:
    """Return records as the next stage reads them, all in partition 0."""
    messages = []
    for output in outputs:
        offset = ends.get(output.topic, 0)
        ends[output.topic] = offset + 1
        messages.append(
            Message(output.topic, 0, offset, output.key, output.value, output.headers, 0)
        )
    return messages


def ring(lines: Iterable[bytes]) -> list[Output]:
    """Do what a connector does with each line."""
    network = installed().network("replay")
    origin = Origin("replay", "replay", "replay", "bench", ACCOUNT)
    outputs = []
    for line in lines:
        delivery = Delivery(line, {"source": SOURCE})
        results = read_delivery(network, delivery, origin, "live", datetime.now(UTC))
        outputs += [raw_output(read.raw) for read in results if isinstance(read, Heard)]
    return outputs


def decide(logic: Logic, tables: Mapping[str, StateTable], messages: list[Message]) -> list[Output]:
    """Do what a processor does with a partition's messages, but for Kafka."""
    outputs: list[Output] = []
    tally, brake = Tally(logic.name, logic.inputs[0], 0, 0), Brake()
    component = Component("bench", logic.name, "bench")
    for at in range(0, len(messages), BATCH):
        batch = messages[at : at + BATCH]
        overlay = Overlay(tables)
        needed = history_needed(logic, batch, overlay)
        history = {place: messages[place[2]] for place in needed}
        result = run_batch(
            logic,
            batch,
            overlay=overlay,
            history=history,
            tally=tally,
            brake=brake,
            component=component,
            now=datetime.now(UTC),
        )
        if any(outcome.fate is Fate.DEAD_LETTERED for outcome in result.outcomes):
            raise SystemExit(f"{logic.name} made a dead letter")
        tally = result.tally
        for name, table in tables.items():
            table.apply(result.overlay.changes(name), result.next_offset)
        for output in result.outputs:
            if output.partition is None:
                partition_for(output.partition_key or output.key, 4)
        outputs += result.outputs
    return outputs


def measure(events: int, seed: int, folder: Path, profiled: str | None, model: str) -> Costs:
    """Return CPU microseconds an event by stage."""
    costs: Costs = {}
    texts = real_texts(ROOT.parent / "shared" / "data", seed)
    recording = Mix(texts, seed).write(folder / "stages.ndjson", "stages", events)
    lines = recording.path.read_bytes().splitlines()
    file = folder / f"{BRAND}.yaml"
    file.write_text(brand_file(model), encoding="utf-8")
    parsed = load_brand(file).brand
    brands = {BRAND: CompiledBrand.compile(parsed, version_of(parsed))}
    ends: dict[Topic, int] = {}
    with cost("connector", events, costs, profiled):
        raw = ring(lines)
    logic = UnderstandLogic(
        0,
        networks=installed().network,
        detect=load_detector(),
        readers=Models(None).reader,
        originals=_no_original,
        world=lambda: World(brands, {}),
    )
    tables = {name: RocksTable(folder / name) for name in logic.tables}
    messages = numbered(raw, ends)
    with cost("understand", events, costs, profiled):
        said = decide(logic, tables, messages)
    social = [message for message in numbered(said, ends) if message.topic is Topic.SOCIAL_EVENTS]
    with cost("care: decode", events, costs, profiled):
        deque((decode(SocialEvent, message.value) for message in social), maxlen=0)
    tables = {name: RocksTable(folder / name) for name in CareLogic.tables}
    with cost("care", events, costs, profiled):
        cared = decide(CareLogic(0, brands=lambda: brands), tables, social)
    routed = [message for message in numbered(cared, ends) if message.topic in INPUTS]
    with cost("indexer: convert", events, costs, profiled):
        indexed_at = rfc3339(datetime.now(UTC))
        writes = (convert(message, "klingel-", indexed_at) for message in routed)
        deque((action_line(each) for each in writes if isinstance(each, Write)), maxlen=0)
    return costs


def _no_original(_reference: object) -> bytes:
    raise SystemExit("no original of the mix is large")


def main() -> int:
    """Measure and tell; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="none", help="what reads the texts: none, care, ...")
    parser.add_argument("--profile", help="stage whose functions are listed")
    asked = parser.parse_args()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as the processors
    with tempfile.TemporaryDirectory() as folder:
        try:
            costs = measure(asked.events, asked.seed, Path(folder), asked.profile, asked.model)
        except NoTextsError as error:
            print(f"skipped: {error}")
            return 0
    for name, microseconds in costs.items():
        print(f"{microseconds:8.1f} µs an event  {name}")
    print(json.dumps(costs))
    beyond = costs["care"] - costs["care: decode"]
    good = beyond <= CARE_US
    print(f"{'ok  ' if good else 'MISS'}  care beyond decoding: {beyond:.1f} µs (<= {CARE_US:g})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
