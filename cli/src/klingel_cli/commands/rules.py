"""`klingel rules`: try listening rules on a file or on the index, and see why they hit."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import msgspec
from elasticsearch import AsyncElasticsearch, BadRequestError

from klingel.config.brand import Brand
from klingel.config.compiled import dictionaries_of, listening_rules
from klingel.config.loader import load_brand
from klingel.domain.dictionary import Dictionaries
from klingel.domain.matching import (
    Finding,
    Rule,
    RuleDocument,
    RuleQuery,
    RuleSet,
    RuleSyntaxError,
    expand_rule,
    explain_rule,
    parse_rule,
    required_terms,
    to_elasticsearch,
    to_query_string,
)
from klingel.errors import ConfigurationError
from klingel_cli.commands.map import deliveries
from klingel_cli.commands.remap import Moment
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell

AD_HOC = "query"
"""Name of the rule that stands in no file."""
AT_ONCE = 100
"""Rules compared on the index in one request: as many pairs as one answer may hold."""
_CASES = 5_000
_SHOWN = 12
_PAIRS = 20

Span = tuple[datetime, datetime]


@click.group("rules")
def rules_group() -> None:
    """Try listening rules before they go live, on a file of posts or on the index.

    A rule's hits are the same in the stream and in Elasticsearch. FILE is a brand file; POSTS holds
    one JSON object a line (.jsonl, also .gz) with `text`, and where known `id`, `lang`, `network`,
    `kind`, `visibility`, `author` (`id`, `handle`, `followers`), `hashtags`, `mentions`, `links` and
    `media` (kinds). Hashtags, mentions and links that a row does not name are read from its text.
    """


brand_file = click.argument("brand_file", type=click.Path(path_type=Path), metavar="FILE")
only = click.option("--rule", "only", multiple=True, metavar="ID", help="Only this rule; several.")
ad_hoc = click.option("--query", metavar="QUERY", help="Instead a rule that stands in no file.")
days = click.option(
    "--days", type=click.IntRange(1, 400), default=7, show_default=True, help="Days until now."
)
since_option = click.option("--from", "since", type=Moment(), help="First time of receipt.")
until_option = click.option("--to", "until", type=Moment(), help="Last; now by default.")
all_brands = click.option(
    "--all-brands", is_flag=True, help="Look at what other brands heard, too; a post of each brand."
)


# -- test -----------------------------------------------------------------------------------


@rules_group.command("test")
@brand_file
@click.argument("posts", type=click.Path(path_type=Path, allow_dash=True), metavar="POSTS")
@only
@ad_hoc
@click.option(
    "--examples", type=click.IntRange(0, 100), default=3, show_default=True, help="Ids a rule."
)
@as_json
@pass_shell
def test_rules(
    shell: Shell,
    brand_file: Path,
    posts: Path,
    only: tuple[str, ...],
    query: str | None,
    examples: int,
    *,
    as_json: bool,
) -> None:
    """Count the hits of a brand's rules on a file of posts, with examples by id."""
    rules = _Rules.read(brand_file, only, query)
    tried = _try(rules, posts, examples)
    if as_json:
        shell.tell(
            {
                "posts": tried.posts,
                "heard": tried.heard,
                "rules": [
                    {
                        "rule": name,
                        "version": rule.version,
                        "hits": tried.hits[name],
                        "examples": tried.examples.get(name, []),
                    }
                    for name, rule in rules.rules.items()
                ],
            }
        )
        return
    shell.table(
        ("rule", "#hits", "#share", "examples"),
        [
            (
                name,
                tried.hits[name],
                _share(tried.hits[name], tried.posts),
                ", ".join(tried.examples.get(name, [])),
            )
            for name in rules.rules
        ],
    )
    shell.say(f"\n{tried.heard:,} of {tried.posts:,} posts are heard")


# -- preview --------------------------------------------------------------------------------


