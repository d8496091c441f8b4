"""A listening rule hits the same posts in the stream and in the real index.

Three forms of each rule are asked: the query body, the string with the index's field names, and,
where a rule is on text alone, the rule itself as the user wrote it.
"""

import gzip
import json
import re
import uuid
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from elasticsearch import Elasticsearch

from klingel.domain.matching import (
    FIELDS,
    QUERY_STRING,
    RULES_ANALYSIS,
    RULES_PROPERTIES,
    Rule,
    RuleDocument,
    RuleSet,
    parse_rule,
    to_elasticsearch,
    to_query_string,
    tokens,
)

pytestmark = pytest.mark.servers

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
POSTS = 6_000
GENERATED = 240
SEED = 20261122

HAND_WRITTEN = r"""
flight
FLIGHT
#Flight
@united
flight delay
flight AND delay
flight delay AND united
flight OR delay
flight OR delay OR bahn
flight -delay
flight +delay
-flight +delay
flight NOT delay
NOT flight
NOT (NOT flight)
-(flight delay)
NOT (flight OR delay OR the)
(flight)
((flight) AND (delay))
flight AND (delay OR cancelled)
(flight OR bahn) AND (delay OR verspätung)
flight OR (NOT the)
the OR (NOT (flight AND delay))
(NOT the) (NOT die)
flight^2 delay
(flight OR delay)^0.5
"customer service"^3
"customer service"
"customer service"~1
"service customer"~1
"service customer"~2
"flight cancelled"~3
"cancelled flight"~5
"my flight was"
"flight was cancelled"~4
"i am not"~2
"die bahn"
"Die BAHN!"
"bahn die"~4
"nicht mehr"~1
"zu spät"~2
"can't"
"can`t"
"don't" AND "won't"
"thank you"
"thank you" OR "thanks"
"#fail"
"@united thanks"
"10 minutes"~2
"2 hours"
"..! thank ,, you ?"
"thank you"~0
"flight"~5
flight*
fl?ght
f*t
fl*ght*
cancel*
cancel?ed
can*led
cancel**ed
verspät*
versp?t*
Ver*
ver*ung
bahn* -bahn
a?
t??
united* AND delay*
(cancel* OR delay*) AND NOT refund*
\flight
\"flight\"
flight\!
flight,
flight...
\AND
\OR
TO
to
straße
STRASSE
größe
über
Ü?er
ß
i
a
1
2*
🔥
❤
❤️
😂 OR 😭 OR 😡
"😂 😂"
"😂 😂 😂"
👍🏽
"🇺 🇸"
😂 -the
日
"日本"
"هذا"
من
מה
не
"не могу"
и*
की
は OR の
"です"
จ
été
l
"c est"
"d un"~1
não
için
İstanbul
ile*
ΣΑΣ
lang:de
lang:(de OR tr)
lang:en flight
lang:de AND NOT bahn
lang:DE bahn
NOT lang:en
network:x
network:(x OR mastodon) delay
kind:reply
kind:(post OR reply) flight
visibility:private
visibility:(NOT public)
author:anna
author:ANNA
author:@Anna
author:ann*
author:a?na
author:"did:plc:Ab7"
author:"did:plc:ab7"
author:did\:plc\:Ab*
author:did\:plc\:ab*
author:jürg*
author:JÜRGEN
author:(anna OR jürgen) AND NOT flight
followers:[1000 TO *]
followers:{1000 TO *]
followers:[* TO 1000}
followers:[10 TO 1000]
followers:[* TO *]
followers:>1000
followers:>=1000
followers:<10
followers:<=10
followers:1000
followers:(>10 <1000)
followers:[1000 TO 10]
NOT followers:[* TO *]
has:link
has:link flight
NOT has:link
has:link -has:link
hashtag:fail
hashtag:#FAIL
hashtag:fa*
hashtag:f?il
hashtag:(fail OR win)
hashtag:v*
hashtag:ü*
mention:united
mention:@United
mention:unit*
mention:(united OR southwestair) delay
mention:united -united
lang:en AND (flight OR bahn) AND NOT has:link AND followers:>5
(lang:de bahn) OR (lang:en "customer service"~2) OR hashtag:fail
""".strip().splitlines()


