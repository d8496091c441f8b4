"""What the shipped model is trained on, and the one command that rebuilds it bit for bit.

    python -m klingel_models.recipe --data ../shared/data

Only texts whose licence lets a model be shipped are read (`permissive/` and `own/` of the data, and
the posts written for klingel beside this package); the card names each of them.
"""

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from klingel.errors import ConfigurationError
from klingel.language.heads import Group, encode
from klingel.language.training import Plan, Row, train

HERE = Path(__file__).resolve().parent
POSTS = HERE.parents[1] / "posts"
SHIPPED = HERE / "care" / "model.klm"
COMMAND = "python -m klingel_models.recipe --data ../shared/data"

TONES = ("negative", "neutral", "positive")
INTENTS = (
    "complaint",
    "problem",
    "question",
    "lead",
    "praise",
    "feedback",
    "cancellation",
    "spam",
)
LANGUAGES = ("de", "en", "other")

GROUPS = (
    Group("tone", tuple(f"tone:{tone}" for tone in TONES)),
    Group("lang", tuple(f"lang:{code}" for code in LANGUAGES)),
)

TOTALS = {
    "potts": 1500.0,
    "goemotions": 6000.0,
    "vader_tweets": 1500.0,
    "vader_reviews": 1500.0,
    "germeval2014": 700.0,
    "germeval2018": 500.0,
    "davidson": 500.0,
    "own": 1200.0,
    "ibm": 1000.0,
    "care_de": 1500.0,
    "care_en": 1500.0,
    "banking77": 300.0,
    "hebrew": 300.0,
    "other_languages": 600.0,
}
"""Weight that all rows of a source have together, whatever their number."""

_POSITIVE = frozenset(
    [
        "admiration",
        "amusement",
        "approval",
        "caring",
        "desire",
        "excitement",
        "gratitude",
        "joy",
        "love",
        "optimism",
        "pride",
        "relief",
    ]
)
_NEGATIVE = frozenset(
    [
        "anger",
        "annoyance",
        "disappointment",
        "disapproval",
        "disgust",
        "embarrassment",
        "fear",
        "grief",
        "nervousness",
        "remorse",
        "sadness",
    ]
)
_ANGRY = frozenset(("anger", "annoyance", "disgust"))

