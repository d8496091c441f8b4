"""`klingel search`: posts in the index, asked in the syntax of the listening rules."""

from datetime import datetime
from typing import Any

import click
from elasticsearch import AsyncElasticsearch, BadRequestError

from klingel.domain.matching import QUERY_STRING, RuleSyntaxError, parse_rule, to_elasticsearch
from klingel.errors import ConfigurationError
from klingel.settings import ElasticsearchSettings
from klingel_cli.search_client import ask, expect_indices
from klingel_cli.shell import Shell, as_json, pass_shell

_TEXT = 100


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@click.option("--brand", help="Only this brand's posts.")
@click.option("--size", type=click.IntRange(1, 10_000), default=10, help="At most; 10 by default.")
@as_json
@pass_shell
def search(
    shell: Shell, query: tuple[str, ...], brand: str | None, size: int, *, as_json: bool
) -> None:
    """Search posts in the syntax of the listening rules, the newest first.

    QUERY hits what the same listening rule hits. What is no rule is asked as a Lucene query, where
    every field of the index has a name, such as `queue:billing AND decision:0`.
    """
    question = " ".join(query)
    hits = ask(
        shell.settings.elasticsearch,
        lambda client: _search(client, shell.settings.elasticsearch, question, brand, size),
    )
    found, total = hits["hits"], hits["total"]["value"]
    if as_json:
        for hit in found:
            shell.tell({"index": hit["_index"], **hit["_source"]})
        return
    shell.table(
        ("published", "brand", "network", "author", "queue", "text"),
        [_row(hit["_source"]) for hit in found],
    )
    least = "at least " if hits["total"]["relation"] == "gte" else ""
    shell.say(f"\n{len(found)} of {least}{total:,} posts")


async def _search(
    client: AsyncElasticsearch,
    elasticsearch: ElasticsearchSettings,
    question: str,
    brand: str | None,
    size: int,
) -> Any:
    asked: list[dict[str, Any]] = [query_of(question)]
    if brand is not None:
        asked.append({"term": {"brand": brand}})
    try:
        answer = await client.search(
            index=f"{elasticsearch.index_prefix}events-*",
            query={"bool": {"filter": asked, "must_not": [{"term": {"change": "deleted"}}]}},
            size=size,
            sort=[{"published_at": {"order": "desc", "unmapped_type": "date"}}],
            ignore_unavailable=True,
            allow_no_indices=True,
        )
    except BadRequestError as error:
        raise ConfigurationError(
            f"Elasticsearch refuses the query ({error.meta.status}); "
            'write words, "phrases", AND, OR, NOT, or field:value'
        ) from None
    if not answer["_shards"]["total"]:
        await expect_indices(client, elasticsearch)
    return answer["hits"]


def query_of(question: str) -> dict[str, Any]:
    """Return the query: a rule as the stream understands it, else Lucene's own syntax."""
    try:
        return to_elasticsearch(parse_rule(question))
    except RuleSyntaxError:
        return {"query_string": {"query": question, **QUERY_STRING}}


def _row(post: dict[str, Any]) -> tuple[object, ...]:
    author = post.get("author") or {}
    text = " ".join((post.get("text") or "").split())
    return (
        _minute(post.get("published_at") or post.get("received_at")),
        post.get("brand"),
        post.get("network"),
        author.get("handle") or author.get("id"),
        post.get("queue"),
        text if len(text) <= _TEXT else text[: _TEXT - 1] + "…",
    )


def _minute(at: str | None) -> str | None:
    if at is None:
        return None
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M}"
