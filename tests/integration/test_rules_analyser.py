"""A word is the same in the stream and in the index: over real posts and every code point."""

import gzip
import json
import tarfile
import uuid
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from klingel.domain.matching import ANALYSER, RULES_ANALYSIS, RULES_PROPERTIES, tokens

from ..absent import absent

pytestmark = pytest.mark.servers

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BATCH = 300
HOSTILE = [
    "",
    "x" * 10_000 + "🔥" * 10,
    "ä" * 255 + "\u0308" * 300,
    "İIi\u0131 ΣΑΣ ẞß \u01c5 Kelvin \u212a Ångström \u212b",
    "a\u200db\u00adc\u2060d\ufeffe",
    "👩🏽\u200d💻 1️⃣ 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "me\u0301thode méthode",
    '[a-z&&[^b]] \\Q.\\E "q" \\u0041 $1',
    "\x00\x01\x1f\x7f\x85\u2028\u2029",
    "\ua7cb\ua7da\u1c89\U00010d50\U00016ea0 ꟓ ꟕ",
]


@pytest.fixture(scope="module")
def index(elasticsearch_url):
    """Give a client and an index with the analysis of rules, deleted at the end."""
    name = f"test-rules-analyser-{uuid.uuid4().hex[:12]}"
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.create(
            index=name,
            settings={
                "analysis": RULES_ANALYSIS,
                "number_of_replicas": 0,
                "analyze.max_token_count": 10_000_000,
            },
            mappings={"dynamic": "strict", "properties": RULES_PROPERTIES},
        )
        try:
            yield client, name
        finally:
            client.indices.delete(index=name)


def unequal(index, texts: list[str]) -> list[str]:
    """Give the texts of which the index makes other words, or words at other places."""
    client, name = index
    wrong = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        answer = client.indices.analyze(index=name, analyzer=ANALYSER, text=batch)
        words = [word["token"] for word in answer["tokens"]]
        if words != [token.term for text in batch for token in tokens(text)]:
            wrong.extend(text for text in batch if places(index, text) != ours(text))
    return wrong


def places(index, text: str) -> list[tuple[str, int, int, int]]:
    """Give word, start, end and position as the index sees them; places in UTF-16 units."""
    client, name = index
    answer = client.indices.analyze(index=name, analyzer=ANALYSER, text=text)
    return [
        (word["token"], word["start_offset"], word["end_offset"], word["position"])
        for word in answer["tokens"]
    ]


def ours(text: str) -> list[tuple[str, int, int, int]]:
    units = [0]
    for letter in text:
        units.append(units[-1] + (2 if ord(letter) > 0xFFFF else 1))
    return [
        (token.term, units[token.start], units[token.end], at)
        for at, token in enumerate(tokens(text))
    ]


def test_every_code_point_is_word_separator_or_single_on_both_sides(index):
    """Between two letters it joins, parts or stands alone; ideographs and private use by samples."""
    codes = [*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 97)]
    codes.extend(range(0xE0000, 0xE0200))
    between = [f"x{chr(code)}y" for code in codes]
    texts = [" ".join(between[start : start + 1024]) for start in range(0, len(between), 1024)]
    assert unequal(index, texts) == []


def test_hostile_strings_have_the_same_words_at_the_same_places(index):
    for text in HOSTILE:
        assert places(index, text) == ours(text)


def test_naughty_strings_have_the_same_words_at_the_same_places(index):
    archive = DATA / "permissive" / "payloads" / "text_conformance.tar.gz"
    if not archive.exists():
        absent("../shared/data is absent: no naughty strings to compare")
    with tarfile.open(archive) as files:
        member = files.extractfile("text_conformance/blns.json")
        assert member is not None
        naughty = json.load(member)
    assert len(naughty) > 400
    for text in naughty:
        assert places(index, text) == ours(text)


def test_real_posts_have_the_same_words(index):
    """Every eighth text of every set, in more than twenty languages."""
    files = sorted(DATA.glob("**/text/*.jsonl.gz"))
    if not files:
        absent("../shared/data is absent: no real posts to compare")
    texts: dict[str, None] = {}
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                texts.update({row[key]: None for key in ("text", "text2") if row.get(key)})
    assert len(texts) > 100_000
    assert unequal(index, list(texts)[::8]) == []
