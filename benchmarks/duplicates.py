"""Seen before? What copies and the same question reach on real posts, and what they cost.

`python benchmarks/duplicates.py [--data FOLDER]` prints every gate with its figure and ends with 1 if
one is missed. It takes some three minutes; `--only copies` or `--only questions` does one half.

Copies: pairs of posts that X says are reposts, quotes and replies; planted copies; links among posts
of strangers; the index against the comparison of all with all, and against rensa's MinHash index;
microseconds an event and memory.

Same question: each intent of Banking77 in turn is hidden among 20,000 posts of others. A *cluster is
found* by having more of the intent's posts than any other one; its precision and recall count. *Seen
from a post* is stricter: for each post of the intent the precision and the recall of the cluster it
is in (no cluster: recall 0), in the mean. Nothing is trained on Banking77, save where it says so.
"""

import argparse
import gzip
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rensa

from klingel.domain.copies import (
    COMPARED,
    CONTAINED,
    CopyWindow,
    Entry,
    Limits,
    comparable,
    compare,
    shingles,
)
from klingel.domain.same_question import Asked, Question, QuestionLimits, QuestionWindow
from klingel.language.heads import Heads, load_heads
from klingel_models.recipe import SHIPPED
from klingel_models.tasks import FREE, Labelled, train_on

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEED = 7
OTHERS = 20_000
WINDOW = 50_000
PAIRS = "permissive/text/x_repost_quote_reply_pairs"
POSTS = (
    "nc/text/airline_us_sentiment",
    "nc/text/germeval2017_dev",
    "permissive/text/potts_german_tweets",
    "permissive/text/davidson_offensive",
    "caveat/text/semeval2017_en_tweets",
    "caveat/text/xlmt_train_val_8lang",
    "nc/text/twcs_threads",
    "nc/text/twcs_random_sample",
    "permissive/text/goemotions",
)
REFERENCES = {"retweeted": "reposts", "quoted": "quotes", "replied_to": "in_reply_to"}
missed: list[str] = []


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def gate(name: str, value: float, bound: float, *, most: bool = False) -> None:
    """Print a figure beside its bound."""
    good = value <= bound if most else value >= bound
    if not good:
        missed.append(name)
    sign = "<=" if most else ">="
    print(f"{'ok  ' if good else 'MISS'}  {name}: {value:.4g} ({sign} {bound:g})", flush=True)


def note(name: str, value: object) -> None:
    print(f"      {name}: {value}", flush=True)


# --- copies ---------------------------------------------------------------------------------------


class Relation(NamedTuple):
    """Shares of pairs that the window put into one group."""

    reposts: float
    others: float


def group_of(groups: dict[str, str], id_: str) -> str:
    """Return the first one of a group; a network may name a copy as what is reposted."""
    while groups.get(id_, id_) != id_:
        id_ = groups[id_]
    return id_


def related(pairs: Sequence[dict[str, Any]], *, reference: bool, original_first: bool) -> Relation:
    """Put both sides of all pairs into one window; return which became one group."""
    window = CopyWindow()
    groups: dict[str, str] = {}

    def add(entry: Entry) -> None:
        link = window.add(entry)
        groups.setdefault(entry.id, link.of if link else entry.id)

    def originals() -> None:
        for pair in pairs:
            original = pair["meta"]["ref"]
            add(Entry(original, pair["text2"], 0.0, author=f"of {original}"))

    def derived() -> None:
        for pair in pairs:
            said = {}
            if reference:
                said = {REFERENCES[pair["labels"]["relation"]]: pair["meta"]["ref"]}
            add(Entry(pair["id"], pair["text"], 0.0, author=f"of {pair['id']}", **said))

    for half in (originals, derived) if original_first else (derived, originals):
        half()
    joined: dict[bool, list[bool]] = {True: [], False: []}
    for pair in pairs:
        one, other = pair["id"], pair["meta"]["ref"]
        together = group_of(groups, one) == group_of(groups, other)
        joined[pair["labels"]["relation"] == "retweeted"].append(together)
    return Relation(statistics.fmean(joined[True]), statistics.fmean(joined[False]))


