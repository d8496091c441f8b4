"""A listening rule hits the same posts in the stream and in the real index, exactly.

Real posts go both ways. Stream: `SocialDraft`, `rule_document`, `RuleSet.match`. Index: the same
draft as `SocialEvent`, routed, converted by the indexer's own code, written under the generated
templates. What the stream hit stands in the document (`matches.rule`), as in production, so the index
is asked for exactly the documents on which both differ: there must be none.

Each rule is asked in every form in which people meet it: the query body of `klingel search`, the
string for Kibana with bare options and with Kibana's own, and, for a rule on text alone, the rule as
it was written. `RULES_SEED` generates other rules out of other posts.
"""

import asyncio
import gzip
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest
from elasticsearch import Elasticsearch

from klingel.config.brand import Brand
from klingel.config.compiled import dictionaries_of
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.resources import schemas_dir
from klingel.contracts.topics import Topic
from klingel.domain.draft import SocialDraft
from klingel.domain.hearing import rule_document
from klingel.domain.matching import (
    ANALYSER,
    FIELDS,
    QUERY_STRING,
    Rule,
    RuleSet,
    expand_rule,
    parse_rule,
    to_elasticsearch,
    to_query_string,
    tokens,
)
from klingel.domain.rule_syntax import KINDS, MEDIA_KINDS, VISIBILITIES
from klingel.domain.rule_text import fold_value
from klingel.model import RoutedEvent, SocialEvent
from klingel.model.routed_event import Decision
from klingel.model.social_event import Author, Lang, Match, Media, Origin
from klingel_indexer.bulk import action_line, elasticsearch_client
from klingel_indexer.convert import Write, convert
from klingel_indexer.templates import FOLDER, apply_templates

pytestmark = pytest.mark.servers

POSTS = 21_000
GENERATED = 260
SEED = int(os.environ.get("RULES_SEED", "20261122"))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NETWORKS = ("x", "mastodon", "bluesky", "reddit")
HEADERS = {
    "content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8",
    "accept": "application/vnd.elasticsearch+json; compatible-with=8",
}

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
has:media
NOT has:media
has:image
has:(image OR video) -has:link
has:location OR has:sticker
has:file flight
has:hashtag
has:mention -has:link
-has:hashtag -has:mention
kind:(comment OR review) has:media
kind:unknown
visibility:(public OR unlisted) NOT network:x
network:reddit followers:[* TO *]
lang:und
lang:(ar OR he OR hi)
author:"jürgen"
author:x*
author:xx*
author:"17" kind:post
NOT author:(anna OR jürgen*)
author:🔥
hashtag:🔥*
hashtag:x*
hashtag:"1"
mention:xxx*
mention:("united" OR "DELTA") -flight
followers:{999 TO 1001}
followers:[0 TO 0]
followers:<0
followers:[5000000 TO 1000000000000000]
(((((((((((flight)))))))))))
(flight OR (the AND (NOT (delay OR (thanks AND (NOT (bag OR (my AND (NOT (service OR bahn)))))))))) lang:en
-(-(-(-(flight))))
NOT (a NOT (b NOT (c NOT (d NOT (e NOT f)))))
a*b*c*d*e*
t*???????
s?r?i?e
co*a*ll*d
e*?e*?
"not working"~3 OR "geht nicht"~3 OR "funktioniert nicht"~2
"nicht funktioniert"~6 -"gar nicht"
"i you"~10 "you i"~10
"the a to and"~12
"a the"~1000
"thank you so much"
"thank you so much"~3
"die der und"~6
thank_you
__init__
"3,50"
v2*
dictionary:airlines
dictionary:airlines flight
-dictionary:airlines flight
flight OR dictionary:trains
dictionary:(airlines OR trains) AND (NOT dictionary:umlauts)
dictionary:umlauts
lang:de dictionary:umlauts -dictionary:trains
(dictionary:typos OR "customer servce") lang:en
dictionary:typos^2
""".strip().splitlines()

DICTIONARIES = dictionaries_of(
    Brand.model_validate(
        {
            "brand": "airline",
            "name": "Airline",
            "queues": [{"id": "all"}],
            "dictionaries": [
                {
                    "id": "airlines",
                    "words": ["United", "SouthWest Air", "jet-blue", "American*", "@VirginAmerica"],
                    "misspellings": ["jetblu", "untied"],
                },
                {"id": "trains", "words": ["Bahn", "S-Bahn", "Deutsche Bahn", "Züge", "ICE"]},
                {
                    "id": "umlauts",
                    "words": [
                        "schlößchen",
                        "für",
                        "über",
                        "größ*",
                        "straße",
                        "weiß nicht",
                        "schön",
                    ],
                },
                {"id": "typos", "words": ["cancelled", "service", "tomorrow"], "typos": True},
            ],
        }
    )
)
"""What the rules above refer to; a brand file's list each."""

