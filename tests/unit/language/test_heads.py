"""Heads: a score depends on the text alone, whatever was seen before; broken files are named."""

import itertools
import random
import struct
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.errors import ConfigurationError
from klingel.language.heads import (
    FORMAT,
    MAGIC,
    MOST_TOKENS,
    READ,
    SCRATCH_ROWS,
    Features,
    Group,
    Heads,
    Output,
    Weights,
    decode,
    encode,
    features,
    load_heads,
    narrowed,
    parts,
    tokens,
)

WORDS = [
    "zzuser",
    "zzurl",
    "zzask",
    "zzcall",
    "zzcalls",
    "zzpos",
    "zzneg",
    "zzshout",
    "zzscript",
    "00",
    "der",
    "zug",
    "ist",
    "zu",
    "spät",
    "danke",
    "super",
    "nicht",
    "gut",
    "the",
    "train",
    "is",
    "late",
    "thanks",
    "great",
    "not",
    "good",
    "never",
    "again",
    "bill",
]


def small_model(seed: int = 7) -> Weights:
    """Return a model with three outputs and weights from a seed."""
    chance = np.random.default_rng(seed)
    pairs = sorted((WORDS.index(a), WORDS.index(b)) for a, b in [("not", "good"), ("nicht", "gut")])
    pieces = sorted({part for word in WORDS for part in parts(word)})
    rows = len(WORDS) + len(pairs)
    return Weights(
        words=tuple(WORDS),
        pairs=np.array(pairs, np.int32),
        parts=tuple(pieces),
        word_weights=chance.integers(-127, 128, (rows, 3)).astype(np.int8),
        part_weights=chance.integers(-127, 128, (len(pieces), 3)).astype(np.int8),
        word_idf=chance.integers(4, 50, rows).astype(np.uint8),
        part_idf=chance.integers(4, 50, len(pieces)).astype(np.uint8),
        outputs=(
            Output("tone:negative", 0.25, 0.125, 0.0625),
            Output("tone:positive", -0.5, 0.25, 0.125, slope=2.0, shift=0.5),
            Output("anger", 0.0, 0.125, 0.125, slope=3.0, shift=-0.5),
        ),
        groups=(Group("tone", ("tone:negative", "tone:positive")),),
        about={"name": "small"},
    )


MODEL = small_model()

pieces_of_text = st.one_of(
    st.sampled_from([*WORDS, "DER", "Danke", "TRAIN", "sooooo", "späääät", "12:30", ":)", ":-("]),
    st.sampled_from(
        ["@anna", "https://a.b/c?d", "?", "!!", "?!", "...", "😡", "👍", "#zug", "ЗДР"]
    ),
    st.text(max_size=6),
)
texts = st.lists(pieces_of_text, max_size=12).map(" ".join)


@pytest.mark.exhaustive
@given(st.lists(texts, min_size=1, max_size=12), st.randoms(use_true_random=False), st.data())
def test_a_score_depends_on_the_text_alone(batch, chance, data) -> None:
    """Any order, any batch cut, any bound of the memo, any history: the same scores to the bit."""
    expected = np.concatenate([Heads(MODEL).score([text]) for text in batch])
    order = list(range(len(batch)))
    chance.shuffle(order)
    heads = Heads(MODEL, memo_rows=data.draw(st.sampled_from([0, 1, 3, 1000])))
    heads.score(batch[: data.draw(st.integers(0, len(batch)))])
    cut = data.draw(st.integers(0, len(batch)))
    shuffled = [batch[at] for at in order]
    found = np.concatenate([heads.score(shuffled[:cut]), heads.score(shuffled[cut:])])
    assert np.array_equal(found, expected[order])


@given(texts)
def test_the_pieces_and_the_bias_add_up_to_the_score(text) -> None:
    heads = Heads(MODEL)
    scores = heads.score([text])[0]
    for output, score in zip(heads.outputs, scores, strict=True):
        weighed = heads.explain(text, output.name, top=10_000)
        assert output.bias + sum(w.weight for w in weighed) == pytest.approx(score, abs=1e-4)


