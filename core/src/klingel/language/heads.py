"""Linear heads over one shared dictionary of words, word pairs and 4-letter parts of words.

One pass over a text gives the score of every head (tone, intents, anger, offence, language). The
score of a head is

    (sum of the weights of the parts) / sqrt(sum of their squared idf)
    + the same of words and pairs + bias

so that both sums decompose by word: each distinct word is evaluated once and remembered. Weights
are whole numbers, and sums of whole numbers below 2^24 are exact in float32, so that a score
depends on the text alone: not on what else is in the batch, what was seen before or how much is
remembered.

The design and its measurements: memo of summed rows per word, numpy for all words of a batch.
"""

import base64
import hashlib
import itertools
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.errors import ConfigurationError

MAGIC = b"klingel heads\n"
FORMAT = 1
_BLOCKS = 7
READ = 2_000
"""Characters of a text that are read: the first 1,500 and the last 500 of a longer one."""
READ_HEAD = 1_500
MOST_TOKENS = 400
"""Words of a text that are read; more are emoji or signs in masses."""
LONGEST_WORD = 40
PART = 4
LAST_LATIN = "\u024f"
"""Words that begin beyond it are one word: the heads know German and English."""
MEMO_ROWS = 100_000
SCRATCH_ROWS = 8_192
IDF_STEPS = 4
"""Inverse document frequencies are multiples of 1/4, so that sums of their squares are exact."""
LARGEST_FILE = 32 << 20

PIECES = 40_000
"""Twice as many different pieces between blanks are remembered with the rows of their words."""
LONGEST_PIECE = 30

_AT_ONCE = 1_024
"""Words whose parts are gathered together: memory that is used once stays with the process."""
_SIEVE_BITS = 19
_SIEVE_FACTOR = 0x1E3779B97F4A7C15
"""Odd; products of it are spread over the high bits, and overflow as they do in any int64."""

NOTHING = 1
"""Row of a word of which nothing is known; row 0 stands for no word at all."""

_TOKEN = re.compile(
    r"https?://\S+|www\.\S+"
    r"|[@\uff20]\w+"
    r"|[^\W_]{1,40}(?:['\u2019][^\W\d_]{1,3}\b)?"
    r"|<3+|[:;=][-'^o]{0,2}[)(\]\[DdPp3/\\|*oO]+(?!\w)|\^\^|-[._]+-|\(:|\):"
    r"|[?!]+|\.\.+|\u2026|[%\u20ac$]"
    r"|[\u2600-\u27bf\U0001f300-\U0001faff]"
)
_GLAD = re.compile(r"<3+|[:;=][-'^o]{0,2}[)\]DdPp3*]+|\^\^|\(:")
_SAD = re.compile(r"[:;=][-'^o]{0,2}[(\[/\\|]+|-[._]+-|\):")
_LONG_DRAWN = re.compile(r"(.)\1{2,}")
_DIGIT = re.compile(r"\d")
_GLAD_EMOJI = frozenset(
    "\U0001f600\U0001f601\U0001f603\U0001f604\U0001f606\U0001f60a\U0001f60b\U0001f60d\U0001f60e"
    "\U0001f618\U0001f619\U0001f61a\U0001f642\U0001f917\U0001f929\U0001f970\U0001f973\U0001f44d"
    "\U0001f44f\U0001f44c\U0001f64c\U0001f64f\U0001f389\U0001f38a\U0001f495\U0001f496\U0001f497"
    "\U0001f498\U0001f499\U0001f49a\U0001f49b\U0001f49c\U0001f9e1\U0001f496\u263a\u2665\u2764"
    "\U0001f609\U0001f607\U0001f60c\U0001f61c\U0001f61d\U0001f4aa\U0001f31f\u2728\U0001f60f"
)
_SAD_EMOJI = frozenset(
    "\U0001f610\U0001f611\U0001f612\U0001f613\U0001f614\U0001f615\U0001f616\U0001f61e\U0001f61f"
    "\U0001f620\U0001f621\U0001f622\U0001f623\U0001f624\U0001f625\U0001f626\U0001f627\U0001f628"
    "\U0001f629\U0001f62a\U0001f62b\U0001f62d\U0001f630\U0001f631\U0001f633\U0001f641\u2639"
    "\U0001f644\U0001f92c\U0001f92f\U0001f926\U0001f44e\U0001f4a9\U0001f494\U0001f595\U0001f92e"
    "\U0001f922\U0001f643"
)
_SIGNS = {"?": "zzask", "!": "zzcall", ".": "zzdots", "\u2026": "zzdots"}
SHOUT = "zzshout"
_PASSING = re.compile(r"[@\uff20]|https?:|www\.|.*\d")