def planted_copy(text: str, chance: random.Random) -> str:
    """Return a copy of a text as people and programs make them."""
    made: list[Callable[[], str]] = [
        lambda: text,
        text.upper,
        lambda: f"RT @somebody: {text}",
        lambda: f"@brand {text} https://t.co/{chance.randrange(1 << 30):x}",
        lambda: text.replace(" ", "  ").rstrip(".!?") + " !!!",
    ]
    if len(text) >= 60:
        cut = text[: chance.randrange(int(len(text) * 0.5), int(len(text) * 0.9))]
        made += [lambda: f"RT @somebody: {cut}\u2026", lambda: f"{cut}\u2026 https://t.co/x"]
    return chance.choice(made)()


def planted(data: Path) -> tuple[float, float]:
    """Return the share of planted copies linked to their original, and of others linked at all."""
    chance = random.Random(SEED)
    background = [Entry(f"o{at}", text, 0.0, f"o{at}") for at, text in enumerate(others(data)[0])]
    originals = [
        Entry(f"b{at}", row["text"], 0.0, f"b{at}")
        for at, row in enumerate(rows(data, "permissive/text/banking77_train"))
    ]
    stream = background + originals
    chance.shuffle(stream)
    window = CopyWindow()
    first = {entry.id: window.add(entry) for entry in stream}
    linked = 0
    for original in originals:
        copied = planted_copy(original.text, chance)
        link = window.add(Entry(f"c{original.id}", copied, 1.0, f"c{original.id}"))
        before = first[original.id]
        linked += link is not None and link.of == (before.of if before else original.id)
    strangers = sum(first[entry.id] is not None for entry in background)
    return linked / len(originals), strangers / len(background)


def strangers(data: Path) -> None:
    """Print how often posts of strangers are linked, by what."""
    for name in ("nc/text/airline_us_sentiment", "nc/text/germeval2017_dev"):
        window = CopyWindow()
        kinds = {"fingerprint": 0, "containment": 0}
        posts = rows(data, name)
        for row in posts:
            author = row["meta"].get("author") or row["id"]
            link = window.add(Entry(row["id"], row["text"], 0.0, author))
            if link and not link.same_author:
                kinds[link.kind] += 1
        note(f"{name}: links between different authors in {len(posts)} posts", kinds)
    linked: dict[str, list[bool]] = {"yes": [], "no": []}
    for row in rows(data, "nc/text/twitter_url_paraphrase_pairs"):
        verdict = row["labels"].get("paraphrase")
        if verdict is None:
            continue
        window = CopyWindow()
        window.add(Entry("1", row["text"], 0.0, "a"))
        linked["yes" if verdict else "no"].append(
            window.add(Entry("2", row["text2"], 0.0, "b")) is not None
        )
    note("URL paraphrases: share linked", f"{statistics.fmean(linked['yes']):.4f}")
    gate(
        "URL pairs that are no paraphrase: linked", statistics.fmean(linked["no"]), 0.01, most=True
    )


class Text(NamedTuple):
    """A comparable text with its different shingles, counted."""

    text: str
    cut: bool
    pieces: Sequence[int]


def distinct(texts: Iterable[str]) -> list[Text]:
    """Return the different comparable texts; their shingles are numbered."""
    numbers: dict[str, int] = {}
    found: dict[str, Text] = {}
    for each in texts:
        words = comparable(each)
        text = words.text[:COMPARED]
        if text and text not in found:
            pieces = [numbers.setdefault(piece, len(numbers)) for piece in sorted(shingles(text))]
            found[text] = Text(text, words.cut, pieces)
    return list(found.values())


