"""Component and index templates: applied by a command, compared at start, never by a first write.

The files of `schemas/generated/elasticsearch` are written for the prefix `klingel-`; another
prefix replaces it in every name and pattern, so that several deployments share a cluster.
Monthly indices come into being by their template at the first write of a month: that needs no
command, but the templates do. An indexer whose templates are not applied waits and writes nothing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError

from klingel.errors import ConfigurationError

WRITTEN_FOR = "klingel-"
FOLDER = Path("generated") / "elasticsearch"

# Settings that an index takes while it is open; the others hold for indices made later.
_DYNAMIC = ("refresh_interval", "number_of_replicas", "gc_deletes", "translog.durability")

# What Elasticsearch 9 adds to a template by itself.
_SERVERS_OWN = {
    "created_date",
    "created_date_millis",
    "modified_date",
    "modified_date_millis",
}

Json = dict[str, Any]

JSON_HEADERS = {
    "content-type": "application/vnd.elasticsearch+json; compatible-with=8",
    "accept": "application/vnd.elasticsearch+json; compatible-with=8",
}
"""Of every request that is made without the client's helpers."""


@dataclass(frozen=True, slots=True)
class Templates:
    """What Elasticsearch should hold, by physical name."""

    components: Mapping[str, Json]
    indices: Mapping[str, Json]


def read_templates(folder: Path, prefix: str, overrides: Mapping[str, Any]) -> Templates:
    """Read the generated files.

    Args:
        folder: `schemas/generated/elasticsearch`.
        prefix: of every index and template name.
        overrides: settings of every index, such as `{"refresh_interval": "1s"}`.

    Raises:
        ConfigurationError: no templates there, or a file that is no JSON.
    """
    components = _read(folder, ".component.json", prefix)
    indices = _read(folder, ".index.json", prefix)
    if not components or not indices:
        raise ConfigurationError(f"{folder}: no templates; `make generate` writes them")
    for template in indices.values():
        template["index_patterns"] = [_named(name, prefix) for name in template["index_patterns"]]
        template["composed_of"] = [_named(name, prefix) for name in template["composed_of"]]
    settings = components[f"{prefix}settings"]["template"]["settings"]["index"]
    settings.update(overrides)
    return Templates(components, indices)


async def apply_templates(
    client: AsyncElasticsearch, folder: Path, prefix: str, overrides: Mapping[str, Any]
) -> list[str]:
    """Put all templates, then bring existing indices up to them.

    New fields and changed dynamic settings reach existing indices too: a strict mapping would
    refuse the documents of the new version there.

    Returns:
        Names of templates and indices, in the order of their change.

    Raises:
        ConfigurationError: Elasticsearch refuses a template, or an existing index cannot take a
            mapping; the sentence names it.
    """
    templates = read_templates(folder, prefix, overrides)
    done = []
    for name, body in templates.components.items():
        await _put(client, "_component_template", name, body)
        done.append(name)
    for name, body in templates.indices.items():
        await _put(client, "_index_template", name, body)
        done.append(name)
    for template in templates.indices.values():
        for index in await existing_indices(client, template["index_patterns"]):
            await _bring_up(client, index, template, templates)
            done.append(index)
    return done


async def check_templates(
    client: AsyncElasticsearch, folder: Path, prefix: str, overrides: Mapping[str, Any] | None
) -> list[str]:
    """Return one sentence for each template that is missing or differs; empty when all is well.

    With `overrides` None the settings that may be tuned at any time (refresh, replicas, translog)
    are not compared: the indexer starts whatever they are.
    """
    templates = read_templates(folder, prefix, overrides or {})
    tuned = {f"template.settings.index.{name}" for name in _DYNAMIC} if overrides is None else set()
    differences = []
    for kind, wanted in (("component", templates.components), ("index", templates.indices)):
        for name, body in wanted.items():
            held = await _held(client, kind, name)
            if held is None:
                differences.append(f"{kind} template {name} is missing")
                continue
            different = sorted({*_different(_flat(body), _flat(held))} - _SERVERS_OWN - tuned)
            if different:
                differences.append(f"{kind} template {name} differs: {', '.join(different[:5])}")
    return differences


def _read(folder: Path, ending: str, prefix: str) -> dict[str, Json]:
    found = {}
    for path in sorted(folder.glob(f"*{ending}")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ConfigurationError(f"{path}: not a template") from None
        found[_named(path.name.removesuffix(ending), prefix)] = body
    return found


def _named(name: str, prefix: str) -> str:
    return prefix + name.removeprefix(WRITTEN_FOR)


async def _put(client: AsyncElasticsearch, kind: str, name: str, body: Json) -> None:
    try:
        await client.perform_request("PUT", f"/{kind}/{name}", headers=JSON_HEADERS, body=body)
    except BadRequestError as error:
        raise ConfigurationError(
            f"Elasticsearch refuses the template {name}: {_reason(error)}"
        ) from None


async def _held(client: AsyncElasticsearch, kind: str, name: str) -> Json | None:
    try:
        response = await client.perform_request(
            "GET", f"/_{kind}_template/{name}", headers=JSON_HEADERS
        )
    except NotFoundError:
        return None
    held: Json = response.body[f"{kind}_templates"][0][f"{kind}_template"]
    return held


async def existing_indices(client: AsyncElasticsearch, patterns: list[str]) -> list[str]:
    """Return the indices of these patterns that there are."""
    response = await client.perform_request(
        "GET",
        f"/{','.join(patterns)}",
        params={"ignore_unavailable": "true", "allow_no_indices": "true"},
        headers=JSON_HEADERS,
    )
    return sorted(response.body)


async def _bring_up(
    client: AsyncElasticsearch, index: str, template: Json, templates: Templates
) -> None:
    settings: Json = {}
    for component in template["composed_of"]:
        inner = templates.components[component]["template"]
        flat = _flat(inner.get("settings", {}).get("index", {}))
        settings |= {f"index.{name}": flat[name] for name in _DYNAMIC if name in flat}
        try:
            if "mappings" in inner:
                properties = {"properties": inner["mappings"]["properties"]}
                await client.perform_request(
                    "PUT", f"/{index}/_mapping", headers=JSON_HEADERS, body=properties
                )
        except BadRequestError as error:
            raise ConfigurationError(
                f"the index {index} cannot take the mapping of {component}: {_reason(error)}; "
                "it has to be reindexed"
            ) from None
    await client.perform_request("PUT", f"/{index}/_settings", headers=JSON_HEADERS, body=settings)


def _reason(error: BadRequestError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return str(body["error"].get("reason", error.meta.status))
    return str(error.meta.status)


def _flat(value: Any, path: str = "") -> dict[str, str]:
    return dict(_leaves(value, path))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield dotted path and text of every leaf: Elasticsearch answers settings as text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{at}")
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def _different(wanted: Mapping[str, str], held: Mapping[str, str]) -> Iterator[str]:
    for path in wanted.keys() | held.keys():
        if wanted.get(path) != held.get(path):
            yield path