class Features(NamedTuple):
    """What one token is to the heads: its normal form and whether it is shouted."""

    word: str
    shouted: bool


def tokens(text: str) -> list[str]:
    """Return the words, signs, emoticons, mentions and addresses of what is read of a text."""
    if len(text) > READ:
        text = text[:READ_HEAD] + " " + text[READ_HEAD - READ :]
    return _TOKEN.findall(text)[:MOST_TOKENS]


def features(token: str) -> Features:  # noqa: PLR0911 - one return a class of tokens
    """Return the normal form of a token: lower case, digits as 0, classes of signs as `zz...`."""
    first = token[0]
    if first.isalnum():
        if token.startswith(("http://", "https://", "www.")):
            return Features("zzurl", shouted=False)
        if first > LAST_LATIN:
            return Features("zzscript", shouted=False)
        word = token.lower()
        if word.isalpha():
            shouted = len(token) > 2 and token.isupper() and word != token
            return Features(_LONG_DRAWN.sub(r"\1\1", word), shouted)
        word = _DIGIT.sub("0", word.replace("\u2019", "'"))
        return Features(_LONG_DRAWN.sub(r"\1\1", word), shouted=False)
    if first in "@\uff20":
        return Features("zzuser", shouted=False)
    if token in _GLAD_EMOJI or _GLAD.fullmatch(token):
        return Features("zzpos", shouted=False)
    if token in _SAD_EMOJI or _SAD.fullmatch(token):
        return Features("zzneg", shouted=False)
    if first in "?!" and len(token) > 1:
        return Features("zzcalls" if "?" not in token else "zzasks", shouted=False)
    return Features(_SIGNS.get(first, token), shouted=False)


def parts(word: str) -> list[str]:
    """Return the 4-letter parts of a word with a blank on both sides; none of classes and signs."""
    if word.startswith("zz") or not word[0].isalnum():
        return []
    padded = f" {word} "
    return [padded[i : i + PART] for i in range(len(padded) - PART + 1)]


@dataclass(frozen=True, slots=True)
class Output:
    """One head.

    Args:
        name: such as `tone:negative` or `anger`.
        bias: added to every score.
        word_scale: what one step of a word's weight is worth.
        part_scale: what one step of a part's weight is worth.
        slope: of the logistic curve that makes a probability of a score; of a group's outputs, all
            have the group's own.
        shift: of that curve.
        threshold: lowest probability at which the label is given.
    """

    name: str
    bias: float
    word_scale: float
    part_scale: float
    slope: float = 1.0
    shift: float = 0.0
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Group:
    """Outputs of which one is the answer, or none.

    Args:
        name: such as `tone`.
        outputs: names of the outputs, in order.
        threshold: lowest score of the best output; below it none is the answer.
        inside: output that tells whether any of the group applies, weighed half into that score.
    """

    name: str
    outputs: tuple[str, ...]
    threshold: float | None = None
    inside: str | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """What is stored of a model, in the order of its outputs.

    Args:
        words: normal forms; a word's position is its number.
        pairs: (n, 2) numbers of the two words of each known pair, sorted.
        parts: 4-letter parts.
        word_weights: (words + pairs, outputs) int8.
        part_weights: (parts, outputs) int8.
        word_idf: (words + pairs) uint8, in quarters.
        part_idf: (parts) uint8, in quarters.
        outputs: the heads.
        groups: outputs that exclude each other.
        about: version, sources, training command, for the card and the reader.
    """

    words: tuple[str, ...]
    pairs: NDArray[np.int32]
    parts: tuple[str, ...]
    word_weights: NDArray[np.int8]
    part_weights: NDArray[np.int8]
    word_idf: NDArray[np.uint8]
    part_idf: NDArray[np.uint8]
    outputs: tuple[Output, ...]
    groups: tuple[Group, ...]
    about: Mapping[str, Any] = field(default_factory=dict)


