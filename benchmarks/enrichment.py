"""What one event costs in the heads: microseconds warm and cold, by batch, and the memory.

    python benchmarks/enrichment.py --data ../shared/data

CPU time of one process; the posts are real ones (airline, GermEval 2017, XLM-T de and en), mixed by
a fixed seed. `cold` is the first sight of every post by a fresh process.

The gate is 60 microseconds for everything that is found in a text, warm; exit code 1 above it.
"""

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from klingel.config.compiled import CompiledBrand
from klingel.config.loader import load_brand, version_of
from klingel.domain.dictionary import expand_entries
from klingel.domain.draft import SocialDraft
from klingel.domain.enrichment import enrich
from klingel.domain.matching import Rule, RuleDocument, RuleSet, expand_rule, parse_rule
from klingel.domain.rule_syntax import read_entry
from klingel.language.heads import Heads, load_heads
from klingel.language.intent import intents_of
from klingel.language.pii import find
from klingel.language.sense import Reader, Text
from klingel.model.social_event import Author
from klingel_models.gates import AIRLINE, GERMEVAL2017, XLMT
from klingel_models.recipe import SHIPPED, lines

GATE_US = 60.0
WARM = "everything, warm"
BATCH = 500
BRAND = Path(__file__).resolve().parents[1] / "brands" / "nordlicht.yaml"
WORST = {
    "unseen words": " ".join(f"{chr(97 + n % 26)}{n * 7919 % 99_991:x}ation" for n in range(4_000)),
    "one word": "verspätung" * 3_000,
    "emoji": "😡🤬👍" * 10_000,
    "brackets": ":" + "(" * 29_999,
    "question marks": "wie? " * 6_000,
}


def resident() -> float:
    """Return the memory of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def posts(data: Path) -> list[str]:
    """Return real posts in a fixed order."""
    found = [row["text"] for row in lines(data / AIRLINE)]
    found += [row["text"] for row in lines(data / GERMEVAL2017)]
    found += [row["text"] for row in lines(data / XLMT) if row["lang"] in ("de", "en")]
    random.Random(1).shuffle(found)
    return found


def scored(heads: Heads, texts: Sequence[str], batch: int) -> float:
    """Return microseconds an event for scores alone."""
    start = time.process_time()
    for at in range(0, len(texts), batch):
        heads.score(texts[at : at + batch])
    return (time.process_time() - start) / len(texts) * 1e6


def understood(heads: Heads, texts: Sequence[str], batch: int) -> float:
    """Return microseconds an event for scores, probabilities, tone and intents."""
    start = time.process_time()
    for at in range(0, len(texts), batch):
        some = texts[at : at + batch]
        scores = heads.score(some)
        likely = heads.probabilities(scores).tolist()
        tones = heads.answers("tone", scores)
        heads.answers("lang", scores)
        for text, tone, row in zip(some, tones, likely, strict=True):
            intents_of(text, tone.label, dict(zip(heads.names, row, strict=True)))
    return (time.process_time() - start) / len(texts) * 1e6


def timed(texts: Sequence[str], work: Callable[[], object]) -> float:
    """Return microseconds an event of one way over all texts."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / len(texts) * 1e6


