"""What open cases cost care: memory, rebuilding, ticks, large conversations and full records.

    python benchmarks/care.py [--cases 1000000] [--customers 5000] [--json]

Open cases with running clocks are read into the real state table by the code that rebuilds it after
a restart, batch by batch; then time goes by: nothing due, and as many due as a tick fires. A
large conversation is one post with so many customers below it, each with a case; further words are
heard there, and the last hundreds are timed. A full record is that of a customer who writes on and
on: it holds the newest 96 words, and each further one folds the oldest away; it is timed with the
case at hand, and read anew each time.

Gates (processor time, one core): 50,000 records a second rebuilt, 50 ms a tick in which nothing or
as many cases are due as it fires, 1.5 GB for 1,000,000 cases, 200 microseconds for a further word in a large
conversation. Exit code 1 where one is missed. What an event of the pipeline's mix costs care has its
gate in `benchmarks/stages.py`.
"""

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from msgspec import structs

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.cases import fold_event
from klingel.domain.conversation import ConversationState
from klingel.domain.identity import case_id
from klingel.domain.routing import Routing, route
from klingel.domain.timeline import MAX_FACTS
from klingel.model import Case, SocialEvent
from klingel.stage.batch import Overlay
from klingel.testing.conversations import NOON, compiled_brand, said
from klingel_processors.batch_service import MANY
from klingel_processors.care.logic import TIMERS_AT_ONCE, CareLogic
from klingel_processors.care.records import CASES, due_cases
from klingel_processors.rocks import RocksTable

BATCH = 500
DUE_AT_ONCE = timedelta(seconds=1)
GATES = {
    "rebuilt_per_second": 50_000.0,
    "idle_tick_ms": 50.0,
    "due_tick_ms": 50.0,
    "memory_mb": 1536.0,
    "further_word_us": 200.0,
}


def brand() -> CompiledBrand:
    """Return a brand with office hours and three promises."""
    return compiled_brand(
        calendars=[{"id": "day", "zone": "Europe/Berlin", "hours": {"mon-fri": ["08:00-20:00"]}}],
        sla=[{"id": "all", "first_response": "60m", "next_response": "2h", "resolution": "3d"}],
    )


def cases(count: int, brand_: CompiledBrand) -> Iterator[Case]:
    """Yield open cases, each in its own conversation, due one after the other.

    As many as a tick fires are due within one second, then one in each further second.
    """

    def routing(event: SocialEvent, again: bool) -> Routing:  # noqa: FBT001 - the fold's port
        return route(event, brand_, again=again)

    event = said("opener", "bluesky:did:plc:customer", text="my line is dead since monday")
    (case,) = fold_event(ConversationState(), event, (0, 0), routing, brand_, NOON).changed
    for number in range(count):
        conversation = f"bluesky:network:did:plc:someone/app.bsky.feed.post/{number:012}"
        customer = f"bluesky:did:plc:{number:024}"
        later = timedelta(seconds=max(0, number - TIMERS_AT_ONCE))
        clocks = [
            structs.replace(
                clock,
                started_at=clock.started_at + later,
                counts_from=clock.counts_from + later,
                warn_at=clock.warn_at + later if clock.warn_at is not None else None,
                deadline=clock.deadline + later,
            )
            for clock in case.clocks or ()
        ]
        yield structs.replace(
            case,
            case_id=case_id(case.brand, conversation, customer, 1),
            conversation_id=conversation,
            customer_id=customer,
            clocks=clocks,
            due_at=min(clock.deadline for clock in clocks),
        )


def messages(count: int, brand_: CompiledBrand) -> Iterator[list[Message]]:
    """Yield the records of the cases as they lie in the topic, batch by batch."""
    batch: list[Message] = []
    for offset, case in enumerate(cases(count, brand_)):
        identity = case.case_id.encode()
        batch.append(Message(Topic.CASES, 0, offset, identity, codec.encode(case)))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def rebuild(logic: CareLogic, table: RocksTable, count: int, brand_: CompiledBrand) -> float:
    """Read the records as a restarted worker does; return its processor seconds, without ours."""
    tables, seconds = {CASES: table}, 0.0
    with table.filling(count) if count > MANY else nullcontext():
        for batch in messages(count, brand_):
            started = time.process_time()
            seen = Overlay(tables)
            for message in batch:
                seen.put(tuple(logic.restore(CASES, message, seen)))
            table.apply(seen.changes(CASES), batch[-1].offset + 1)
            seconds += time.process_time() - started
    return seconds


