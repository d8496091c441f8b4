"""Language identification: how often right, how often undecided, how long; own words; mending.

    python benchmarks/language.py [--json]

Accuracy is of all texts of a set, without the network's word: an undecided text counts as wrong.
`decided` is the share that is right of those decided; `any` counts the detector's best guess, however
unsure, as the reference does. Times are CPU time a text, the best of three passes.

Mending: the whole texts of all sets that are told to be broken (all of them should be broken ones), and
German posts, damaged on purpose, that are made whole, left alone, made wrong.

The gates are those of the issue; exit code 1 below one.
"""

import argparse
import gzip
import json
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from klingel.language.identify import Detector, clean, identify_language, load_detector
from klingel.language.mending import mended
from klingel.language.reading import own_words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEVEN = frozenset({"ar", "de", "en", "es", "fr", "it", "pt"})


class Set(NamedTuple):
    """A set of texts in known languages.

    Args:
        name: what it is.
        file: where it lies.
        lang: its language, None if each row says its own.
        only: languages that count, None for all.
        gate: least accuracy, None where none is asked for.
    """

    name: str
    file: str
    lang: str | None = None
    only: frozenset[str] | None = None
    gate: float | None = None


SETS = (
    Set("tweets, seven languages", "caveat/text/xlmt_train_val_8lang", only=SEVEN, gate=0.965),
    Set("German care posts", "nc/text/germeval2017_dev", "de", gate=0.985),
    Set("English care posts", "nc/text/airline_us_sentiment", "en", gate=0.99),
    Set("German tweets", "permissive/text/potts_german_tweets", "de"),
    Set("Hebrew comments", "permissive/text/hebrew_facebook_comments", "he"),
    Set("words to sentences, 32 languages", "caveat/text/lid_lingua_32lang"),
)


class Figures(NamedTuple):
    """What was measured of a set."""

    name: str
    texts: int
    right: float
    undecided: float
    decided: float
    any: float
    microseconds: float
    gate: float | None


def read(chosen: Set) -> list[tuple[str, str]]:
    """Return the (text, language) of a set."""
    with gzip.open(DATA / f"{chosen.file}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [(row["text"], chosen.lang or row["lang"]) for row in rows]
    return [pair for pair in texts if chosen.only is None or pair[1] in chosen.only]


def best_time(call: Callable[[str], Any], texts: Sequence[str]) -> float:
    """Return the microseconds of CPU time that a text takes, the best of three passes."""
    times = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            call(text)
        times.append(time.process_time() - start)
    return min(times) / len(texts) * 1e6


def measure(chosen: Set, detect: Detector) -> Figures:
    """Identify every text of a set."""
    pairs = read(chosen)
    found = [(identify_language(text, (), detect).code, lang) for text, lang in pairs]
    right = sum(code == lang for code, lang in found)
    undecided = sum(code == "und" for code, _ in found)
    guessed = sum(detect(clean(text))[0] == lang for text, lang in pairs)
    return Figures(
        chosen.name,
        len(pairs),
        right / len(pairs),
        undecided / len(pairs),
        right / (len(pairs) - undecided),
        guessed / len(pairs),
        best_time(lambda text: identify_language(text, (), detect), [text for text, _ in pairs]),
        chosen.gate,
    )


def mails() -> list[str]:
    """Return recorded replies."""
    archive = DATA / "permissive/payloads/email_reply_quotes_trimmer.tar.gz"
    with tarfile.open(archive) as files:
        members = [member for member in files if member.isfile() and "/emails/" in member.name]
        contents = [files.extractfile(member) for member in members]
        return [content.read().decode() for content in contents if content is not None]


def mending() -> dict[str, int]:
    """Return how texts are told to be broken, and what becomes of damaged ones."""
    told = texts = 0
    for path in sorted(DATA.glob("*/text/*.jsonl.gz")):
        if path.name.startswith("ftfy"):
            continue
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                text = json.loads(line).get("text")
                texts += text is not None
                told += text is not None and mended(text) is not None
    posts = [text for text, _ in read(SETS[1]) if not text.isascii()]
    found = [(mended(text.encode().decode("latin-1")), text) for text in posts]
    whole = sum(mending == text for mending, text in found)
    alone = sum(mending is None for mending, _ in found)
    return {
        "texts": texts,
        "told_broken": told,
        "damaged": len(found),
        "made_whole": whole,
        "left_alone": alone,
        "made_wrong": len(found) - whole - alone,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if not DATA.is_dir():
        parser.exit(2, "The real data (../shared/data) are not beside this checkout.\n")
    detect = load_detector()
    figures = [measure(chosen, detect) for chosen in SETS]
    replies = mails()
    posts = [text for text, _ in read(SETS[2])]
    reading = {
        "mails": len(replies),
        "characters_a_mail": round(sum(map(len, replies)) / len(replies)),
        "microseconds_a_mail": best_time(lambda text: own_words(text, "email"), replies * 40),
        "microseconds_a_post": best_time(lambda text: own_words(text, "post"), posts),
    }
    broken = mending()
    if asked.json:
        languages = [each._asdict() for each in figures]
        print(json.dumps({"language": languages, "own_words": reading, "mending": broken}))
    else:
        show(figures, reading)
        print("mending: " + ", ".join(f"{name} {count}" for name, count in broken.items()))
    missed = [each.name for each in figures if each.gate is not None and each.right < each.gate]
    for name in missed:
        print(f"below its gate: {name}", file=sys.stderr)
    return 1 if missed else 0


def show(figures: Sequence[Figures], reading: dict[str, float]) -> None:
    """Print a table."""
    print(
        f"{'set':34} {'texts':>6} {'right':>6} {'gate':>6} {'und':>6} {'decided':>7} {'any':>6} us"
    )
    for each in figures:
        gate = "" if each.gate is None else f"{each.gate:.3f}"
        print(
            f"{each.name:34} {each.texts:6} {each.right:6.4f} {gate:>6} {each.undecided:6.4f} "
            f"{each.decided:7.4f} {each.any:6.4f} {each.microseconds:.0f}"
        )
    print(
        f"own words: {reading['microseconds_a_mail']:.0f} us a mail of "
        f"{reading['characters_a_mail']} characters, {reading['microseconds_a_post']:.1f} us a post"
    )


if __name__ == "__main__":
    sys.exit(main())