def all_pairs(texts: Sequence[Text]) -> list[tuple[int, int]]:
    """Compare all with all; returns the pairs that are copies by `compare`."""
    having: dict[int, list[int]] = {}
    sizes = np.array([len(text.pieces) for text in texts])
    pairs = []
    for at, text in enumerate(texts):
        postings = [having.setdefault(piece, []) for piece in text.pieces]
        if at and postings:
            hits = np.concatenate([np.array(each, np.int64) for each in postings])
            shared = np.bincount(hits, minlength=at)
            least = CONTAINED * np.minimum(sizes[:at], sizes[at])
            for other in np.flatnonzero((shared > 0) & (shared >= least)).tolist():
                old = texts[other]
                if compare(text.text, old.text, one_cut=text.cut, other_cut=old.cut):
                    pairs.append((other, at))
        for each in postings:
            each.append(at)
    return pairs


def index(data: Path, texts: Sequence[str]) -> None:
    """Print which of the pairs that are copies the window finds, and rensa's index as candidates."""
    pairs = rows(data, PAIRS)
    known = [text for pair in pairs for text in (pair["text2"], pair["text"])]
    different = distinct([*known, *texts[:12_000]])
    copies = all_pairs(different)
    window = CopyWindow()
    group = {}
    for at, each in enumerate(different):
        text = each.text + ("\u2026" if each.cut else "")
        link = window.add(Entry(str(at), text, 0.0))
        group[at] = link.of if link else str(at)
    note(f"pairs of copies among {len(different)} texts, all compared with all", len(copies))
    note(
        "of them in one group of the window",
        f"{statistics.fmean(group[one] == group[other] for one, other in copies):.3f}",
    )
    later = {other for _, other in copies}
    note(
        "of the texts that copy an earlier one, linked",
        f"{statistics.fmean(group[at] != str(at) for at in later):.3f}",
    )
    for threshold, bands in ((0.5, 32), (0.3, 64)):
        lsh = rensa.RMinHashLSH(threshold=threshold, num_perm=128, num_bands=bands)
        sketches = []
        for at, each in enumerate(different):
            sketch = rensa.RMinHash(num_perm=128, seed=1)
            sketch.update(sorted(shingles(each.text)))
            lsh.insert(at, sketch)
            sketches.append(sketch)
        found = statistics.fmean(one in lsh.query(sketches[other]) for one, other in copies)
        many = statistics.fmean(len(lsh.query(sketch)) - 1 for sketch in sketches[::20])
        note(
            f"rensa, 128 permutations, {bands} bands: candidate pairs found, candidates a text",
            f"{found:.3f}, {many:.1f}",
        )


def speed(texts: Sequence[str]) -> None:
    """Print the cost of an event at a full window, and memory."""
    entries = [
        Entry(f"x::{at}", text, float(at), f"a{at}", "x") for at, text in enumerate(texts[:110_000])
    ]
    window = CopyWindow(Limits(seconds=1e9, entries=WINDOW))
    for entry in entries[: WINDOW + 10_000]:
        window.add(entry)
    blocks = []
    for start in range(WINDOW + 10_000, len(entries), 5_000):
        block = entries[start : start + 5_000]
        began = time.process_time()
        for entry in block:
            window.add(entry)
        blocks.append((time.process_time() - began) / len(block) * 1e6)
    note(
        f"microseconds an event, {len(window)} entries, blocks of 5,000",
        f"least {min(blocks):.1f}, median {statistics.median(blocks):.1f}, most {max(blocks):.1f}",
    )
    gate("microseconds an event (median of blocks)", statistics.median(blocks), 25, most=True)
    began = time.process_time()
    state = window.export()
    exported = time.process_time() - began
    CopyWindow.restore(state)
    restored = time.process_time() - began - exported
    note(
        "export MB, seconds to export, to restore",
        f"{len(state) / 1e6:.1f}, {exported:.2f}, {restored:.2f}",
    )
    del window
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    window = CopyWindow(Limits(seconds=1e9, entries=100_000))
    for entry in entries[:100_000]:
        window.add(entry)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    note(
        f"MB at {len(window)} entries: traced, by the window's own estimate",
        f"{grown / 1e6:.0f}, {window.memory / 1e6:.0f}",
    )