@rules_group.command("preview")
@brand_file
@only
@ad_hoc
@days
@since_option
@until_option
@all_brands
@as_json
@pass_shell
def preview_rules(
    shell: Shell,
    brand_file: Path,
    only: tuple[str, ...],
    query: str | None,
    days: int,
    since: datetime | None,
    until: datetime | None,
    *,
    all_brands: bool,
    as_json: bool,
) -> None:
    """Count the documents of the index that rules would hit, and of which networks.

    The index holds what was heard: a rule that would hear more than the rules of today hits more in
    the stream than here.
    """
    rules = _Rules.read(brand_file, only, query)
    where = _Index.of(shell, rules.brand, all_brands=all_brands)
    span = _span(shell.now(), days, since, until)
    found = ask(shell.settings.elasticsearch, lambda client: _preview(client, where, rules, span))
    if as_json:
        shell.tell({"from": span[0], "to": span[1], **found})
        return
    shell.table(
        ("rule", "#hits", "#share", "networks", "#also recorded"),
        [
            (
                each["rule"],
                each["hits"],
                _share(each["hits"], found["documents"]),
                ", ".join(f"{name} {count:,}" for name, count in each["networks"].items()),
                each["recorded"],
            )
            for each in found["rules"]
        ],
    )
    shell.say(f"\n{found['documents']:,} posts from {_minute(span[0])} to {_minute(span[1])}")


async def _preview(
    client: AsyncElasticsearch, where: "_Index", rules: "_Rules", span: Span
) -> dict[str, Any]:
    told = []
    documents = 0
    for names in _batched(list(rules.rules)):
        answer = await where.search(
            client,
            span,
            {
                name: {
                    "filter": rules.bodies[name],
                    "aggs": {
                        "networks": {"terms": {"field": "network", "size": 50}},
                        "recorded": {"filter": {"term": {"matches.rule": {"value": name}}}},
                    },
                }
                for name in names
            },
        )
        documents = answer.documents
        for name in names:
            bucket = answer.found.get(name, {})
            networks = bucket.get("networks", {}).get("buckets", [])
            told.append(
                {
                    "rule": name,
                    "version": rules.rules[name].version,
                    "hits": bucket.get("doc_count", 0),
                    "networks": {each["key"]: each["doc_count"] for each in networks},
                    "recorded": bucket.get("recorded", {}).get("doc_count", 0),
                }
            )
    return {"documents": documents, "rules": told}


# -- coverage -------------------------------------------------------------------------------