def real_posts() -> list[dict]:
    """Give posts evenly out of all text sets, with seeded other fields."""
    files = sorted(DATA.glob("**/text/*.jsonl.gz"))
    if not files:
        pytest.skip("../shared/data is absent: no real posts to match")
    by_file = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            by_file.append([json.loads(line) for line in lines])
    share = POSTS // len(by_file) + 1
    random = Random(SEED)
    return [
        post_of(row, random)
        for rows in by_file
        for row in random.sample(rows, min(share, len(rows)))
    ]


def post_of(row: dict, random: Random) -> dict:
    """Give a document of the index with the fields that rules can name."""
    text = row["text"]
    author: dict = {"id": random.choice(["did:plc:Ab7", "did:plc:ab7", "17", "UCx_y"])}
    if random.random() < 0.8:
        author["handle"] = random.choice(["anna", "Anna", "ANNA_b", "Jürgen", "jürgen2", "x"])
    if random.random() < 0.8:
        author["followers"] = random.choice([0, 9, 10, 11, 999, 1000, 1001, 5_000_000])
    post: dict = {
        "text": text,
        "network": random.choice(["x", "mastodon", "bluesky"]),
        "kind": random.choice(["post", "reply", "quote"]),
        "visibility": random.choice(["public", "public", "unlisted", "private"]),
        "author": author,
        "hashtags": [tag.lower() for tag in re.findall(r"#(\w+)", text)],
        "mentions": re.findall(r"@(\w+)", text),
        "links": re.findall(r"https?://\S+", text),
    }
    if random.random() < 0.01:
        post["links"].append("https://example.com/" + "x" * 2_000)
    if re.fullmatch(r"[a-z]{2,3}", row.get("lang") or ""):
        post["lang"] = {"code": row["lang"]}
    return post


def document_of(post: dict) -> RuleDocument:
    author = post["author"]
    return RuleDocument(
        text=post["text"],
        lang=post.get("lang", {}).get("code"),
        network=post["network"],
        kind=post["kind"],
        author_id=author["id"],
        author_handle=author.get("handle"),
        followers=author.get("followers"),
        has_link=bool(post["links"]),
        hashtags=post["hashtags"],
        mentions=post["mentions"],
        visibility=post["visibility"],
    )


class Writer:
    """Writes rules out of the grammar with words and phrases of the posts, from a fixed seed."""

    def __init__(self, posts: list[dict], random: Random) -> None:
        self.random = random
        self.texts = [terms for post in posts if len(terms := terms_of(post["text"])) > 3]
        counted = Counter(term for terms in self.texts for term in set(terms))
        self.common = sorted(term for term, count in counted.items() if count >= 20)

    def rule(self, depth: int = 2) -> str:
        """Write a rule of at most so many operations within one another."""
        shape = self.random.random()
        if depth == 0 or shape < 0.3:
            return self.leaf()
        parts = [self.part(depth) for _ in range(self.random.randint(2, 3))]
        if shape < 0.55:
            return self.random.choice([" AND ", " ", " +"]).join(parts)
        if shape < 0.8:
            return " OR ".join(parts)
        if shape < 0.9:
            return f"{parts[0]} {self.random.choice(['-', 'NOT ', 'AND NOT '])}{parts[1]}"
        return f"{parts[0]} OR (NOT {parts[1]})"

    def part(self, depth: int) -> str:
        """Write an operand, in parentheses where it is more than one condition."""
        written = self.rule(depth - 1)
        return written if " " not in written and written[0] not in "+-" else f"({written})"

    def leaf(self) -> str:
        """Write one condition."""
        terms = self.random.choice(self.texts)
        start = self.random.randrange(len(terms) - 2)
        kind = self.random.random()
        if kind < 0.25:
            return self.random.choice(self.common)
        if kind < 0.4:
            term = self.random.choice(terms)
            loud = term if term in ("and", "or", "not") else term.upper()
            return loud + "," * (kind < 0.3)
        if kind < 0.55:
            return f'"{" ".join(terms[start : start + self.random.randint(2, 3)])}"'
        if kind < 0.75:
            near = list(dict.fromkeys(terms[start : start + 5]))
            self.random.shuffle(near)
            return f'"{" ".join(near[:3])}"~{self.random.randint(1, 8)}'
        if kind < 0.92:
            return self.wildcard(max(terms, key=len))
        return self.random.choice(
            ["lang:de", "lang:en", "has:link", "followers:>10", "kind:reply", "hashtag:a*"]
        )

    def wildcard(self, term: str) -> str:
        """Write a wildcard that at least this term fits."""
        cut = self.random.randint(1, len(term))
        if not term.isalpha() or len(tokens(term[:1] + "x")) > 1:
            return self.random.choice(self.common)
        if self.random.random() < 0.5:
            return term[:cut] + "*"
        return f"{term[:cut]}{self.random.choice('*?')}{term[cut + 1 :]}"