def encode(weights: Weights) -> bytes:
    """Write a model as one file's bytes; the same weights give the same bytes."""
    blocks = [
        "\n".join(weights.words).encode(),
        np.ascontiguousarray(weights.pairs.T, dtype="<i4").tobytes(),
        "\n".join(weights.parts).encode(),
        np.ascontiguousarray(weights.word_weights.T).tobytes(),
        np.ascontiguousarray(weights.part_weights.T).tobytes(),
        weights.word_idf.tobytes(),
        weights.part_idf.tobytes(),
    ]
    packed = [zlib.compress(block, 9) for block in blocks]
    body = b"".join(packed)
    header = json.dumps(
        {
            "about": dict(weights.about),
            "outputs": [asdict(output) for output in weights.outputs],
            "groups": [asdict(group) for group in weights.groups],
            "counts": [len(weights.words), len(weights.pairs), len(weights.parts)],
            "blocks": [len(block) for block in packed],
        },
        ensure_ascii=False,
        sort_keys=True,
    ).encode()
    digest = hashlib.sha256(header + body).digest()
    return MAGIC + struct.pack("<HI", FORMAT, len(header)) + digest + header + body


def decode(data: bytes, name: str) -> Weights:
    """Read a model's bytes.

    Args:
        data: the file's bytes.
        name: of the file, for the sentence of the error.

    Raises:
        ConfigurationError: no model, one of another format version, or a torn one.
    """
    if not data.startswith(MAGIC):
        raise ConfigurationError(f"{name}: this is no model of klingel; name a .klm file")
    after = len(MAGIC) + 6
    start = after + hashlib.sha256().digest_size
    if len(data) < start:
        raise ConfigurationError(f"{name}: the model file is torn; fetch or train it again")
    version, size = struct.unpack("<HI", data[len(MAGIC) : after])
    if version != FORMAT:
        raise ConfigurationError(
            f"{name}: the model file has format {version}, this release reads {FORMAT}; "
            "train it again with this release"
        )
    torn = hashlib.sha256(data[start:]).digest() != data[after:start]
    try:
        if torn:
            raise ValueError  # noqa: TRY301 - one sentence for every way to be torn
        return _weights(json.loads(data[start : start + size]), data[start + size :])
    except (ValueError, KeyError, TypeError, zlib.error, RecursionError):
        raise ConfigurationError(
            f"{name}: the model file is torn; fetch or train it again"
        ) from None


def _blocks(sizes: Sequence[int], body: bytes) -> Iterator[bytes]:
    """Yield the seven blocks of a model one by one, so that none is held longer than it is read."""
    if len(sizes) != _BLOCKS:
        raise ValueError
    at = 0
    for size in sizes:
        unpacker = zlib.decompressobj()
        block = unpacker.decompress(body[at : at + size], LARGEST_FILE)
        if not unpacker.eof:
            raise ValueError
        yield block
        at += size


def _weights(header: Mapping[str, Any], body: bytes) -> Weights:
    blocks = _blocks(header["blocks"], body)
    words, pairs, grams = header["counts"]
    outputs = tuple(Output(**output) for output in header["outputs"])
    wide = len(outputs)
    weights = Weights(
        words=_listed(next(blocks), words),
        pairs=np.frombuffer(next(blocks), "<i4").reshape(2, pairs).T.astype(np.int32),
        parts=_listed(next(blocks), grams),
        word_weights=_by_row(next(blocks), wide, words + pairs),
        part_weights=_by_row(next(blocks), wide, grams),
        word_idf=np.frombuffer(next(blocks), np.uint8),
        part_idf=np.frombuffer(next(blocks), np.uint8),
        outputs=outputs,
        groups=tuple(
            Group(**{**group, "outputs": tuple(group["outputs"])}) for group in header["groups"]
        ),
        about=header["about"],
    )
    right = (
        len(weights.words) == words == len(set(weights.words))
        and len(weights.parts) == grams
        and len(weights.word_idf) == words + pairs
        and len(weights.part_idf) == grams
        and (pairs == 0 or 0 <= int(weights.pairs.min()) <= int(weights.pairs.max()) < words)
    )
    if not right:
        raise ValueError
    return weights