def naive_score(text: str, weights: Weights) -> list[float]:
    """Return the scores as the definition reads, without numpy and without a memo."""
    found = [features(token) for token in tokens(text)]
    numbers: list[int] = []
    for word, shouted in found:
        numbers += [WORDS.index(word)] if word in WORDS else []
        numbers += [WORDS.index("zzshout")] if shouted else []
    known = {tuple(pair): len(WORDS) + at for at, pair in enumerate(weights.pairs.tolist())}
    for (one, _), (two, _) in itertools.pairwise(found):
        if one in WORDS and two in WORDS:
            number = known.get((WORDS.index(one), WORDS.index(two)))
            numbers += [] if number is None else [number]
    place = {part: at for at, part in enumerate(weights.parts)}
    pieces = [place[part] for word, _ in found for part in parts(word) if part in place]
    word_norm = max(1, sum(int(weights.word_idf[n]) ** 2 for n in numbers)) ** 0.5
    part_norm = max(1, sum(int(weights.part_idf[n]) ** 2 for n in pieces)) ** 0.5
    return [
        output.bias
        + sum(int(weights.word_weights[n, k]) for n in numbers) * output.word_scale / word_norm
        + sum(int(weights.part_weights[n, k]) for n in pieces) * output.part_scale / part_norm
        for k, output in enumerate(weights.outputs)
    ]


@given(st.lists(texts, min_size=1, max_size=4))
def test_the_scores_are_those_of_the_definition(batch) -> None:
    expected = [naive_score(text, MODEL) for text in batch]
    assert Heads(MODEL).score(batch) == pytest.approx(np.array(expected), abs=1e-4)


def test_unseen_words_are_scored_when_the_memo_is_full() -> None:
    heads = Heads(MODEL, memo_rows=0)
    before = heads.remembered
    full, free = (
        heads.score(["verspäteter trains", "BILL"]),
        Heads(MODEL).score(["verspäteter trains", "BILL"]),
    )
    assert np.array_equal(full, free)
    assert heads.remembered == before
    assert not np.array_equal(full[0], heads.score([""])[0])


def test_more_unknown_words_than_there_is_scratch_room() -> None:
    """A batch is cut where the room for unknown words ends, and nothing changes by it."""
    chance = random.Random(5)
    many = [
        " ".join("train" + "".join(chance.choices("abcdefghij", k=8)) for _ in range(300))
        for _ in range(40)
    ]
    heads = Heads(MODEL, memo_rows=10)
    assert np.array_equal(heads.score(many), Heads(MODEL, memo_rows=50_000).score(many))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("Danke", Features("danke", shouted=False)),
        ("DANKE", Features("danke", shouted=True)),
        ("OK", Features("ok", shouted=False)),
        ("sooooo", Features("soo", shouted=False)),
        ("12345", Features("00", shouted=False)),
        ("can\u2019t", Features("can't", shouted=False)),
        ("@anna_b", Features("zzuser", shouted=False)),
        ("https://klingel.example/x", Features("zzurl", shouted=False)),
        (":-)", Features("zzpos", shouted=False)),
        (":(", Features("zzneg", shouted=False)),
        ("\U0001f621", Features("zzneg", shouted=False)),
        ("?", Features("zzask", shouted=False)),
        ("??!", Features("zzasks", shouted=False)),
        ("!!!", Features("zzcalls", shouted=False)),
        ("здравствуйте", Features("zzscript", shouted=False)),
        ("İstanbul", Features("i̇stanbul", shouted=False)),
    ],
)
def test_normal_forms(token, expected) -> None:
    assert features(token) == expected


def test_what_is_read_of_a_text() -> None:
    assert tokens("@DB_Bahn Zug fällt aus!! :( https://t.co/a #fail 10:30") == [
        "@DB_Bahn", "Zug", "fällt", "aus", "!!", ":(", "https://t.co/a", "fail", "10", "30",
    ]  # fmt: skip
    long = "a " * READ + "ende"
    assert tokens(long)[0] == "a"
    assert len(tokens("😡" * 30_000)) == MOST_TOKENS
    short_words = "wort " * 500 + "ende"
    assert len(tokens(short_words)) == MOST_TOKENS


