"""Elasticsearch for a command: the indexer's client, and its errors as ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from klingel.errors import ConfigurationError, CredentialsRejected, SourceUnavailable
from klingel.settings import ElasticsearchSettings
from klingel_indexer.worker import elasticsearch_from

T = TypeVar("T")


def ask(
    elasticsearch: ElasticsearchSettings, question: Callable[[AsyncElasticsearch], Awaitable[T]]
) -> T:
    """Open a client, ask one thing, close it.

    Raises:
        SourceUnavailable: Elasticsearch is away or answers with its own trouble.
        CredentialsRejected: it refuses our credential.
        ConfigurationError: it refuses what was asked (any other 4xx), and `question` did not say why.
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
        raise SourceUnavailable(
            f"Elasticsearch at {elasticsearch.url} does not answer ({type(error).__name__}); "
            "start it or set KLINGEL_ELASTICSEARCH__URL"
        ) from None
    finally:
        await client.close()