def _listed(block: bytes, count: int) -> tuple[str, ...]:
    return tuple(block.decode().split("\n")) if count else ()


def _by_row(block: bytes, wide: int, rows: int) -> NDArray[np.int8]:
    """Return stored weights, an output after the other, as (rows, outputs): rows are gathered."""
    return np.ascontiguousarray(np.frombuffer(block, np.int8).reshape(wide, rows).T)


def narrowed(weights: Weights, wanted: Callable[[str], bool]) -> Weights:
    """Return a model with the wanted outputs alone: it costs less, and scores them alike.

    Args:
        weights: the model.
        wanted: says of an output's name whether it is kept; of a group all are, or none.
    """
    kept = [number for number, output in enumerate(weights.outputs) if wanted(output.name)]
    return replace(
        weights,
        word_weights=weights.word_weights.take(kept, 1),
        part_weights=weights.part_weights.take(kept, 1),
        outputs=tuple(weights.outputs[number] for number in kept),
        groups=tuple(group for group in weights.groups if all(map(wanted, group.outputs))),
    )


class Answer(NamedTuple):
    """What a group of outputs answers: None when nothing passes its threshold."""

    label: str | None
    probability: float


class Weighed(NamedTuple):
    """How much one word, pair (`not happy`) or part (`…dela…`) of a text adds to a score."""

    piece: str
    weight: float


