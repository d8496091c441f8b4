"""What an audit costs a line of the ledger, and what it keeps of many.

The lines are those of every stage and partition, one a second each, as the ledger holds them; they
are decoded and taken together as `klingel audit` does it, in batches that are made anew:

    python benchmarks/audit.py [--partitions 24] [--lines 1000000]
"""

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psutil

from klingel.contracts import codec
from klingel.model import LedgerLine
from klingel.stage.audit import CHAIN
from klingel.stage.checkpoint import Folding, checkpoint_output

SECOND = timedelta(seconds=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def written(partitions: int, lines: int) -> Iterator[bytes]:
    """Yield so many records of the ledger."""
    number = second = 0
    while True:
        for stage, inputs in CHAIN.items():
            for topic in inputs:
                for partition in range(partitions):
                    yield codec.encode(
                        LedgerLine(
                            stage=stage,
                            topic=str(topic),
                            partition=partition,
                            before=second * 100,
                            after=second * 100 + 100,
                            received=100,
                            redone=0,
                            fates={"delivered": 90, "discarded": 10},
                            reasons={"discarded:nobody_hears": 10},
                            networks={"delivered:bluesky": 60, "delivered:x": 30},
                            emitted={"social-events": 90, "object-directory": 90},
                            holder=f"{stage}-{partition % 4}",
                            written_at=BEGIN + second * SECOND,
                        )
                    )
                    number += 1
                    if number == lines:
                        return
        second += 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=24)
    parser.add_argument("--lines", type=int, default=1_000_000)
    arguments = parser.parse_args()
    settled = {
        (stage, str(topic), partition): 1 << 60
        for stage, inputs in CHAIN.items()
        for topic in inputs
        for partition in range(arguments.partitions)
    }
    process, folding, seconds = psutil.Process(), Folding(0, settled), 0.0
    before = largest = process.memory_info().rss
    for offset, value in enumerate(written(arguments.partitions, arguments.lines)):
        started = time.process_time()
        folding.take(offset, codec.decode(LedgerLine, value))
        seconds += time.process_time() - started
        if offset % 10_000 == 0:
            largest = max(largest, process.memory_info().rss)
    folding.close()
    record = checkpoint_output(folding.checkpoint(arguments.lines, {}, BEGIN))
    print(
        f"{arguments.lines:,} lines: {seconds / arguments.lines * 1e6:.1f} us a line, "
        f"{(largest - before) / 1e6:.0f} MB more than the {before / 1e6:.0f} MB before, "
        f"{len(folding.lines()):,} lines kept, checkpoint {len(record.value or b''):,} bytes"
    )


if __name__ == "__main__":
    main()
