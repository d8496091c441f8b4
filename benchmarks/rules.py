"""1,000 listening rules on real posts: microseconds of processor time an event.

    python benchmarks/rules.py [--rules 1000] [--posts 20000] [--runs 3] [--seed 1] [--json]

The rules are such as brands have: names (three of them in a rule's alternatives), phrases, proximity,
beginnings of words, combinations with a language or a NOT, and dictionaries with their spellings. Words
and phrases are drawn out of the posts, so that rules hit: names from words that stand in at most one of
a thousand posts, what stands beside a name from all words. An event is what `understand` asks for every
post: the document made, its words cut, all rules matched with their spans.

The gate is the median of the runs; exit code 1 above it.
"""

import argparse
import gzip
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import msgspec

from klingel.domain.dictionary import expand_entries
from klingel.domain.matching import Rule, RuleDocument, RuleSet, expand_rule, parse_rule, tokens
from klingel.domain.rule_syntax import read_entry

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
GATE_US = 20.0
RARE = 1_000
"""A name stands in at most one post of so many."""


class Row(msgspec.Struct):
    """What of a row of the data is needed."""

    text: str | None = None
    lang: str | None = None


def read_rows(count: int, random: Random) -> list[Row]:
    """Return so many posts, drawn from all text sets together."""
    files = sorted(DATA.glob("**/text/*.jsonl.gz"))
    if not files:
        sys.exit("benchmarks/rules.py: ../shared/data is absent: there are no real posts to match")
    lines = [line for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    decoder = msgspec.json.Decoder(Row)
    rows = map(decoder.decode, random.sample(lines, min(len(lines), count + count // 10)))
    return [row for row in rows if row.text][:count]


class Writer:
    """Writes rules out of the posts.

    Args:
        texts: words of each post.
        random: source of chance.
    """

    def __init__(self, texts: list[list[str]], random: Random) -> None:
        self._random = random
        self._texts = [terms for terms in texts if len(terms) > 5]
        counted = Counter(term for terms in texts for term in set(terms))
        most = max(2, len(texts) // RARE)
        self._names = sorted(
            term
            for term, count in counted.items()
            if 2 <= count <= most and len(term) >= 4 and term.isalpha()
        )

    def rules(self, count: int) -> list[Rule]:
        """Write so many rules."""
        return [Rule(f"rule-{number}", self._query(number % 10)) for number in range(count)]

    def _query(self, shape: int) -> str:
        name, other, third = (self._random.choice(self._names) for _ in range(3))
        terms = self._random.choice(self._texts)
        start = self._random.randrange(len(terms) - 3)
        words = terms[start : start + 3]
        near = list(dict.fromkeys([name, *words[:2]]))
        entries = expand_entries(map(read_entry, (name, other, third)), typos=True)
        shapes = (
            name,
            name,
            f"{name} OR {other} OR {third}",
            f'"{" ".join(words)}"',
            f'"{" ".join(words)}"',
            f'"{" ".join(near)}"~5',
            f"{name[:5]}*",
            f"({name} OR {other}) AND NOT ({words[0]} OR {words[1]})",
            f"{name} AND lang:{self._random.choice(['de', 'en', 'es'])}",
            expand_rule(parse_rule("dictionary:products", {"products": entries})),
        )
        return shapes[shape]


def measure(rules: RuleSet, rows: list[Row]) -> tuple[float, int]:
    """Return microseconds of processor time an event and the number of hits."""
    hits = 0
    started = time.process_time()
    for row in rows:
        hits += len(rules.match(RuleDocument(text=row.text or "", lang=row.lang)))
    return (time.process_time() - started) / len(rows) * 1e6, hits


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", type=int, default=1_000)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    rows = read_rows(arguments.posts, random)
    writer = Writer([[token.term for token in tokens(row.text or "")] for row in rows], random)
    written = writer.rules(arguments.rules)
    started = time.perf_counter()
    rules = RuleSet.compile(written)
    compiled = time.perf_counter() - started
    runs = [measure(rules, rows) for _ in range(arguments.runs)]
    median = statistics.median(cost for cost, _ in runs)
    hits = runs[0][1]
    found = {
        "rules": len(written),
        "posts": len(rows),
        "seed": arguments.seed,
        "us_an_event": round(median, 1),
        "runs": [round(cost, 1) for cost, _ in runs],
        "gate": GATE_US,
        "hits_a_thousand_events": round(1_000 * hits / len(rows), 1),
        "compile_seconds": round(compiled, 2),
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):24} {value}")
    return 0 if median <= GATE_US else 1


if __name__ == "__main__":
    sys.exit(main())