def _squares(idf: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.square(idf.astype(np.float32))


def _mixed(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a place in the sieve for each key."""
    return (keys * _SIEVE_FACTOR >> (63 - _SIEVE_BITS)) & ((1 << _SIEVE_BITS) - 1)


class _Pieces(dict[str, tuple[int, ...]]):
    """Rows of the words of what stands between blanks, as long as it is in use.

    No token reaches across a blank, so the tokens of a text are those of its pieces: a look-up of
    each piece saves taking nearly every text apart.

    Args:
        rows_of: finds the rows of a piece.
        bound: rows from here on mean something else in another batch.
    """

    def __init__(self, rows_of: Callable[[str], tuple[int, ...]], bound: int) -> None:
        super().__init__()
        self._rows_of = rows_of
        self._bound = bound
        self._older: dict[str, tuple[int, ...]] = {}

    def __missing__(self, piece: str) -> tuple[int, ...]:
        rows = self._older.get(piece)
        if rows is None:
            rows = self._rows_of(piece)
            if len(piece) > LONGEST_PIECE or (rows and max(rows) >= self._bound):
                return rows
        if len(self) >= PIECES:
            self._older = dict(self)
            self.clear()
        self[piece] = rows
        return rows


class _Unknown:
    """Words of a batch that were not remembered.

    Attributes:
        scratch: rows by token, for this batch alone.
        new: (row, whether shouted) of those that are still to be filled.
        pending: the numbers of the parts of each of `new`.
    """

    __slots__ = ("new", "pending", "scratch")

    def __init__(self) -> None:
        self.scratch: dict[str, int] = {}
        self.new: list[tuple[int, bool]] = []
        self.pending: list[list[int]] = []

    def is_full(self) -> bool:
        """Whether the words of a further text might find no room."""
        return len(self.scratch) > SCRATCH_ROWS - MOST_TOKENS - 1 or len(self.new) > SCRATCH_ROWS


class _Sums(NamedTuple):
    """Sums over the words of texts: weights (texts, 2 * outputs), squares of idf (texts, 2)."""

    weights: NDArray[np.int32]
    squares: NDArray[np.float32]


class Heads:
    """A loaded model. Not for several threads at once.

    Args:
        weights: what `decode` read.
        memo_rows: distinct words that are remembered beyond the model's own; further ones are
            evaluated each time they occur.
    """

    def __init__(self, weights: Weights, *, memo_rows: int = MEMO_ROWS) -> None:
        self.outputs = weights.outputs
        self.groups = {group.name: group for group in weights.groups}
        self.names = tuple(output.name for output in weights.outputs)
        self.column = {name: number for number, name in enumerate(self.names)}
        self.about = weights.about
        # Rows are gathered: each has to lie in one piece, in one byte a weight as in the file.
        self._weights = weights = replace(
            weights,
            word_weights=np.ascontiguousarray(weights.word_weights),
            part_weights=np.ascontiguousarray(weights.part_weights),
        )
        self._wide = wide = len(weights.outputs)
        self._part_number = {part: number for number, part in enumerate(weights.parts)}
        self._part_squares = _squares(weights.part_idf)
        self._word_squares = _squares(weights.word_idf)
        words = len(weights.words)
        own = words + NOTHING + 1
        numbers = weights.pairs.astype(np.int64) + NOTHING + 1
        self._pair_keys = (numbers[:, 0] << 32) | numbers[:, 1]
        # Most neighbours are no pair: a look into half a megabyte spares a search among all of them.
        self._pair_sieve = np.zeros(1 << _SIEVE_BITS, np.bool_)
        self._pair_sieve[_mixed(self._pair_keys)] = True
        self._word_number = {word: number for number, word in enumerate(weights.words, NOTHING + 1)}
        self._shout = self._word_number.get(SHOUT)
        self._bound = own + memo_rows
        # Of each row the weights of its parts, and the squares of its parts' and its word's idf; two
        # bytes hold the sum of a word's parts. The word's own weights stay where they were read.
        # Pages that were never written take no memory.
        self._rows = np.empty((self._bound + SCRATCH_ROWS, wide), np.int16)
        self._squares = np.empty((self._bound + SCRATCH_ROWS, 2), np.float32)
        self._plain = np.zeros(self._bound + SCRATCH_ROWS, np.int64)
        self._plain[:own] = np.arange(own)
        self._shouts = np.zeros(self._bound + SCRATCH_ROWS, np.bool_)
        self._rows[: NOTHING + 1] = 0
        self._squares[: NOTHING + 1] = 0
        for at in range(0, words, _AT_ONCE):
            some = weights.words[at : at + _AT_ONCE]
            place = slice(at + NOTHING + 1, at + NOTHING + 1 + len(some))
            found = self._evaluate([self._parts_of(word) for word in some])
            self._rows[place], self._squares[place, 0] = found
        self._squares[NOTHING + 1 : own, 1] = self._word_squares[:words]
        self._free = own
        self._memo = {
            word: number
            for word, number in self._word_number.items()
            if features(word) == Features(word, shouted=False)
        }
        self._most_memo = len(self._memo) + memo_rows
        self._unknown = _Unknown()
        self._pieces_seen = _Pieces(self._rows_of_piece, self._bound)
        self._part_scale = np.array([o.part_scale for o in weights.outputs], np.float32)
        self._word_scale = np.array([o.word_scale for o in weights.outputs], np.float32)
        self._bias = np.array([o.bias for o in weights.outputs], np.float32)
        self._slope = np.array([o.slope for o in weights.outputs], np.float32)
        self._shift = np.array([o.shift for o in weights.outputs], np.float32)

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the scores of texts, (texts, outputs); best in batches of 100 and more.

        Of a text longer than `READ` characters its first 1,500 and its last 500 are read, of
        these at most `MOST_TOKENS` words and signs.
        """
        scores = np.empty((len(texts), self._wide), np.float32)
        done = 0
        while done < len(texts):
            done += self._score_some(texts, done, scores)
        return scores

    def _score_some(self, texts: Sequence[str], start: int, scores: NDArray[np.float32]) -> int:
        """Score texts from `start` on while there is room for unknown words; return how many."""
        unknown = self._unknown = _Unknown()
        known, look, rows_of = self._memo.get, self._look, self._pieces_seen.__getitem__
        flat: list[int] = []
        ends: list[int] = []
        for text in itertools.islice(texts, start, None):
            # As many characters are no more tokens.
            if len(text) > MOST_TOKENS:
                flat += [known(token) or look(token) for token in tokens(text)]
            else:
                flat += itertools.chain.from_iterable(map(rows_of, text.split()))
            if len(flat) == (ends[-1] if ends else 0):
                flat.append(0)
            ends.append(len(flat))
            if unknown.is_full():
                break
        if unknown.new:
            self._fill(unknown)
        numbers = np.array(flat, np.int64)
        until = np.array(ends, np.int64)
        starts = np.concatenate(([0], until[:-1]))
        plain = self._plain.take(numbers)
        sums = _Sums(
            np.concatenate(
                (
                    np.add.reduceat(self._rows.take(numbers, 0), starts, dtype=np.int32),
                    self._of_words(numbers, plain, starts),
                ),
                axis=1,
            ),
            np.add.reduceat(self._squares.take(numbers, 0), starts),
        )
        self._add_pairs(sums, plain, until, starts)
        scores[start : start + len(ends)] = self._finish(sums)
        return len(ends)

    def _of_words(
        self, numbers: NDArray[np.int64], plain: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Return the sums of the words' own weights, shouting included, (texts, outputs)."""
        known = plain > NOTHING
        weights = self._weights.word_weights
        taken = weights.take(np.where(known, plain - NOTHING - 1, 0), 0) if len(weights) else None
        if taken is None:
            return np.zeros((len(starts), self._wide), np.int32)
        taken[~known] = 0
        sums: NDArray[np.int32] = np.add.reduceat(taken, starts, dtype=np.int32)
        if self._shout is not None:
            shouted = self._shouts.take(numbers)
            if shouted.any():
                times = np.add.reduceat(shouted, starts, dtype=np.int32)
                sums += times[:, None] * weights[self._shout - NOTHING - 1].astype(np.int32)
        return sums

    def _rows_of_piece(self, piece: str) -> tuple[int, ...]:
        known, look = self._memo.get, self._look
        return tuple([known(token) or look(token) for token in _TOKEN.findall(piece)])

    def _look(self, token: str) -> int:
        """Return the row of a token that is not remembered; a new one is filled before it is read."""
        number = self._unknown.scratch.get(token)
        if number is not None:
            return number
        word, shouted = features(token)
        key = token if shouted else word
        number = self._memo.get(key) or self._unknown.scratch.get(key)
        if number is None:
            number = self._new_row(word, shouted=shouted)
            self._remember(key, number)
        if key != token and not _PASSING.match(token):
            self._remember(token, number)
        return number

    def _new_row(self, word: str, *, shouted: bool) -> int:
        plain = self._word_number.get(word)
        if plain is not None and not shouted:
            return plain
        found = self._parts_of(word)
        if not (found or shouted):
            return NOTHING
        number = self._take()
        self._plain[number] = NOTHING if plain is None else plain
        self._unknown.pending.append(found)
        self._unknown.new.append((number, shouted))
        return number

    def _take(self) -> int:
        if self._free < self._bound and len(self._memo) < self._most_memo:
            self._free += 1
            return self._free - 1
        return self._bound + len(self._unknown.scratch)

    def _remember(self, token: str, number: int) -> None:
        if number < self._bound and len(self._memo) < self._most_memo:
            self._memo[token] = number
        else:
            self._unknown.scratch[token] = number

    def _fill(self, unknown: _Unknown) -> None:
        """Evaluate the words that were met for the first time."""
        new = unknown.new
        numbers = np.array([number for number, _ in new])
        squares = self._squares[self._plain[numbers]]
        self._rows[numbers], squares[:, 0] = self._evaluate(unknown.pending)
        if self._shout is not None:
            shouted = np.array([shouted for _, shouted in new])
            squares[shouted, 1] += self._squares[self._shout, 1]
            self._shouts[numbers] = shouted
        self._squares[numbers] = squares

    def _parts_of(self, word: str) -> list[int]:
        """Return the numbers of the known parts of a word."""
        number = self._part_number.get
        return [found for part in parts(word) if (found := number(part)) is not None]

    def _evaluate(
        self, found: Sequence[Sequence[int]]
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Return the weights and the squares of words given by their parts."""
        lengths = np.array([len(each) for each in found], np.int64)
        rows = np.zeros((len(found), self._wide), np.int16)
        squares = np.zeros(len(found), np.float32)
        some = np.flatnonzero(lengths)
        if len(some):
            flat = np.fromiter(itertools.chain.from_iterable(found), np.int64)
            starts = (np.cumsum(lengths) - lengths)[some]
            squares[some] = np.add.reduceat(self._part_squares.take(flat), starts)
            for at in range(0, len(some), _AT_ONCE):
                until = min(at + _AT_ONCE, len(some))
                end = starts[until] if until < len(some) else len(flat)
                taken = self._weights.part_weights.take(flat[starts[at] : end], 0)
                rows[some[at:until]] = np.add.reduceat(
                    taken, starts[at:until] - starts[at], dtype=np.int16
                )
        return rows, squares

    def _add_pairs(
        self,
        sums: _Sums,
        plain: NDArray[np.int64],
        ends: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> None:
        """Add the known pairs of neighbouring words, none across two texts."""
        if not len(self._pair_keys) or len(plain) < 2:
            return
        keys = (plain[:-1] << 32) | plain[1:]
        may_be = self._pair_sieve.take(_mixed(keys))
        may_be[ends[:-1] - 1] = False
        some = np.flatnonzero(may_be)
        keys = keys.take(some)
        place = np.searchsorted(self._pair_keys, keys)
        place[place == len(self._pair_keys)] = 0
        hit = self._pair_keys.take(place) == keys
        hits = some[hit]
        if len(hits):
            text = np.searchsorted(starts, hits, "right") - 1
            which, first = np.unique(text, return_index=True)
            pairs = len(self._weights.words) + place[hit]
            taken = self._weights.word_weights.take(pairs, 0)
            sums.weights[which, self._wide :] += np.add.reduceat(taken, first, dtype=np.int32)
            sums.squares[which, 1] += np.add.reduceat(self._word_squares.take(pairs), first)

    def _finish(self, sums: _Sums) -> NDArray[np.float32]:
        wide = self._wide
        norms = np.sqrt(np.maximum(sums.squares, 1.0))
        weights = sums.weights.astype(np.float32)
        of_parts = weights[:, :wide] * self._part_scale / norms[:, :1]
        of_words = weights[:, wide:] * self._word_scale / norms[:, 1:]
        return (of_parts + of_words + self._bias).astype(np.float32, copy=False)

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return calibrated probabilities of scores, same shape.

        Outputs of a group that has no threshold (tone, language) add up to 1; every other one
        stands for itself.
        """
        logits = scores * self._slope + self._shift
        # The bounds keep exp from overflowing; beyond them the probability is 0 or 1 anyway.
        result: NDArray[np.float32] = (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(
            np.float32
        )
        for group in self.groups.values():
            if group.threshold is None:
                columns = [self.column[name] for name in group.outputs]
                some = logits[:, columns]
                powers = np.exp(some - some.max(axis=1, keepdims=True))
                result[:, columns] = powers / powers.sum(axis=1, keepdims=True)
        return result

    def answers(self, group: str, scores: NDArray[np.float32]) -> list[Answer]:
        """Return what a group answers for each text: its best output, or None when rejected.

        Raises:
            ConfigurationError: the model has no such group.
        """
        if group not in self.groups:
            raise ConfigurationError(f"the model has no group {group!r} of outputs")
        asked = self.groups[group]
        columns = [self.column[name] for name in asked.outputs]
        labels = [name.partition(":")[2] or name for name in asked.outputs]
        some = scores[:, columns]
        best = some.argmax(axis=1)
        likely = self.probabilities(scores)[:, columns]
        sure = self.sureness(group, scores)
        limit = -math.inf if asked.threshold is None else asked.threshold
        return [
            Answer(labels[choice] if value >= limit else None, float(row[choice]))
            for choice, value, row in zip(best.tolist(), sure.tolist(), likely, strict=True)
        ]

    def sureness(self, group: str, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what a group's threshold is compared with: its best score, and `inside`."""
        asked = self.groups[group]
        best: NDArray[np.float32] = scores[:, [self.column[n] for n in asked.outputs]].max(axis=1)
        sure = best
        if asked.inside is not None:
            sure = best + np.float32(0.5) * scores[:, self.column[asked.inside]]
        return sure

    def explain(self, text: str, output: str, top: int = 10) -> list[Weighed]:
        """Return the pieces of a text that weighed most in one output's score, heaviest first.

        The weights of all pieces (`top` large enough) and the output's bias add up to the score.

        Raises:
            ConfigurationError: the model has no such output.
        """
        if output not in self.column:
            raise ConfigurationError(
                f"the model has no output {output!r}; it has {', '.join(self.names)}"
            )
        column = self.column[output]
        pieces = self._pieces(text)
        weights = self._weights
        of_words = sum(
            int(weights.word_idf[number]) ** 2 for is_word, number, _ in pieces if is_word
        )
        of_parts = sum(
            int(weights.part_idf[number]) ** 2 for is_word, number, _ in pieces if not is_word
        )
        word_step = self.outputs[column].word_scale / math.sqrt(max(of_words, 1))
        part_step = self.outputs[column].part_scale / math.sqrt(max(of_parts, 1))
        found: dict[str, float] = {}
        for is_word, number, name in pieces:
            table = weights.word_weights if is_word else weights.part_weights
            weight = int(table[number, column]) * (word_step if is_word else part_step)
            found[name] = found.get(name, 0.0) + weight
        ranked = sorted(found.items(), key=lambda item: (-abs(item[1]), item[0]))
        return [Weighed(piece, weight) for piece, weight in ranked[:top]]

    def _pieces(self, text: str) -> list[tuple[bool, int, str]]:
        """Return what a text is made of: whether word or pair, number, and how it is shown."""
        words = self._weights.words
        pair_number = {key: number for number, key in enumerate(self._pair_keys.tolist())}
        pieces: list[tuple[bool, int, str]] = []
        before = 0
        for token in tokens(text):
            word, shouted = features(token)
            for name in (word, SHOUT) if shouted else (word,):
                number = self._word_number.get(name)
                if number is not None:
                    pieces.append((True, number - NOTHING - 1, name))
            pieces.extend(
                (False, self._part_number[part], f"…{part.replace(' ', '_')}…")
                for part in parts(word)
                if part in self._part_number
            )
            now = self._word_number.get(word, NOTHING)
            pair = pair_number.get((before << 32) | now)
            if pair is not None:
                pieces.append((True, len(words) + pair, f"{words[before - NOTHING - 1]} {word}"))
            before = now
        return pieces

    @property
    def remembered(self) -> int:
        """How many tokens are remembered, the model's own words included."""
        return len(self._memo)

    @property
    def weights(self) -> Weights:
        """What was loaded."""
        return self._weights


def load_heads(path: Path, *, memo_rows: int = MEMO_ROWS) -> Heads:
    """Load a model file.

    Raises:
        ConfigurationError: it is missing, torn, no model or of another format; the sentence names
            the file.
    """
    return Heads(decode(read_file(path), str(path)), memo_rows=memo_rows)


def read_file(path: Path) -> bytes:
    """Return a model file's bytes; raises ConfigurationError when it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigurationError(f"{path}: too large for a model of klingel")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigurationError(f"{path}: {reason}; name a model file") from None


def version_of(data: bytes) -> str:
    """Return the version that events carry: a digest of the file's bytes, 12 characters."""
    return base64.b32encode(hashlib.sha256(data).digest())[:12].decode().lower()