def terms_of(text: str) -> list[str]:
    return [token.term for token in tokens(text)]


@pytest.fixture(scope="module")
def posts():
    return real_posts()


@pytest.fixture(scope="module")
def index(elasticsearch_url, posts):
    """Give a client and an index of all posts, deleted at the end."""
    name = f"test-rules-differential-{uuid.uuid4().hex[:12]}"
    with Elasticsearch(elasticsearch_url, request_timeout=120) as client:
        client.indices.create(
            index=name,
            settings={
                "analysis": RULES_ANALYSIS,
                "number_of_replicas": 0,
                "refresh_interval": -1,
                "max_result_window": 1_000_000,
            },
            mappings={
                "dynamic": "strict",
                "properties": {**RULES_PROPERTIES, "number": {"type": "integer"}},
            },
        )
        try:
            operations: list[dict] = []
            for number, post in enumerate(posts):
                operations += [{"index": {}}, {**post, "number": number}]
            answer = client.bulk(index=name, operations=operations, refresh=True)
            assert not answer["errors"]
            yield client, name
        finally:
            client.indices.delete(index=name)


def indexed_hits(index, queries: list[dict]) -> list[set[int]]:
    """Give the numbers of the posts that each query hits."""
    client, name = index
    hits: list[set[int]] = []
    for start in range(0, len(queries), 40):
        searches: list[dict] = []
        for query in queries[start : start + 40]:
            search = {"size": POSTS * 2, "_source": False, "docvalue_fields": ["number"]}
            searches += [{}, {**search, "query": query, "stored_fields": "_none_"}]
        answer = client.msearch(index=name, searches=searches)
        for one in answer["responses"]:
            assert "error" not in one, one["error"]
            hits.append({hit["fields"]["number"][0] for hit in one["hits"]["hits"]})
    return hits


def is_on_text_alone(rule: str) -> bool:
    return not re.search(rf"\b({'|'.join(FIELDS)}):", rule)


def compare(index, posts, queries: list[str]) -> list[int]:
    """Compare all forms of all rules; give how many posts each rule hits."""
    rules = RuleSet.compile(Rule(str(number), query) for number, query in enumerate(queries))
    streamed: list[set[int]] = [set() for _ in queries]
    for number, post in enumerate(posts):
        for hit in rules.match(document_of(post)):
            streamed[int(hit.rule_id)].add(number)
    parsed = [parse_rule(query) for query in queries]
    forms = {
        "body": indexed_hits(index, [to_elasticsearch(query) for query in parsed]),
        "string": indexed_hits(
            index, [{"query_string": {"query": to_query_string(query)}} for query in parsed]
        ),
    }
    texts = [number for number, query in enumerate(queries) if is_on_text_alone(query)]
    raw = indexed_hits(
        index,
        [{"query_string": {"query": queries[number], **QUERY_STRING}} for number in texts],
    )
    unequal = [
        f"{queries[number]!r} as {form}: {len(found)} in the index, {len(streamed[number])} streamed"
        for form, founds in forms.items()
        for number, found in enumerate(founds)
        if found != streamed[number]
    ]
    unequal += [
        f"{queries[number]!r} as written: {len(found)} in the index, "
        f"{len(streamed[number])} streamed"
        for number, found in zip(texts, raw, strict=True)
        if found != streamed[number]
    ]
    assert unequal == []
    return [len(found) for found in streamed]


def test_hand_written_rules_hit_the_same_posts(index, posts):
    assert len(posts) > 5_000
    counts = compare(index, posts, HAND_WRITTEN)
    assert sum(1 for count in counts if count) > 0.8 * len(counts)


def test_generated_rules_hit_the_same_posts(index, posts):
    writer = Writer(posts, Random(SEED))
    queries = [writer.rule() for _ in range(GENERATED)]
    counts = compare(index, posts, queries)
    assert sum(1 for count in counts if count) > 0.7 * len(counts)