def copies(data: Path) -> None:
    print("copies")
    pairs = rows(data, PAIRS)
    for reference in (True, False):
        for original_first in (True, False):
            how = f"{'with' if reference else 'without'} references, "
            how += "originals first" if original_first else "originals last"
            relation = related(pairs, reference=reference, original_first=original_first)
            gate(f"{how}: reposts linked", relation.reposts, 0.99)
            gate(f"{how}: quotes and replies merged", relation.others, 0.01, most=True)
    linked, wrong = planted(data)
    gate("planted copies linked to their original", linked, 0.99)
    note("posts among which they were planted that are linked", f"{wrong:.4f}")
    strangers(data)
    texts = [row["text"] for name in POSTS for row in rows(data, name)]
    random.Random(SEED).shuffle(texts)
    speed(texts)
    index(data, texts)


# --- same question --------------------------------------------------------------------------------


def others(data: Path) -> tuple[list[str], list[str]]:
    """Return 20,000 posts that are not from Banking77 (CLINC150, care posts, then tweets).

    And 1,000 further ones, that a brand may have labelled as none of its questions.
    """
    names = ("clinc150_train_val", "ibm_care_conversations_dev")
    texts = [row["text"] for name in names for row in rows(data, f"permissive/text/{name}")]
    texts += [row["text"] for row in rows(data, "own/care_posts")]
    rest = [
        row["text"]
        for name in ("nc/text/airline_us_sentiment", "nc/text/twcs_threads")
        for row in rows(data, name)
    ]
    random.Random(SEED).shuffle(rest)
    found = texts + rest
    return found[:OTHERS], found[OTHERS : OTHERS + 1_000]


class Found(NamedTuple):
    """What was found of an intent: of its cluster, and seen from its posts."""

    precision: float
    recall: float
    post_precision: float
    post_recall: float


def found(questions: Sequence[Question], hidden: set[str]) -> Found:
    """Score clusters against the hidden posts."""
    best = (0, 0.0)
    seen = covered = recalled = 0.0
    for question in questions:
        right = len(hidden.intersection(question.ids))
        if not right:
            continue
        precision = right / len(question.ids)
        best = max(best, (right, precision))
        seen += right * precision
        covered += right
        recalled += right * right / len(hidden)
    return Found(
        best[1], best[0] / len(hidden), seen / covered if covered else 0.0, recalled / len(hidden)
    )


def mean(scores: Sequence[Found]) -> str:
    names = ("precision", "recall", "seen from a post: precision", "recall")
    values = [statistics.fmean(values) for values in zip(*scores, strict=True)]
    return ", ".join(f"{name} {value:.3f}" for name, value in zip(names, values, strict=True))


def asked(name: str, texts: Iterable[str], intents: Sequence[tuple[str, ...]] = ()) -> list[Asked]:
    return [
        Asked(f"{name}{at}", text, 0.0, f"{name}{at}", intents[at] if intents else ())
        for at, text in enumerate(texts)
    ]


def window_of(posts: Iterable[Asked]) -> QuestionWindow:
    window = QuestionWindow(QuestionLimits(posts=2 * OTHERS))
    for post in posts:
        window.add(post)
    return window