def milliseconds(work: Callable[[], object], runs: int = 9) -> float:
    """Return the least milliseconds of this thread's processor time of some runs.

    Beside it the table may still be merging the files of the rebuilding, which counted there.
    """
    costs = []
    for _ in range(runs):
        started = time.thread_time()
        work()
        costs.append((time.thread_time() - started) * 1000)
    return min(costs)


def open_cases(count: int) -> dict[str, float]:
    """Measure a table of so many open cases."""
    brand_ = brand()
    logic = CareLogic(0, brands=lambda: {brand_.brand: brand_})
    with tempfile.TemporaryDirectory() as folder:
        table = RocksTable(Path(folder) / CASES)
        seconds = rebuild(logic, table, count, brand_)
        tables = {CASES: table}
        (first,) = {case.due_at for case in cases(1, brand_)}
        assert first is not None
        early, due = NOON, NOON + timedelta(hours=1) - timedelta(minutes=15) + DUE_AT_ONCE
        assert not due_cases(Overlay(tables), early, 1)
        found = {
            "cases": float(count),
            "rebuilt_per_second": count / seconds,
            "idle_tick_ms": milliseconds(lambda: logic.tick(Overlay(tables), early, early)),
        }
        fired = logic.tick(Overlay(tables), due, due)
        found["fired"] = float(len(fired))
        found["due_tick_ms"] = milliseconds(lambda: logic.tick(Overlay(tables), due, due))
        table.close()
    return found


def large_conversation(customers: int) -> dict[str, float]:
    """Measure further words under a post with so many customers, at a tenth and at all of them."""
    brand_ = brand()
    logic = CareLogic(0, brands=lambda: {brand_.brand: brand_})
    found: dict[str, float] = {"customers": float(customers)}
    with tempfile.TemporaryDirectory() as folder:
        table = RocksTable(Path(folder) / CASES)
        overlay, costs = Overlay({CASES: table}), []
        for number in range(customers):
            event = said(f"word{number}", f"bluesky:did:plc:{number}", number / 100)
            message = Message(
                Topic.SOCIAL_EVENTS, 0, number, event.event_id.encode(), codec.encode(event)
            )
            started = time.process_time()
            outcome = logic.step(message, overlay, event.received_at, {})
            overlay.put(outcome.puts)
            if (number + 1) % BATCH == 0:
                table.apply(overlay.changes(CASES), number + 1)
                overlay = Overlay({CASES: table})
            costs.append((time.process_time() - started) * 1e6)
        table.close()
    window = max(1, customers // 10)
    found["early_word_us"] = sum(costs[window : 2 * window]) / window
    found["further_word_us"] = sum(costs[-window:]) / window
    return found


def full_record(words: int, *, read_anew: bool) -> float:
    """Return the median microseconds of a further word in a case with a full record."""
    brand_ = brand()
    logic = CareLogic(0, brands=lambda: {brand_.brand: brand_})
    with tempfile.TemporaryDirectory() as folder:
        table = RocksTable(Path(folder) / CASES)
        overlay, costs = Overlay({CASES: table}), []
        for number in range(MAX_FACTS + words):
            event = said(f"word{number}", "bluesky:did:plc:one", number / 100)
            message = Message(
                Topic.SOCIAL_EVENTS, 0, number, event.event_id.encode(), codec.encode(event)
            )
            if read_anew:
                logic = CareLogic(0, brands=lambda: {brand_.brand: brand_})
            started = time.process_time()
            outcome = logic.step(message, overlay, event.received_at, {})
            overlay.put(outcome.puts)
            costs.append((time.process_time() - started) * 1e6)
        table.close()
    return median(costs[MAX_FACTS:])


def missed(found: dict[str, float]) -> list[str]:
    """Return the gates that are missed."""
    least = {"rebuilt_per_second"}
    return [
        name
        for name, gate in GATES.items()
        if (found[name] < gate if name in least else found[name] > gate)
    ]


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    asked = parser.parse_args()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as the processors
    found = {**open_cases(asked.cases), **large_conversation(asked.customers)}
    found["full_record_word_us"] = full_record(200, read_anew=False)
    found["full_record_read_us"] = full_record(200, read_anew=True)
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rounded = {name: round(value, 2) for name, value in found.items()}
    if asked.json:
        print(json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **rounded}))
    else:
        for name, value in rounded.items():
            gate = f"  gate {GATES[name]:,.0f}" if name in GATES else ""
            print(f"{name.replace('_', ' '):22} {value:14,.2f}{gate}")
    failed = missed(found)
    for name in failed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
