"""Elasticsearch for a command: the indexer's client, and its errors as ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from elastic_transport import TransportError
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthorizationException,
    BadRequestError,
    NotFoundError,
)

from klingel.contracts.trust import why_not_trusted
from klingel.errors import ConfigurationError, CredentialsRejected, SourceUnavailable
from klingel.settings import ElasticsearchSettings
from klingel_cli.shell import FOUND_WRONG, WRONG_USAGE, Failure
from klingel_indexer.worker import ELASTICSEARCH, elasticsearch_from

T = TypeVar("T")


def ask(
    elasticsearch: ElasticsearchSettings, question: Callable[[AsyncElasticsearch], Awaitable[T]]
) -> T:
    """Open a client, ask one thing, close it.

    Raises:
        SourceUnavailable: Elasticsearch is away or answers with its own trouble.
        CredentialsRejected: it refuses our credential.
        ConfigurationError: its certificate is not trusted, or it refuses what was asked (any other
            4xx) and `question` did not say why.
    """
    return asyncio.run(_ask(elasticsearch, question))


async def _ask(
    elasticsearch: ElasticsearchSettings, question: Callable[[AsyncElasticsearch], Awaitable[T]]
) -> T:
    client = elasticsearch_from(elasticsearch)
    try:
        return await question(client)
    except ApiError as error:
        if error.meta.status in {401, 403}:
            raise CredentialsRejected(
                f"Elasticsearch at {elasticsearch.url} refuses our credential; "
                "see KLINGEL_ELASTICSEARCH__API_KEY"
            ) from None
        if error.meta.status == 429 or error.meta.status >= 500:
            raise SourceUnavailable(
                f"Elasticsearch at {elasticsearch.url} answered {error.meta.status}; "
                "try again when it is well"
            ) from None
        raise ConfigurationError(
            f"Elasticsearch at {elasticsearch.url} refuses what was asked ({error.meta.status}); "
            "`klingel index check` says whether its templates are right"
        ) from None
    except TransportError as error:
        why = why_not_trusted(error, ELASTICSEARCH)
        if why is not None:
            raise ConfigurationError(
                f"Elasticsearch at {elasticsearch.url} is not trusted: {why}"
            ) from None
        raise SourceUnavailable(
            f"Elasticsearch at {elasticsearch.url} does not answer ({type(error).__name__}); "
            "start it or set KLINGEL_ELASTICSEARCH__URL (https:// where it encrypts)"
        ) from None
    finally:
        await client.close()


async def expect_indices(client: AsyncElasticsearch, elasticsearch: ElasticsearchSettings) -> None:
    """Return when there is an index of ours: only then an answer of nothing says something.

    Raises:
        Failure: nothing was ever indexed (exit 1), or not even the templates are there (exit 2).
    """
    prefix = elasticsearch.index_prefix
    found = await client.search(
        index=f"{prefix}*", size=0, ignore_unavailable=True, allow_no_indices=True
    )
    if found["_shards"]["total"]:
        return
    try:
        await client.indices.get_index_template(name=f"{prefix}events")
    except NotFoundError:
        raise Failure(
            f"Elasticsearch at {elasticsearch.url} has neither indices nor templates under {prefix}; "
            "see KLINGEL_ELASTICSEARCH__INDEX_PREFIX, or run `klingel index apply`",
            WRONG_USAGE,
        ) from None
    except AuthorizationException:
        pass  # readers may not ask for templates
    raise Failure(
        f"nothing was indexed under {prefix} yet, or this credential sees none of it; "
        "`klingel status` says whether the indexer works",
        FOUND_WRONG,
    )


async def of_security(elasticsearch: ElasticsearchSettings, made: Awaitable[T], *, mend: str) -> T:
    """Return what the API of security made.

    Args:
        elasticsearch: address.
        made: the question.
        mend: what is right where Elasticsearch refuses it.

    Raises:
        ConfigurationError: security is off, or it refuses what was asked.
        ApiError, TransportError: see `ask`.
    """
    try:
        return await made
    except BadRequestError as error:
        refused = isinstance(error.body, dict) and isinstance(error.body.get("error"), dict)
        if refused:
            raise ConfigurationError(
                f"Elasticsearch at {elasticsearch.url} refuses it (400); {mend}"
            ) from None
        # What answers is no handler of security: there is none.
        raise ConfigurationError(
            f"Elasticsearch at {elasticsearch.url} knows no users, roles and keys: its security is "
            "off (xpack.security.enabled)"
        ) from None