def brand_intents(
    texts: Sequence[str], labels: Sequence[str], background: Sequence[str], unasked: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the intents that a brand's own model finds in its questions, and in all other posts.

    The model is trained by klingel on one half of the questions, with posts that ask none of them
    beside it, and asked about the other half; posts below its threshold have no intent.
    """
    told: list[tuple[str, ...]] = [()] * len(texts)
    elsewhere: list[tuple[str, ...]] = []
    shipped = load_heads(SHIPPED).weights
    none = [Labelled(text, frozenset(), "en") for text in unasked]
    for half in (0, 1):
        own = [
            Labelled(text, frozenset((labels[at],)), "en")
            for at, text in enumerate(texts)
            if at % 2 == half
        ]
        heads = Heads(train_on(shipped, "intent", own + none, folds=1).weights)

        def intents(posts: Sequence[str], heads: Heads = heads) -> list[tuple[str, ...]]:
            found = heads.answers(FREE, heads.score(posts))
            return [() if each.label is None else (each.label,) for each in found]

        test = [at for at in range(len(texts)) if at % 2 != half]
        for at, names in zip(test, intents([texts[at] for at in test]), strict=True):
            told[at] = names
        elsewhere = intents(background)
    return told, elsewhere


def questions(data: Path) -> None:
    print("same question")
    banking = rows(data, "permissive/text/banking77_train")
    texts = [row["text"] for row in banking]
    labels = [row["labels"]["intent"] for row in banking]
    by_intent: dict[str, list[int]] = {}
    for at, label in enumerate(labels):
        by_intent.setdefault(label, []).append(at)
    background, unasked = others(data)
    base = asked("o", background)
    posts = asked("b", texts)

    began = time.process_time()
    state = window_of(base).export()
    note("microseconds a post", f"{(time.process_time() - began) / len(base) * 1e6:.0f}")
    note("MB of an export at 20,000 posts", f"{len(state) / 1e6:.1f}")
    scores = []
    seconds = []
    for places in by_intent.values():
        window = QuestionWindow.restore(state)
        for at in places:
            window.add(posts[at])
        began = time.process_time()
        clusters = window.clusters()
        seconds.append(time.process_time() - began)
        scores.append(found(clusters, {posts[at].id for at in places}))
    note(f"each of {len(scores)} intents after {len(base)} others", mean(scores))
    note(
        "intents with precision >= .9 and recall >= .6",
        sum(each.precision >= 0.9 and each.recall >= 0.6 for each in scores),
    )
    note("seconds to cluster 20,000 posts", f"{statistics.median(seconds):.2f}")

    scores = []
    chosen = sorted(by_intent)[::10]
    for number, intent in enumerate(chosen):
        stream = base + [posts[at] for at in by_intent[intent]]
        random.Random(SEED + number).shuffle(stream)
        clusters = window_of(stream).clusters()
        scores.append(found(clusters, {posts[at].id for at in by_intent[intent]}))
    note(f"{len(scores)} intents mixed among the others in any order", mean(scores))

    stream = posts + base[: OTHERS - len(posts)]
    random.Random(SEED).shuffle(stream)
    clusters = window_of(stream).clusters()
    note(
        "all 77 intents at once in one window of 20,000 (the others are of the same trade)",
        mean([found(clusters, {posts[at].id for at in each}) for each in by_intent.values()]),
    )

    told, elsewhere = brand_intents(texts, labels, background, unasked)
    base, posts = asked("o", background, elsewhere), asked("b", texts, told)
    state = window_of(base).export()
    scores = []
    for places in by_intent.values():
        window = QuestionWindow.restore(state)
        for at in places:
            window.add(posts[at])
        scores.append(found(window.clusters(), {posts[at].id for at in places}))
    note(f"each of {len(scores)} intents, a brand's own model beside the terms", mean(scores))
    gate("precision in the mean", statistics.fmean(each.precision for each in scores), 0.9)
    gate("recall in the mean", statistics.fmean(each.recall for each in scores), 0.6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What copies and the same question reach.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data")
    parser.add_argument("--only", choices=("copies", "questions"), help="one half of it")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"There are no real data in {arguments.data}: name their folder with --data.")
    if arguments.only != "questions":
        copies(arguments.data)
    if arguments.only != "copies":
        questions(arguments.data)
    print(f"{len(missed)} missed" if missed else "every gate is met")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
