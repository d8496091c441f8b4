# ruff: noqa: RUF001 - signs that look like others are what is tested
"""Wrongly decoded texts: those of a collection, real texts damaged on purpose, and real texts."""

import gzip
import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.language.mending import mended


def rows(path) -> list[dict]:
    """Read a data file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def damaged(text: str, encoding: str) -> str:
    """Read UTF-8 as another encoding; bytes that it does not know keep their number."""
    signs = (bytes([byte]).decode(encoding, "ignore") or chr(byte) for byte in text.encode())
    return "".join(signs)


@pytest.mark.parametrize(
    ("text", "was"),
    [
        ("Das ist schÃ¶n â€“ oder?", "Das ist schön – oder?"),
        ("RUF MICH ZURÃœCK", "RUF MICH ZURÜCK"),
        ("nÃƒÂ©", "né"),
        ("ðŸ˜€", "😀"),
        ("NicolÃ¡s", "Nicolás"),
        ("schön", None),
        ("", None),
        ("plain", None),
        ("SÓ… AMANHÃ…", None),
        ("AMANHÃ”", None),
        ("Bremer/Mccoy – DrÃ¥ber", None),
        ("4288×…", None),
    ],
)
def test_what_it_was(text: str, was: str | None) -> None:
    """What can be told, and what is left alone."""
    assert mended(text) == was


def test_the_collection_of_mojibake(shared_data, record_property) -> None:
    """Nothing that is whole is touched; of 35 broken ones 8 are made whole."""
    folder = shared_data / "permissive" / "text"
    assert [
        row["id"] for row in rows(folder / "ftfy_negative.jsonl.gz") if mended(row["text"])
    ] == []
    failures = rows(folder / "ftfy_known_failures.jsonl.gz")
    assert [row["id"] for row in failures if mended(row["text"])] == []
    wild = rows(folder / "ftfy_mojibake_in_the_wild.jsonl.gz")
    exact = 0
    for row in wild:
        labels = row["labels"]
        exact += mended(row["text"]) == (labels["fixed_encoding"] or labels["fixed"])
    record_property("made_whole", f"{exact} of {len(wild)}")
    assert exact >= 8


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_real_posts_damaged_on_purpose(encoding: str, shared_data) -> None:
    """German posts: 97 % are made whole, the others are left alone."""
    posts = [row["text"] for row in rows(shared_data / "nc" / "text" / "germeval2017_dev.jsonl.gz")]
    texts = [text for text in posts if not text.isascii()]
    found = [(mended(damaged(text, encoding)), text) for text in texts]
    assert all(mending in {None, text} for mending, text in found)
    assert sum(mending is not None for mending, _ in found) >= 0.96 * len(texts)


def test_real_texts_are_left_alone(shared_data) -> None:
    """Tweets of eight languages, comments, posts, every fifth: what is told to be broken is."""
    told = []
    for path in sorted(shared_data.glob("*/text/*.jsonl.gz")):
        if not path.name.startswith("ftfy"):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                texts = [json.loads(line).get("text") or "" for line in islice(file, 2, None, 5)]
            told += [text for text in texts if mended(text)]
    assert len(told) <= 5
    assert all("â€¦" in text or "ðŸ˜" in text for text in told)


@given(st.text("abz äöüßéèçñÖÜ–“”„…€😀🔥!", max_size=30), st.sampled_from(["cp1252", "latin-1"]))
def test_it_is_made_whole_or_left_alone(text: str, encoding: str) -> None:
    """Nothing else comes out, and whole texts stay."""
    assert mended(text) is None
    assert mended(damaged(text, encoding)) in {None, text}