@rules_group.command("coverage")
@brand_file
@click.argument(
    "posts", required=False, type=click.Path(path_type=Path, allow_dash=True), metavar="[POSTS]"
)
@only
@days
@since_option
@until_option
@as_json
@pass_shell
def cover_rules(
    shell: Shell,
    brand_file: Path,
    posts: Path | None,
    only: tuple[str, ...],
    days: int,
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Say which rules overlap and which never hit, on a file of posts or on the index.

    On the index also how precise each rule is: of the closed cases of posts that it heard, the share
    that was answered rather than withdrawn.
    """
    rules = _Rules.read(brand_file, only, None)
    if posts is not None:
        covered = _try(rules, posts, 0).covered()
    else:
        where = _Index.of(shell, rules.brand, all_brands=False)
        span = _span(shell.now(), days, since, until)
        covered = ask(
            shell.settings.elasticsearch, lambda client: _cover(client, where, rules, span)
        )
    told = {
        "posts": covered.posts,
        "heard": covered.heard,
        "rules": [
            {
                "rule": name,
                "hits": covered.hits[name],
                "alone": covered.alone[name],
                "precision": covered.precision.get(name),
            }
            for name in rules.rules
        ],
        "never": [name for name in rules.rules if not covered.hits[name]],
        "overlaps": [
            {"rules": list(pair), "both": both, "of_the_smaller": round(share, 4)}
            for pair, both, share in covered.overlaps()
        ],
    }
    if as_json:
        shell.tell(told)
        return
    _show_coverage(shell, told, with_precision=posts is None)


def _show_coverage(shell: Shell, told: dict[str, Any], *, with_precision: bool) -> None:
    columns = ("rule", "#hits", "#hit by no other", *(("precision",) if with_precision else ()))
    shell.table(
        columns,
        [
            (each["rule"], each["hits"], each["alone"], _precision(each["precision"]))[
                : len(columns)
            ]
            for each in told["rules"]
        ],
    )
    if told["overlaps"]:
        shell.say("")
        shell.table(
            ("overlap", "", "#both", "#of the smaller"),
            [
                (*each["rules"], each["both"], f"{each['of_the_smaller']:.0%}")
                for each in told["overlaps"][:_PAIRS]
            ],
        )
        if len(told["overlaps"]) > _PAIRS:
            shell.say(f"and {len(told['overlaps']) - _PAIRS} pairs more; see --json")
    shell.say(f"\n{told['heard']:,} of {told['posts']:,} posts are heard")
    if told["never"]:
        shell.say(f"never hit: {', '.join(told['never'])}")


def _precision(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no outcomes yet"
    return f"{found['share']:.0%} of {found['closed']:,} cases"


async def _cover(
    client: AsyncElasticsearch, where: "_Index", rules: "_Rules", span: Span
) -> "_Coverage":
    if len(rules.rules) > AT_ONCE:
        raise ConfigurationError(
            f"{len(rules.rules)} rules are too many to compare on the index; name at most {AT_ONCE} "
            "with --rule, or a file of posts"
        )
    any_of = {"bool": {"should": list(rules.bodies.values()), "minimum_should_match": 1}}
    aggregations: dict[str, Any] = {
        "pairs": {"adjacency_matrix": {"filters": rules.bodies}},
        "heard": {"filter": any_of},
    }
    for name, body in rules.bodies.items():
        others = [other for key, other in rules.bodies.items() if key != name]
        aggregations[f"alone.{name}"] = {"filter": {"bool": {"filter": [body], "must_not": others}}}
    answer = await where.search(client, span, aggregations)
    covered = _Coverage(posts=answer.documents, heard=answer.count("heard"))
    for bucket in answer.found.get("pairs", {}).get("buckets", []):
        names = bucket["key"].split("&")
        if len(names) == 1:
            covered.hits[names[0]] = bucket["doc_count"]
        else:
            covered.both[names[0], names[1]] = bucket["doc_count"]
    for name in rules.rules:
        covered.alone[name] = answer.count(f"alone.{name}")
        precision = await where.precision(client, span, name)
        if precision is not None:
            covered.precision[name] = precision
    return covered


# -- explain --------------------------------------------------------------------------------


@rules_group.command("explain")
@brand_file
@click.argument("rule", required=False, metavar="[RULE]")
@ad_hoc
@click.option("--text", help="Say of this text whether and why it is hit.")
@click.option(
    "--post",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Say it of the first post of this file, with its fields.",
)
@as_json
@pass_shell
def explain_one(
    shell: Shell,
    brand_file: Path,
    rule: str | None,
    query: str | None,
    text: str | None,
    post: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say how RULE is read: its parts, its dictionaries, what Kibana is asked, what it requires.

    RULE is the id of a listening rule or of a routing rule.
    """
    if (rule is None) == (query is None):
        raise ConfigurationError("name a rule of the file, or write one with --query QUERY")
    if text is not None and post is not None:
        raise ConfigurationError("take --text or --post, not both")
    brand = load_brand(brand_file).brand
    dictionaries = dictionaries_of(brand)
    source = query if query is not None else _query_of(brand, rule or "")
    parsed = _parsed(source, dictionaries)
    document = None if text is None else RuleDocument(text=text)
    if post is not None:
        document = next((row for _, row in _rows(post)), None)
        if document is None:
            raise ConfigurationError(f"{post}: the file holds no post")
    required = required_terms(parsed)
    told: dict[str, Any] = {
        "rule": rule or AD_HOC,
        "query": source,
        "dictionaries": {name: len(dictionaries[name]) for name in parsed.dictionaries},
        "plain": expand_rule(parsed),
        "kibana": to_query_string(parsed),
        "requires_one_of": None if required is None else sorted(required),
        "warnings": list(parsed.warnings),
    }
    findings = () if document is None else explain_rule(parsed, document)
    if as_json:
        if document is not None:
            told["hits"] = findings[0].holds
            told["findings"] = [asdict(finding) for finding in findings]
        shell.tell(told)
        return
    _show_rule(shell, told)
    if document is not None:
        _show_findings(shell, findings, document.text)


def _show_rule(shell: Shell, told: dict[str, Any]) -> None:
    shell.say(f"rule       {told['rule']}")
    shell.say(f"query      {told['query']}")
    for name, count in told["dictionaries"].items():
        shell.say(f"dictionary {name}: {count:,} forms")
    if told["plain"] != told["query"]:
        shell.say(f"expanded   {told['plain']}")
    shell.say(f"Kibana     {told['kibana']}")
    required = told["requires_one_of"]
    if required is None:
        shell.say("requires   no word: every event is looked at")
    else:
        more = f" and {len(required) - _SHOWN:,} more" if len(required) > _SHOWN else ""
        shell.say(f"requires   one of: {', '.join(required[:_SHOWN])}{more}")
    for warning in told["warnings"]:
        shell.say(f"warning    {warning}")


def _show_findings(shell: Shell, findings: Sequence[Finding], text: str) -> None:
    shell.say(f"\nthe post is {'hit' if findings[0].holds else 'not hit'}:")
    for depth, part, holds, spans in _condensed(findings):
        words = ", ".join(f"{start}-{end} {text[start:end]!r}" for start, end in spans)
        shell.say(f"  {'yes' if holds else 'no ':3} {'  ' * depth}{part}{words and '  ' + words}")


def _condensed(
    findings: Sequence[Finding],
) -> Iterator[tuple[int, str, bool, Sequence[tuple[int, int]]]]:
    """Yield the findings; of many conditions side by side that do not hold, only their number."""
    at = 0
    while at < len(findings):
        finding = findings[at]
        run = at
        while run < len(findings) and _is_silent(findings[run], finding.depth):
            run += 1
        if run - at > _SHOWN:
            yield finding.depth, f"{finding.part} and {run - at - 1:,} more", False, ()
            at = run
            continue
        yield finding.depth, finding.part, finding.holds, finding.spans
        at += 1


def _is_silent(finding: Finding, depth: int) -> bool:
    return finding.depth == depth and not finding.holds and finding.part not in {"AND", "OR", "NOT"}


# -- rules ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rules:
    """Rules to be tried, by their ids; all of a brand, some of them, or one of nobody."""

    brand: str
    rules: Mapping[str, Rule]
    bodies: Mapping[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path, only: Sequence[str], query: str | None) -> "_Rules":
        """Read a brand file.

        Raises:
            BrandFileError: it is wrong.
            ConfigurationError: a rule that it does not have, no rule at all, or a query that cannot
                be read.
        """
        brand = load_brand(path).brand
        if query is not None:
            if only:
                raise ConfigurationError("take --rule or --query, not both")
            parsed = _parsed(query, dictionaries_of(brand))
            chosen = {AD_HOC: Rule(AD_HOC, expand_rule(parsed))}
        else:
            held = {rule.id: rule for rule in listening_rules(brand)}
            for name in only:
                _check_known(name, held)
            chosen = {name: held[name] for name in (dict.fromkeys(only) or held)}
            if not chosen:
                raise ConfigurationError(
                    f"{path}: the brand has no listening rules; add one, or take --query QUERY"
                )
        bodies = {name: to_elasticsearch(parse_rule(rule.query)) for name, rule in chosen.items()}
        return cls(brand.brand, chosen, bodies)


def _parsed(query: str, dictionaries: Dictionaries) -> RuleQuery:
    try:
        return parse_rule(query, dictionaries)
    except RuleSyntaxError as error:
        raise ConfigurationError(
            f"at character {error.position + 1} of the query: {error.message}"
        ) from None


def _query_of(brand: Brand, name: str) -> str:
    """Return the query of a rule as the brand file has it."""
    queries = {rule.id: rule.when or "" for rule in brand.routing}
    queries |= {rule.id: rule.query for rule in brand.listening}
    _check_known(name, queries)
    return queries[name]


def _check_known(name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        near = get_close_matches(name, names, 1)
        right = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
        raise ConfigurationError(f"the brand has no rule {name[:60]!r}; {right}")


# -- a file of posts ------------------------------------------------------------------------


class _Author(msgspec.Struct):
    id: str | None = None
    handle: str | None = None
    followers: int | None = None


class _Row(msgspec.Struct):
    text: str
    id: str | int | None = None
    lang: str | None = None
    network: str | None = None
    kind: str | None = None
    visibility: str | None = None
    author: _Author | None = None
    hashtags: list[str] | None = None
    mentions: list[str] | None = None
    links: list[str] | None = None
    media: list[str] | None = None


_ROW = msgspec.json.Decoder(_Row)
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_HASHTAG = re.compile(r"#(\w+)")
_MENTION = re.compile(r"@(\w+)")
_LINK = re.compile(r"https?://\S+")


def _rows(path: Path) -> Iterator[tuple[str, RuleDocument]]:
    """Yield (id, document) of a file's posts; a row without an id is called by its line.

    Raises:
        ConfigurationError: the file or a row cannot be read; the sentence names the line.
    """
    for number, line in enumerate(deliveries(path, lines=True), 1):
        try:
            row = _ROW.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = str(error) if isinstance(error, msgspec.ValidationError) else "it is no JSON"
            raise ConfigurationError(
                f"{path}: post {number}: {what}; a post is an object with a text"
            ) from None
        yield str(row.id) if row.id is not None else f"line {number}", _document(row)


def _document(row: _Row) -> RuleDocument:
    author = row.author or _Author()
    text = row.text
    links = row.links if row.links is not None else _LINK.search(text)
    return RuleDocument(
        text=text,
        lang=row.lang if row.lang and _LANGUAGE.fullmatch(row.lang) else None,
        network=row.network,
        kind=row.kind,
        author_id=author.id,
        author_handle=author.handle,
        followers=author.followers,
        has_link=bool(links),
        hashtags=_HASHTAG.findall(text) if row.hashtags is None else row.hashtags,
        mentions=_MENTION.findall(text) if row.mentions is None else row.mentions,
        visibility=row.visibility,
        media=row.media or (),
    )


@dataclass(slots=True)
class _Coverage:
    """What rules hit together.

    Attributes:
        posts: how many were looked at; `heard`: how many some rule hits.
        hits, alone: by rule; `alone` are hit by no other rule.
        both: by pair of rules.
        precision: by rule, where cases have ended.
    """

    posts: int = 0
    heard: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    alone: Counter[str] = field(default_factory=Counter)
    both: Counter[tuple[str, str]] = field(default_factory=Counter)
    precision: dict[str, dict[str, Any]] = field(default_factory=dict)

    def overlaps(self) -> list[tuple[tuple[str, str], int, float]]:
        """Return (pair, hits of both, their share of the smaller rule), the largest share first."""
        found = [
            (pair, both, both / min(self.hits[pair[0]], self.hits[pair[1]]))
            for pair, both in self.both.items()
            if both
        ]
        return sorted(found, key=lambda each: (-each[2], -each[1], each[0]))


@dataclass(slots=True)
class _Tried:
    """What rules hit in a file."""

    posts: int = 0
    heard: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    together: Counter[tuple[str, ...]] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def covered(self) -> _Coverage:
        """Return the overlaps."""
        covered = _Coverage(self.posts, self.heard, self.hits)
        for names, count in self.together.items():
            if len(names) == 1:
                covered.alone[names[0]] += count
            for pair in combinations(names, 2):
                covered.both[pair] += count
        return covered


def _try(rules: _Rules, posts: Path, examples: int) -> _Tried:
    compiled = RuleSet.compile(rules.rules.values())
    tried = _Tried()
    for name, document in _rows(posts):
        tried.posts += 1
        hits = tuple(hit.rule_id for hit in compiled.match(document))
        if not hits:
            continue
        tried.heard += 1
        tried.together[hits] += 1
        for rule in hits:
            tried.hits[rule] += 1
            ids = tried.examples.setdefault(rule, [])
            if len(ids) < examples:
                ids.append(name)
    return tried


# -- the index ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    documents: int
    found: Mapping[str, Any]

    def count(self, name: str) -> int:
        """Return how many documents a filter found."""
        found: int = self.found.get(name, {}).get("doc_count", 0)
        return found


@dataclass(frozen=True, slots=True)
class _Index:
    """The indices of a brand's posts and cases."""

    posts: str
    cases: str

    @classmethod
    def of(cls, shell: Shell, brand: str, *, all_brands: bool) -> "_Index":
        prefix = shell.settings.elasticsearch.index_prefix
        whose = "*" if all_brands else f"{brand}-*"
        return cls(f"{prefix}events-{whose}", f"{prefix}cases-{brand}")

    async def search(
        self, client: AsyncElasticsearch, span: Span, aggregations: Mapping[str, Any]
    ) -> _Answer:
        """Aggregate over the posts of a span of time; what was deleted is no post."""
        answer = await _asked(
            client.search,
            index=self.posts,
            query={"bool": {"filter": [_received(span)], "must_not": [_DELETED]}},
            aggs=aggregations,
        )
        return _Answer(answer["hits"]["total"]["value"], answer.get("aggregations") or {})

    async def precision(
        self, client: AsyncElasticsearch, span: Span, rule: str
    ) -> dict[str, Any] | None:
        """Return how the closed cases of a rule's posts ended, None where none has."""
        heard = {"term": {"matches.rule": {"value": rule}}}
        answer = await _asked(
            client.search,
            index=self.posts,
            query={"bool": {"filter": [_received(span), heard], "must_not": [_DELETED]}},
            aggs={"cases": {"terms": {"field": "case_id", "size": _CASES}}},
        )
        buckets = (answer.get("aggregations") or {}).get("cases", {}).get("buckets", [])
        if not buckets:
            return None
        answer = await _asked(
            client.search,
            index=self.cases,
            query={
                "bool": {
                    "filter": [
                        {"terms": {"case_id": [bucket["key"] for bucket in buckets]}},
                        {"terms": {"closed_because": ["answered", "withdrawn"]}},
                    ]
                }
            },
            aggs={"ends": {"terms": {"field": "closed_because"}}},
        )
        ends = (answer.get("aggregations") or {}).get("ends", {}).get("buckets", [])
        ended = {bucket["key"]: bucket["doc_count"] for bucket in ends}
        closed = sum(ended.values())
        if not closed:
            return None
        answered = ended.get("answered", 0)
        return {"share": round(answered / closed, 4), "answered": answered, "closed": closed}


_DELETED = {"term": {"change": {"value": "deleted"}}}


def _received(span: Span) -> dict[str, Any]:
    bounds = {"gte": span[0].isoformat(), "lte": span[1].isoformat()}
    return {"range": {"received_at": bounds}}


async def _asked(search: Callable[..., Any], **options: Any) -> Any:
    try:
        return await search(
            size=0,
            track_total_hits=True,
            ignore_unavailable=True,
            allow_no_indices=True,
            **options,
        )
    except BadRequestError as error:
        raise ConfigurationError(
            f"Elasticsearch refuses the rules ({error.meta.status}); "
            "`klingel index check` says whether its templates are right"
        ) from None


def _batched(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def _span(now: datetime, days: int, since: datetime | None, until: datetime | None) -> Span:
    last = until or now
    try:
        first = since or last - timedelta(days=days)
    except OverflowError:
        raise ConfigurationError("--to lies before the first year that there is") from None
    if not first < last:
        raise ConfigurationError("--from lies before --to and before now")
    return first, last


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
