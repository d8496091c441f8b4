"""What looking for personal data costs an event, over real posts of several sets.

    .venv/bin/python benchmarks/pii.py [--each 1500] [--rounds 5]

Prints, per set and for all of them mixed, processor microseconds an event (best of the rounds) of the whole
search and of its gate alone, how many posts pass the gate, and how many hold something.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from klingel.language import pii
from klingel.language.numbers import compile_number

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = (
    "nc/text/twcs_threads",
    "nc/text/twcs_random_sample",
    "nc/text/germeval2017_dev",
    "nc/text/airline_us_sentiment",
    "permissive/text/germeval2018_train",
    "permissive/text/potts_german_tweets",
    "permissive/text/ibm_care_conversations_dev",
    "caveat/text/xlmt_train_val_8lang",
    "caveat/text/semeval2017_en_tweets",
)
NUMBERS = (
    compile_number("customer_number", "KD-########", "luhn"),
    compile_number("contract_number", "V#{9}", "iso7064"),
    compile_number("order_number", "@@-######"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=1500, help="posts of each set")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the best counts")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        parser.exit(2, "The real data (../shared/data) are not beside this checkout.\n")
    mixed: list[tuple[str, str | None]] = []
    print(
        f"{'set':28} {'posts':>6} {'us':>6} {'gate':>6} {'numbers':>8} {'passed':>7} {'found':>6}"
    )
    for name in SETS:
        posts = _posts(DATA / f"{name}.jsonl.gz", arguments.each)
        mixed += posts
        _report(name.rsplit("/", 1)[-1], posts, arguments.rounds)
    _report("all, mixed", mixed, arguments.rounds)


def _posts(path: Path, most: int) -> list[tuple[str, str | None]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, most)]
    return [(row["text"], row["lang"]) for row in rows]


def _report(name: str, posts: list[tuple[str, str | None]], rounds: int) -> None:
    whole = _best(pii.find, posts, rounds)
    gate = _best(lambda text, _: pii.may_hold(text), posts, rounds)
    numbers = _best(lambda text, lang: pii.find(text, lang, NUMBERS), posts, rounds)
    passed = sum(pii.may_hold(text) for text, _ in posts) / len(posts)
    found = sum(bool(pii.find(text, lang)) for text, lang in posts) / len(posts)
    print(
        f"{name:28} {len(posts):6} {whole:6.1f} {gate:6.1f} {numbers:8.1f} {passed:7.1%} {found:6.1%}"
    )


def _best(
    call: Callable[[str, str | None], object], posts: list[tuple[str, str | None]], rounds: int
) -> float:
    """Microseconds a post in the best round."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for text, lang in posts:
            call(text, lang)
        best = min(best, time.process_time() - begin)
    return best / len(posts) * 1e6


if __name__ == "__main__":
    main()