Raw = Mapping[str, Any]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a .jsonl or .jsonl.gz file; raises ConfigurationError when it is missing."""
    opener: Callable[..., Any] = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    yield json.loads(line)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be read"
        raise ConfigurationError(f"{path}: {reason}; name the folder of the data") from None
    except ValueError:
        raise ConfigurationError(f"{path}: a line is no JSON") from None


def one_of(prefix: str, names: tuple[str, ...], chosen: str) -> dict[str, bool]:
    """Return the answers of a group of which one is chosen."""
    return {f"{prefix}:{name}": name == chosen for name in names}


def intents(chosen: frozenset[str]) -> dict[str, bool]:
    """Return the answers of every intent; `issue` is a complaint or a problem."""
    answers = {f"intent:{name}": name in chosen for name in INTENTS}
    answers["intent:issue"] = bool(chosen & {"complaint", "problem"})
    return answers


def _language(code: str) -> dict[str, bool]:
    return one_of("lang", LANGUAGES, code)


def _potts(row: Raw) -> dict[str, bool]:
    tone = row["labels"]["sentiment"]
    return (one_of("tone", TONES, tone) if tone in TONES else {}) | _language("de")


def _goemotions(row: Raw) -> dict[str, bool]:
    emotions = frozenset(row["labels"]["emotions"])
    answers = {"anger": bool(emotions & _ANGRY)} | _language("en")
    if emotions == {"neutral"}:
        return answers | one_of("tone", TONES, "neutral")
    glad, sad = bool(emotions & _POSITIVE), bool(emotions & _NEGATIVE)
    if glad != sad:
        answers |= one_of("tone", TONES, "positive" if glad else "negative")
    return answers


def _vader(row: Raw) -> dict[str, bool]:
    valence = row["labels"]["valence"]
    tone = "positive" if valence > 0.5 else "negative" if valence < -0.5 else "neutral"
    return one_of("tone", TONES, tone) | _language("en")


def _germeval2014(_row: Raw) -> dict[str, bool]:
    return one_of("tone", TONES, "neutral") | intents(frozenset()) | _language("de")


def _germeval2018(row: Raw) -> dict[str, bool]:
    offence = row["labels"]["coarse"] == "OFFENSE"
    answers = {"offence_de": offence} | _language("de")
    return answers | one_of("tone", TONES, "negative") if offence else answers


def _davidson(row: Raw) -> dict[str, bool]:
    return {"offence_en": row["labels"]["offence"] != "neither"} | _language("en")


def _banking(_row: Raw) -> dict[str, bool]:
    return {"intent:question": True, "intent:praise": False, "intent:spam": False} | _language("en")


def care(row: Raw) -> dict[str, bool]:
    """Return the answers of a labelled care post; several intents are a list."""
    labels = row["labels"]
    answers: dict[str, bool] = {}
    if "tone" in labels:
        answers |= one_of("tone", TONES, labels["tone"])
    if "intent" in labels:
        said = labels["intent"]
        answers |= intents(frozenset([said] if isinstance(said, str) else said))
    if row.get("lang") in ("de", "en"):
        answers |= _language(row["lang"])
    return answers


def _other(_row: Raw) -> dict[str, bool]:
    return _language("other")


def _all(_row: Raw) -> bool:
    return True


SOURCES: tuple[tuple[str, str, Callable[[Raw], dict[str, bool]], Callable[[Raw], bool]], ...] = (
    ("potts", "permissive/text/potts_german_tweets.jsonl.gz", _potts, _all),
    (
        "goemotions",
        "permissive/text/goemotions.jsonl.gz",
        _goemotions,
        lambda row: row["meta"]["split"] == "train",
    ),
    (
        "vader_tweets",
        "permissive/text/vader_valence.jsonl.gz",
        _vader,
        lambda row: row["meta"]["kind"] == "tweet",
    ),
    (
        "vader_reviews",
        "permissive/text/vader_valence.jsonl.gz",
        _vader,
        lambda row: row["meta"]["kind"] != "tweet",
    ),
    ("germeval2014", "permissive/text/germeval2014_ner_dev.jsonl.gz", _germeval2014, _all),
    ("germeval2018", "permissive/text/germeval2018_train.jsonl.gz", _germeval2018, _all),
    ("davidson", "permissive/text/davidson_offensive.jsonl.gz", _davidson, _all),
    (
        "banking77",
        "permissive/text/banking77_train.jsonl.gz",
        _banking,
        lambda row: int(row["id"].rpartition("-")[2]) % 10 == 0,
    ),
    ("hebrew", "permissive/text/hebrew_facebook_comments.jsonl.gz", _other, _all),
    ("own", "own/care_posts.jsonl.gz", care, _all),
    ("ibm", "own/ibm_first_turn_labels.jsonl.gz", care, _all),
)
"""Name, file under the data, answers of a row, and which rows."""

POST_SOURCES = ("care_de", "care_en")
"""Files of the posts written for klingel; `irony` is for evaluation only."""


def rows_of(data: Path, posts: Path = POSTS) -> list[Row]:
    """Return the training rows of the shipped model, in a fixed order.

    Raises:
        ConfigurationError: a file is missing or broken.
    """
    rows = [
        Row(row["text"], name, answers)
        for name, file, answer, wanted in SOURCES
        for row in lines(data / file)
        if wanted(row) and (answers := answer(row))
    ]
    for name in POST_SOURCES:
        rows += [Row(row["text"], name, care(row)) for row in lines(posts / f"{name}.jsonl")]
    rows += [
        Row(row["text"], "other_languages", _other(row))
        for row in lines(posts / "other_languages.jsonl")
    ]
    return rows


def plan_of(data: Path, posts: Path = POSTS) -> Plan:
    """Return how the shipped model is fitted, with the digest of every file it is trained on."""
    files = [data / file for file in dict.fromkeys(file for _, file, _, _ in SOURCES)]
    files += [posts / f"{name}.jsonl" for name in (*POST_SOURCES, "other_languages")]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}
    return Plan(
        totals=TOTALS,
        groups=GROUPS,
        cost=0.1,
        thresholds=THRESHOLDS,
        about={"name": "care", "command": COMMAND, "files": digests},
    )


THRESHOLDS: dict[str, float] = {}


def main(arguments: list[str] | None = None) -> int:
    """Rebuild the shipped model; returns the exit code."""
    parser = argparse.ArgumentParser(description="Rebuild the shipped model bit for bit.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="model file to write")
    chosen = parser.parse_args(arguments)
    try:
        rows = rows_of(chosen.data)
        body = encode(train(rows, plan_of(chosen.data), lambda name: print(name, file=sys.stderr)))  # noqa: T201 - a script that tells how far it is
    except (ConfigurationError, OSError) as error:
        print(f"klingel: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 2
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()
    print(f"{chosen.output}: {len(body):,} bytes, sha256 {digest}")  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main())