HOSTILE = {
    "empty": "",
    "blank": " \n\t",
    "emoji": "😡🤬👍" * 10_000,
    "one word": "a" * 30_000,
    "signs": "?!" * 15_000,
    "brackets": ":" + "(" * 29_999,
    "dots": "-" + "." * 29_999,
    "hearts": "<" + "3" * 29_999,
    "right to left": "שלום עולם " * 3_000,
    "zalgo": "z\u0310\u0311\u0312a\u0313\u0314" * 5_000,
    "mixed scripts": "Zug поезд 電車 قطار " * 1_500,
    "mojibake": "Verspätung über ".encode().decode("cp1252") * 1_400,
    "controls": "\x00\x1b[31m\ufeff\u202e" * 5_000,
    "ats": "@" * 30_000,
    "addresses": "http://" * 4_000,
    "apostrophes": "a'" * 15_000,
    "unseen": " ".join(f"{chr(97 + n % 26)}{n * 7919 % 99_991:x}train" for n in range(4_000)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_have_a_score_in_bounded_time(text) -> None:
    heads = Heads(MODEL)
    heads.score(["warm up"])
    took = []
    for _ in range(5):
        fresh = Heads(MODEL)
        start = time.perf_counter()
        scores = fresh.score([text])
        took.append(time.perf_counter() - start)
    assert np.isfinite(scores).all()
    assert np.isfinite(heads.probabilities(scores)).all()
    assert len(heads.explain(text, "anger")) <= 10
    # The budget is 5 ms; four times that is allowed to a busy machine.
    assert min(took) < 0.02, took


def test_probabilities_of_a_group_add_up_and_others_stand_alone() -> None:
    heads = Heads(MODEL)
    scores = heads.score(["danke super", "train late :(", ""])
    found = heads.probabilities(scores)
    assert found[:, :2].sum(axis=1) == pytest.approx(1)
    assert found[:, 2] == pytest.approx(1 / (1 + np.exp(-(3 * scores[:, 2] - 0.5))))


def test_a_group_with_a_threshold_answers_none_below_it() -> None:
    names = ("tone:negative", "tone:positive")
    text = ["danke super"]
    best = float(Heads(MODEL).score(text)[0, :2].max())
    for threshold, rejected in ((best - 0.01, False), (best + 0.01, True)):
        group = Group("tone", names, threshold=threshold)
        heads = Heads(replace(MODEL, groups=(group,)))
        (answer,) = heads.answers("tone", heads.score(text))
        assert (answer.label is None) is rejected
        assert 0 <= answer.probability <= 1
    inside = Group("tone", names, threshold=0.0, inside="anger")
    heads = Heads(replace(MODEL, groups=(inside,)))
    scores = heads.score(text)
    assert heads.sureness("tone", scores)[0] == pytest.approx(best + 0.5 * scores[0, 2])


def test_unknown_names_are_errors() -> None:
    heads = Heads(MODEL)
    with pytest.raises(ConfigurationError, match="no group 'topic'"):
        heads.answers("topic", heads.score(["x"]))
    with pytest.raises(ConfigurationError, match="no output 'joy'; it has tone:negative"):
        heads.explain("x", "joy")


def test_a_model_reads_back_as_it_was_written() -> None:
    data = encode(MODEL)
    read = decode(data, "small.klm")
    assert encode(read) == data
    assert read.words == MODEL.words
    assert read.outputs == MODEL.outputs
    batch = ["danke, not good", "SUPER TRAIN :)"]
    assert np.array_equal(Heads(read).score(batch), Heads(MODEL).score(batch))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.klm"
    with pytest.raises(ConfigurationError, match=r"gone\.klm: No such file or directory; name a"):
        load_heads(path)
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_heads(tmp_path)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"dear diary")
    with pytest.raises(ConfigurationError, match=r"note\.txt: this is no model of klingel"):
        load_heads(path)


def test_another_format_is_named() -> None:
    data = bytearray(encode(MODEL))
    data[len(MAGIC) : len(MAGIC) + 2] = struct.pack("<H", FORMAT + 1)
    with pytest.raises(ConfigurationError, match=rf"m\.klm: .* format {FORMAT + 1}"):
        decode(bytes(data), "m.klm")


@given(st.data())
def test_a_torn_file_is_one_sentence(data) -> None:
    """Cut anywhere, or with any byte changed, or with more behind it."""
    good = encode(MODEL)
    how = data.draw(st.sampled_from(["cut", "changed", "longer"]))
    if how == "cut":
        torn = good[: data.draw(st.integers(0, len(good) - 1))]
    elif how == "longer":
        torn = good + data.draw(st.binary(min_size=1, max_size=9))
    else:
        at = data.draw(st.integers(0, len(good) - 1))
        torn = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with pytest.raises(ConfigurationError, match=r"^torn\.klm: "):
        decode(torn, "torn.klm")


def test_a_narrowed_model_scores_what_it_keeps_as_before() -> None:
    """Whole groups go; what stays does not change."""
    whole, first = Heads(MODEL), MODEL.outputs[0].name
    group = next((each for each in MODEL.groups if first in each.outputs), None)
    gone = set(group.outputs) if group else {first}
    heads = Heads(narrowed(MODEL, lambda name: name not in gone))
    kept = [whole.column[name] for name in heads.names]
    assert kept
    assert len(kept) < len(whole.names)
    texts = ["not happy at all", "Danke!", "xyz 12", ""]
    assert np.array_equal(heads.score(texts), whole.score(texts)[:, kept])
    assert np.array_equal(
        heads.probabilities(heads.score(texts)), whole.probabilities(whole.score(texts))[:, kept]
    )


@given(
    st.lists(
        st.text(
            st.sampled_from("abNT12 \u3000\n:;=)(dDpPo/-_.^<3!?'\u2019@#\uff20htps://w\u2026😡é")
        ),
        max_size=4,
    )
)
def test_no_token_reaches_across_a_blank(texts: list[str]) -> None:
    """Hence a text's tokens are those of its pieces, which are remembered with their rows."""
    text = " ".join(texts)
    assert tokens(text) == [token for piece in text.split() for token in tokens(piece)]


def test_pieces_are_forgotten_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pieces than are remembered: the scores are those of a fresh model."""
    monkeypatch.setattr("klingel.language.heads.PIECES", 2)
    heads = Heads(MODEL)
    texts = ["netz, weg!", "(netz) weg", "netz weg", "weg! netz, neu1 neu2 neu3"] * 3
    alone = np.concatenate([Heads(MODEL).score([text]) for text in texts])
    assert np.array_equal(heads.score(texts), alone)
    assert np.array_equal(np.concatenate([heads.score([text]) for text in texts]), alone)


@pytest.mark.parametrize("weight", [-127, 127])
def test_the_heaviest_word_is_summed_without_overflow(weight: int) -> None:
    """Of the longest word every part has the largest weight, and it is shouted."""
    word = "aa" + "ba" * 19
    pieces = tuple(dict.fromkeys(parts(word)))
    heads = Heads(
        Weights(
            words=("zzshout",),
            pairs=np.zeros((0, 2), np.int32),
            parts=pieces,
            word_weights=np.full((1, 1), weight, np.int8),
            part_weights=np.full((len(pieces), 1), weight, np.int8),
            word_idf=np.full(1, 255, np.uint8),
            part_idf=np.full(len(pieces), 255, np.uint8),
            outputs=(Output("x", 0.0, 1.0, 1.0),),
            groups=(),
        )
    )
    [[score]] = heads.score([word.upper()])
    assert score == pytest.approx(weight * len(parts(word)) ** 0.5 / 255 + weight / 255, rel=1e-5)


def test_an_output_costs_four_bytes_a_word_and_one_a_pair_and_a_part() -> None:
    """Of what a brand trains, only the rows of words are kept in more than a byte a weight."""
    random_ = np.random.default_rng(3)
    words, pairs, pieces, memo = 500, 6_000, 3_000, 100

    def held(outputs: int) -> int:
        weights = Weights(
            words=tuple(f"w{number}" for number in range(words)),
            pairs=np.stack(np.divmod(np.arange(pairs), words), axis=1).astype(np.int32),
            parts=tuple(f"p{number:03x}" for number in range(pieces)),
            word_weights=random_.integers(-9, 9, (words + pairs, outputs), np.int8),
            part_weights=random_.integers(-9, 9, (pieces, outputs), np.int8),
            word_idf=np.full(words + pairs, 9, np.uint8),
            part_idf=np.full(pieces, 9, np.uint8),
            outputs=tuple(Output(str(number), 0.0, 1.0, 1.0) for number in range(outputs)),
            groups=(),
        )
        tracemalloc.start()
        try:
            heads = Heads(decode(encode(weights), "m"), memo_rows=memo)
            del weights
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(heads.names) == outputs
        return size

    rows = words + 2 + memo + SCRATCH_ROWS
    allowed = 2 * rows + (words + pairs) + pieces
    assert (held(90) - held(10)) / 80 < 1.1 * allowed