def everything(heads: Heads, texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield what all that is found in a text costs as the brand is told it, and its parts.

    The listening rules have split the text into words by then; that is not counted again.
    """
    parsed = load_brand(BRAND).brand
    brand = CompiledBrand.compile(parsed, version_of(parsed))
    reader = Reader("care", "0", heads.weights)
    author = Author(id="1", followers=120)
    drafts = [
        SocialDraft(
            mapping="bench/1",
            kind="post",
            change="created",
            text=text,
            author=author,
            metrics={"likes": 3},
        )
        for text in texts
    ]
    documents = [RuleDocument(text=text, lang="de") for text in texts]
    for document in documents:
        brand.listening.match(document)

    some = [Text(text, "post", "de") for text in texts]

    def read() -> None:
        for at in range(0, len(some), BATCH):
            reader.read(some[at : at + BATCH])

    def tell() -> None:
        # As the stage does: a batch is read, then told, then forgotten.
        for at in range(0, len(some), BATCH):
            part = slice(at, at + BATCH)
            senses = reader.read(some[part])
            for draft, document, sense in zip(drafts[part], documents[part], senses, strict=True):
                enrich(brand, draft, document, "inbound", sense)

    yield "everything, cold", timed(texts, tell)
    yield WARM, timed(texts, tell)
    yield "of it: model, tone, intents, own words", timed(texts, read)
    yield (
        "of it: personal data",
        timed(texts, lambda: [find(t, "de", brand.numbers) for t in texts]),
    )
    yield "of it: topics", timed(texts, lambda: [brand.topics.match(each) for each in documents])


def compiled() -> float:
    """Return the seconds that 1,000 rules and 300 topics take, with three large dictionaries.

    Each dictionary has 200 words and, with the typing errors of the long ones, 900 forms; each topic
    and every twentieth rule refers to one.
    """
    chance = random.Random(1)

    def word(least: int, most: int) -> str:
        return "".join(chance.choices("abcdefghiklmnoprstu", k=chance.randint(least, most)))

    names = ("products", "persons", "places")
    words = {
        name: [*(word(3, 5) for _ in range(155)), *(word(6, 8) for _ in range(45))]
        for name in names
    }
    queries = [
        f"dictionary:{names[n % 3]} AND {word(5, 8)}"
        if n % 20 == 0
        else f"({word(5, 8)} OR {word(4, 6)}*) AND lang:de"
        for n in range(1_000)
    ]
    topics = [f"dictionary:{names[n % 3]} OR {word(5, 8)}" for n in range(300)]
    start = time.process_time()
    forms = {
        name: expand_entries(map(read_entry, each), typos=True) for name, each in words.items()
    }
    for some in (queries, topics):
        written = [expand_rule(parse_rule(query, forms)) for query in some]
        RuleSet.compile(Rule(str(number), query) for number, query in enumerate(written))
    return time.process_time() - start


def main() -> int:
    """Measure and tell; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure what one event costs in the heads.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        print(f"skipped: there are no real data in {chosen.data}; name their folder with --data")
        return 0
    texts = posts(chosen.data)
    before = resident()
    start = time.process_time()
    heads = load_heads(chosen.model)
    print(f"load {time.process_time() - start:.2f} s, {resident() - before:.0f} MB more")
    print(f"{len(texts):,} posts, {sum(map(len, texts)) / len(texts):.0f} characters in the mean")
    half = len(texts) // 2
    print(f"cold, first {half:,}, batches of {BATCH}: {scored(heads, texts[:half], BATCH):.1f} us")
    print(f"cold, next {half:,}, batches of {BATCH}: {scored(heads, texts[half:], BATCH):.1f} us")
    for batch in (BATCH, 100, 20, 1):
        print(f"warm, batches of {batch}: {scored(heads, texts[:5_000], batch):.1f} us")
    print(f"warm, with intents, batches of {BATCH}: {understood(heads, texts, BATCH):.1f} us")
    print(f"resident after {len(texts):,} posts: {resident() - before:.0f} MB more")
    costs = dict(everything(heads, texts))
    for what, cost in costs.items():
        print(f"{what}: {cost:.1f} us")
    print(f"compiling 1,000 rules, 300 topics, 3 dictionaries with typos: {compiled():.2f} s")
    for name, text in WORST.items():
        took = []
        for _ in range(5):
            fresh = load_heads(chosen.model)
            fresh.score(["warm"])
            start = time.process_time()
            understood(fresh, [text], 1)
            took.append((time.process_time() - start) * 1e3)
        print(f"worst of 30,000 characters, {name}: {min(took):.1f} ms")
    good = costs[WARM] <= GATE_US
    print(f"{'ok  ' if good else 'MISS'}  {WARM}: {costs[WARM]:.1f} us (<= {GATE_US:g})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