BOUNDS = [
    " OR ".join(f'"{letter} {number}"~9' for number in range(100, 350) for letter in "abcd"),
    " ".join(f"-xx{number}" for number in range(998)) + " the flight",
    " ".join(["flight"] * 1000),
    "a" + "*?b" * 4,
    "a" + "*a?" * 4,
    "a*a" + "?" * 7 + "e",
    "(" * 12 + "flight" + ")" * 12,
    "flight " + "".join(f"(NOT (zz{number} OR " for number in range(5)) + "the" + "))" * 5,
    " OR ".join(f"author:someone{number}" for number in range(560)),
]
"""As long, as deep and with as many wildcards as a rule can be."""


class Post(NamedTuple):
    """A post before anybody heard it; the network is no part of a draft."""

    network: str
    draft: SocialDraft
    lang: Lang | None


class Row(msgspec.Struct):
    """What of a row of the real data is needed."""

    text: str | None = None
    lang: str | None = None


def sampled(folder: Path, random: Random) -> list[Row]:
    """Give POSTS rows, as evenly out of all text sets as these allow."""
    files = sorted(folder.glob("**/text/*.jsonl.gz"))
    assert len(files) > 20
    by_file = [gzip.decompress(file.read_bytes()).splitlines() for file in files]
    by_file.sort(key=len)
    rows: list[Row] = []
    decoder = msgspec.json.Decoder(Row)
    for at, lines in enumerate(by_file):
        share = min(len(lines), (POSTS - len(rows)) // (len(by_file) - at) + 1)
        rows += map(decoder.decode, random.sample(lines, share))
    return rows


def post_of(row: Row, random: Random) -> Post:
    """Give a post with this text, its own hashtags, mentions and links, and drawn other fields."""
    text = row.text or ""
    author = None
    if random.random() < 0.95:
        author = Author(
            id=random.choice(["did:plc:Ab7", "did:plc:ab7", "17", "UCx_y", "x" * 1024]),
            handle=random.choice(
                ["anna", "Anna", "ANNA_b", "Jürgen", "jürgen2", None, "x" * 256, "🔥", "🔥" * 200]
            ),
            followers=random.choice([None, 0, 9, 10, 11, 999, 1000, 1001, 5_000_000]),
        )
    hashtags = [tag.lower() for tag in re.findall(r"#(\w+)", text)]
    mentions = re.findall(r"@(\w+)", text)
    links = re.findall(r"https?://\S+", text)
    media = ()
    if random.random() < 0.3:
        media = tuple(Media(kind=random.choice(MEDIA_KINDS)) for _ in range(random.randint(1, 3)))
    # What the index keeps without finding it: more than 1,024 UTF-16 units.
    if random.random() < 0.01:
        links.append("https://example.com/" + "x" * 2_000)
    if random.random() < 0.01:
        hashtags.append(random.choice(["x", "🔥"]) * random.choice([512, 513, 1024, 1025]))
    if random.random() < 0.01:
        mentions.append("x" * random.choice([1024, 1025]))
    lang = row.lang if re.fullmatch(r"[a-z]{2,3}", row.lang or "") else None
    draft = SocialDraft(
        mapping="test/1",
        kind=random.choice(sorted(KINDS)),
        change="created",
        visibility=random.choice(sorted(VISIBILITIES)),
        author=author,
        text=text if random.random() < 0.99 else None,
        media=media,
        links=tuple(links),
        hashtags=tuple(hashtags),
        mentions=tuple(mentions),
    )
    code = lang or random.choice([None, "und"])
    known = None if code is None else Lang(code=code, score=0.9, from_="detector")
    return Post(random.choice(NETWORKS), draft, known)


def event_of(number: int, post: Post, heard: list[Match]) -> SocialEvent:
    """Give the social event that understand makes of a draft."""
    draft = post.draft
    return SocialEvent(
        event_id=f"airline/{post.network}:t:{number}@0",
        object_id=f"{post.network}:t:{number}",
        kind=draft.kind,
        change=draft.change,
        revision=0,
        brand="airline",
        matches=heard,
        network=post.network,
        connector=f"{post.network}-1",
        origin=Origin(topic="raw-events", partition=0, offset=number, mode="live"),
        direction="inbound",
        addressing="indirect",
        visibility=draft.visibility,
        received_at=NOON,
        conversation_id=f"{post.network}:t:{number}",
        threading="root",
        author=draft.author,
        text=draft.text,
        lang=post.lang,
        media=list(draft.media) or None,
        links=list(draft.links) or None,
        hashtags=list(draft.hashtags) or None,
        mentions=list(draft.mentions) or None,
        index="2026.03",
        content_hash="0123456789abcdef",
        mapping=draft.mapping,
        config_version="0123456789abcdef",
    )


def bulk_lines(prefix: str, number: int, event: SocialEvent) -> bytes:
    """Give a document as the indexer writes it."""
    decision = Decision(
        number=0,
        direction="inbound",
        triage="problem",
        routed_at=NOON,
        config_version=event.config_version,
    )
    routed = RoutedEvent(event=msgspec.Raw(codec.encode(event)), decision=decision)
    message = Message(Topic.ROUTED_EVENTS, 0, number, b"key", codec.encode(routed), ())
    write = convert(message, prefix, "2026-03-02T12:00:00Z")
    assert isinstance(write, Write)
    return action_line(write) + write.body + b"\n"


class Writer:
    """Writes rules out of the grammar with words and phrases of the posts, from a fixed seed."""

    def __init__(self, texts: list[str], random: Random) -> None:
        self.random = random
        self.texts = [terms for text in texts if len(terms := terms_of(text)) > 3]
        counted = Counter(term for terms in self.texts for term in set(terms))
        self.common = sorted(term for term, count in counted.items() if count >= 40)

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
        if kind < 0.2:
            return self.random.choice(self.common)
        if kind < 0.35:
            term = self.random.choice(terms)
            loud = term if term in ("and", "or", "not", "to") else term.upper()
            return loud + "," * (kind < 0.27)
        if kind < 0.5:
            return f'"{" ".join(terms[start : start + self.random.randint(2, 3)])}"'
        if kind < 0.7:
            near = list(dict.fromkeys(terms[start : start + 5]))
            self.random.shuffle(near)
            return f'"{" ".join(near[:3])}"~{self.random.randint(1, 8)}'
        if kind < 0.85:
            return self.wildcard(max(terms, key=len))
        return self.field()

    def field(self) -> str:
        """Write a condition on a field, of each field in turn by chance."""
        low, high = sorted(self.random.choices([0, 9, 10, 11, 999, 1000, 5_000_000], k=2))
        choose = self.random.choice
        return choose(
            [
                f"lang:{choose(['de', 'en', 'ar', 'fr', 'und'])}",
                f"lang:(de OR {choose(['en', 'es', 'hi'])})",
                f"network:{choose(NETWORKS)}",
                f"kind:{choose(sorted(KINDS))}",
                f"visibility:{choose(sorted(VISIBILITIES))}",
                f"author:{choose(['anna', 'Jürgen*', 'ann?', '17'])}",
                f"followers:{choose('[{')}{low} TO {high}{choose(']}')}",
                f"followers:{choose(['>', '>=', '<', '<='])}{high}",
                f"has:{choose(['link', 'media', 'hashtag', 'mention', *MEDIA_KINDS])}",
                f"hashtag:{choose('abcdefgst')}*",
                f"mention:{choose('abcdefgst')}*",
                f"dictionary:{choose(sorted(DICTIONARIES))}",
            ]
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


class Compared(NamedTuple):
    """Where the rules were compared.

    Attributes:
        client, pattern: the index.
        queries: every rule as written, by its id.
        streamed: how many posts each rule hit in the stream.
        posts: how many there are.
    """

    client: Elasticsearch
    pattern: str
    queries: dict[str, str]
    streamed: Counter[str]
    posts: int


@pytest.fixture(scope="module")
def compared(elasticsearch_url: str, shared_data: Path) -> Iterator[Compared]:
    """Match all rules on all posts, then index the posts with what hit them."""
    print(f"posts and rules are drawn with seed {SEED} (RULES_SEED)")  # noqa: T201 - to repeat a run  # noqa: T201 - to repeat a run
    random = Random(SEED)
    posts = [post_of(row, random) for row in sampled(shared_data, random)]
    writer = Writer([post.draft.text for post in posts if post.draft.text], random)
    queries = {f"h{number}": query for number, query in enumerate(HAND_WRITTEN)}
    queries |= {f"b{number}": query for number, query in enumerate(BOUNDS)}
    queries |= {f"g{number}": writer.rule() for number in range(GENERATED)}
    rules = RuleSet.compile(
        Rule(name, expand_rule(parse_rule(query, DICTIONARIES))) for name, query in queries.items()
    )
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    streamed: Counter[str] = Counter()
    with Elasticsearch(elasticsearch_url, request_timeout=120) as client:
        asyncio.run(put_templates(elasticsearch_url, prefix))
        try:
            lines: list[bytes] = []
            for number, post in enumerate(posts):
                hits = rules.match(rule_document(post.draft, post.network, post.lang))
                streamed.update(hit.rule_id for hit in hits)
                heard = [Match(how="rule", rule=hit.rule_id) for hit in hits]
                lines.append(bulk_lines(prefix, number, event_of(number, post, heard)))
                if len(lines) == 2_000:
                    write(client, lines)
                    lines = []
            write(client, lines)
            client.indices.refresh(index=f"{prefix}*")
            yield Compared(client, f"{prefix}events-*", queries, streamed, len(posts))
        finally:
            for name in client.indices.get(index=f"{prefix}*", ignore_unavailable=True):
                client.indices.delete(index=name)
            client.indices.delete_index_template(name=f"{prefix}*")
            client.cluster.delete_component_template(name=f"{prefix}*")


async def put_templates(url: str, prefix: str) -> None:
    client = elasticsearch_client(url)
    try:
        settings = {"number_of_replicas": 0, "refresh_interval": "-1"}
        await apply_templates(client, schemas_dir() / FOLDER, prefix, settings)
    finally:
        await client.close()


def write(client: Elasticsearch, lines: list[bytes]) -> None:
    answer = client.perform_request("POST", "/_bulk", headers=HEADERS, body=b"".join(lines))
    wrong = [
        item["index"]["error"]["type"] for item in answer["items"] if item["index"].get("error")
    ]
    assert not wrong, wrong[:3]


def forms_of(query: str) -> dict[str, dict]:
    """Give a rule in each form in which the index can be asked."""
    parsed = parse_rule(query, DICTIONARIES)
    plain, string = expand_rule(parsed), to_query_string(parsed)
    forms = {
        "body": to_elasticsearch(parsed),
        "string": {"query_string": {"query": string}},
        "Kibana": {"query_string": {"query": string, "analyze_wildcard": True}},
    }
    if not re.search(rf"\b({'|'.join(FIELDS)}):", plain):
        forms["as written"] = {"query_string": {"query": plain, **QUERY_STRING}}
    return forms


def differing(name: str, query: dict) -> dict:
    """Ask for the documents that only one of both hits."""
    streamed = {"term": {"matches.rule": {"value": name}}}
    either = [
        {"bool": {"filter": [query], "must_not": [streamed]}},
        {"bool": {"filter": [streamed], "must_not": [query]}},
    ]
    return {"bool": {"should": either, "minimum_should_match": 1}}


def ask(compared: Compared, searches: list[dict]) -> list[dict]:
    """Ask many things in few requests; an error is one, not an absence of hits."""
    answers: list[dict] = []
    for start in range(0, len(searches), 50):
        lines = [line for search in searches[start : start + 50] for line in ({}, search)]
        answer = compared.client.msearch(index=compared.pattern, searches=lines)
        answers += answer["responses"]
    return answers


def assert_equal(compared: Compared, kind: str) -> None:
    """Compare the rules of one kind in all forms; a difference is told by rule and ids."""
    names = [name for name in compared.queries if name.startswith(kind)]
    asked = [
        (name, form, query)
        for name in names
        for form, query in forms_of(compared.queries[name]).items()
    ]
    small = {"size": 3, "_source": False, "track_total_hits": True}
    answers = ask(
        compared, [{**small, "query": differing(name, query)} for name, _, query in asked]
    )
    counts = ask(
        compared,
        [{"size": 0, "track_total_hits": True, "query": query} for _, _, query in asked],
    )
    unequal = []
    for (name, form, _), answer, count in zip(asked, answers, counts, strict=True):
        told = f"{name} {compared.queries[name][:200]!r} as {form}"
        if "error" in answer or "error" in count:
            unequal.append(f"{told}: {(answer if 'error' in answer else count)['error']['type']}")
            continue
        found = count["hits"]["total"]["value"]
        if answer["hits"]["total"]["value"] or found != compared.streamed[name]:
            ids = [hit["_id"] for hit in answer["hits"]["hits"]]
            unequal.append(
                f"{told}: {found} in the index, {compared.streamed[name]} streamed, {ids}"
            )
    assert unequal == []
    print(f"{len(names)} rules, {len(asked)} forms, {compared.posts:,} posts: no difference")  # noqa: T201 - what was compared


def test_values_of_fields_are_lower_cased_alike(compared: Compared) -> None:
    """Every code point of a handle, a hashtag or a mention, whatever Unicode this Java knows."""
    codes = [*range(1, 0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 997)]
    [index] = compared.client.indices.get(index=compared.pattern)
    unequal = []
    for start in range(0, len(codes), 4_000):
        value = "|".join(map(chr, codes[start : start + 4_000]))
        answer = compared.client.indices.analyze(index=index, normalizer=ANALYSER, text=value)
        indexed, ours = answer["tokens"][0]["token"], fold_value(value)
        assert len(indexed) == len(ours)
        unequal += [hex(ord(a)) for a, b in zip(indexed, ours, strict=True) if a != b]
    assert unequal == []


def test_hand_written_rules_hit_the_same_posts(compared: Compared) -> None:
    assert compared.posts >= 20_000
    assert len(HAND_WRITTEN) >= 200
    assert_equal(compared, "h")
    silent = [name for name in compared.queries if not compared.streamed[name]]
    assert len([name for name in silent if name.startswith("h")]) < 0.2 * len(HAND_WRITTEN)


def test_rules_at_their_bounds_hit_the_same_posts(compared: Compared) -> None:
    assert_equal(compared, "b")


def test_generated_rules_hit_the_same_posts(compared: Compared) -> None:
    assert_equal(compared, "g")
    fired = [name for name in compared.streamed if name.startswith("g")]
    assert len(fired) > 0.7 * GENERATED
