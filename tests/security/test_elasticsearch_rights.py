"""Keys and roles can do in Elasticsearch what the calls of their service need, and nothing else."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from elasticsearch import ApiError, AsyncElasticsearch
from pydantic import SecretStr

from klingel.contracts.resources import schemas_dir
from klingel.settings import ElasticsearchSettings
from klingel_cli.main import main
from klingel_indexer.bulk import ElasticsearchTransport
from klingel_indexer.templates import FOLDER, check_templates
from klingel_indexer.worker import elasticsearch_from

from .conftest import Secured

pytestmark = pytest.mark.servers

FORBIDDEN = 403


def run(settings: ElasticsearchSettings, *arguments: str) -> Any:
    """Run the command as somebody."""
    names = {
        "KLINGEL_ELASTICSEARCH__URL": settings.url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": settings.index_prefix,
        "KLINGEL_ELASTICSEARCH__CA_CERTS": str(settings.ca_certs),
    }
    if settings.api_key is not None:
        names["KLINGEL_ELASTICSEARCH__API_KEY"] = settings.api_key.get_secret_value()
    if settings.username is not None and settings.password is not None:
        names["KLINGEL_ELASTICSEARCH__USERNAME"] = settings.username
        names["KLINGEL_ELASTICSEARCH__PASSWORD"] = settings.password.get_secret_value()
    return CliRunner(env=names).invoke(main, arguments)


@pytest.fixture(scope="module")
def root(secured: Secured) -> ElasticsearchSettings:
    """Who may do everything, over indices of this module's own."""
    user, password = secured.elastic
    return ElasticsearchSettings(
        url=secured.elasticsearch,
        index_prefix=f"r{uuid.uuid4().hex[:8]}-",
        username=user,
        password=SecretStr(password),
        ca_certs=secured.authority.file,
    )


@pytest.fixture(scope="module")
def keys(root: ElasticsearchSettings) -> dict[str, ElasticsearchSettings]:
    """Settings with an API key, by role; the templates and one brand's posts are there."""
    for arguments in (("index", "apply"), ("index", "roles", "--apply")):
        done = run(root, *arguments)
        assert done.exit_code == 0, done.output
    found = {}
    for role in ("indexer", "cli"):
        made = run(root, "index", "key", role, "--days", "1")
        assert made.exit_code == 0, made.output
        update = {"username": None, "password": None, "api_key": SecretStr(made.output.strip())}
        found[role] = root.model_copy(update=update)
    return found


@pytest.fixture(scope="module")
def people(root: ElasticsearchSettings, keys: object) -> Iterator[dict[str, ElasticsearchSettings]]:
    """Settings of users with the roles of people, and of one who sees a single brand."""
    done = run(root, "index", "roles", "--apply", "--brand", "nord")
    assert done.exit_code == 0, done.output
    found = {}
    for role in ("reader", "editor", "reader-nord"):
        name, password = f"{root.index_prefix}{role}", uuid.uuid4().hex
        body = {"password": password, "roles": [f"{root.index_prefix}{role}"]}
        answer = ask(
            root,
            lambda client, name=name, body=body: client.security.put_user(username=name, **body),
        )
        assert answer is not None
        update = {"username": name, "password": SecretStr(password)}
        found[role] = root.model_copy(update=update)
    yield found
    for each in found.values():
        ask(root, lambda client, each=each: client.security.delete_user(username=each.username))


def ask(
    settings: ElasticsearchSettings, question: Callable[[AsyncElasticsearch], Awaitable[Any]]
) -> Any:
    """Ask one thing as somebody; None where it is forbidden."""

    async def asked() -> Any:
        client = elasticsearch_from(settings)
        try:
            return await question(client)
        except ApiError as error:
            if error.meta.status == FORBIDDEN:
                return None
            raise
        finally:
            await client.close()

    return asyncio.run(asked())


def bulk(settings: ElasticsearchSettings, *lines: dict[str, Any]) -> list[int]:
    """Send lines as the indexer does; return the status of each item."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    answer = ask(settings, lambda client: ElasticsearchTransport(client).send(body))
    return [item["status"] for each in answer.items for item in each.values()]


def post(settings: ElasticsearchSettings, brand: str = "nord", name: str = "a") -> tuple[Any, ...]:
    """Return the lines of a post in the index of its month, as a first write makes it."""
    index = f"{settings.index_prefix}events-{brand}-2026.03"
    where = {"_index": index, "_id": name, "version": 7, "version_type": "external_gte"}
    return {"index": where}, {"brand": brand, "object_id": name}


def test_the_indexers_key_indexes_and_does_nothing_else(keys, root) -> None:
    own = keys["indexer"]
    folder = schemas_dir(None) / FOLDER
    prefix = own.index_prefix
    assert ask(own, lambda client: check_templates(client, folder, prefix, None)) == []
    assert bulk(own, *post(own, "south")) == [201]
    where = {"_index": f"{prefix}status", "_id": "s1"}
    assert bulk(own, {"create": where}, {"instance": "x"}) == [201]
    assert bulk(own, {"delete": where}) == [200]
    index = f"{prefix}events-south-2026.03"
    refused = {
        "reads": lambda client: client.search(index=index),
        "gets": lambda client: client.get(index=index, id="a"),
        "deletes indices": lambda client: client.indices.delete(index=index),
        "changes settings": lambda client: client.indices.put_settings(
            index=index, settings={"index.number_of_replicas": 0}
        ),
        "changes templates": lambda client: client.indices.put_index_template(
            name=f"{prefix}x", index_patterns=[f"{prefix}x-*"]
        ),
        "deletes by question": lambda client: client.delete_by_query(
            index=index, query={"match_all": {}}
        ),
        "makes keys": lambda client: client.security.create_api_key(name="x"),
        "looks at the cluster": lambda client: client.cluster.health(),
        "asks for users": lambda client: client.security.get_user(),
    }
    assert {what: ask(own, attempt) for what, attempt in refused.items()} == dict.fromkeys(refused)
    assert bulk(own, {"index": {"_index": "others", "_id": "1"}}, {"a": 1}) == [403]


def test_the_commands_key_serves_its_commands(keys, root) -> None:
    own, prefix = keys["cli"], root.index_prefix
    bulk(keys["indexer"], *post(own, "other"))
    for arguments in (("index", "apply"), ("index", "check"), ("search", "bill")):
        done = run(own, *arguments)
        assert done.exit_code == 0, done.output
    index = f"{prefix}events-other-2026.03"
    everything = {"match_all": {}}
    assert ask(own, lambda client: client.indices.refresh(index=index))
    assert ask(own, lambda client: client.count(index=index))["count"] == 1
    assert ask(own, lambda client: client.delete_by_query(index=index, query=everything))
    assert ask(own, lambda client: client.indices.delete(index=index))
    refused = {
        "others' indices": lambda client: client.search(index="others"),
        "users": lambda client: client.security.get_user(),
        "roles": lambda client: client.security.put_role(name=f"{prefix}cli", cluster=["all"]),
        "keys": lambda client: client.security.create_api_key(name="x"),
        "settings": lambda client: client.cluster.put_settings(
            persistent={"cluster.max_shards_per_node": 900}
        ),
    }
    assert {what: ask(own, attempt) for what, attempt in refused.items()} == dict.fromkeys(refused)
    done = run(own, "index", "roles", "--apply")
    assert done.exit_code == 2
    assert "refuses our credential" in done.output


@pytest.mark.parametrize("role", ["reader", "editor"])
def test_people_see_every_document_and_change_none(keys, people, role) -> None:
    bulk(keys["indexer"], *post(people[role]))
    own, index = people[role], f"{people[role].index_prefix}events-nord-2026.03"
    assert ask(own, lambda client: client.search(index=index))
    assert ask(own, lambda client: client.indices.get_mapping(index=index))
    assert ask(own, lambda client: client.field_caps(index=index, fields="*"))
    refused = {
        "writes": lambda client: client.index(index=index, id="b", document={}),
        "deletes": lambda client: client.delete(index=index, id="a"),
        "drops": lambda client: client.indices.delete(index=index),
        "others": lambda client: client.search(index="others"),
    }
    assert {what: ask(own, attempt) for what, attempt in refused.items()} == dict.fromkeys(refused)


def test_kibanas_own_rights_differ_by_role(people, root) -> None:
    """What Kibana would ask: may this user read, or change, dashboards?

    Which rights there are Kibana tells Elasticsearch at its start; here the test does.
    """
    names = [
        f"feature_{each}.{how}"
        for each in ("discover", "dashboard", "visualize", "indexPatterns", "ml")
        for how in ("read", "all")
    ]
    application = "kibana-.kibana"
    known = {
        name: {"application": application, "name": name, "actions": [f"ui:{name}"]}
        for name in names
    }
    assert ask(root, lambda client: client.security.put_privileges(privileges={application: known}))

    def may(role: str, right: str) -> bool:
        asked = {
            "application": application,
            "privileges": [right],
            "resources": ["space:default"],
        }
        answer = ask(
            people[role], lambda client: client.security.has_privileges(application=[asked])
        )
        return bool(answer["application"][application]["space:default"][right])

    assert may("reader", "feature_dashboard.read")
    assert not may("reader", "feature_dashboard.all")
    assert may("editor", "feature_dashboard.all")
    assert may("editor", "feature_indexPatterns.all")
    assert not may("reader", "feature_indexPatterns.all")
    assert not may("editor", "feature_ml.all")


def test_a_reader_of_one_brand_sees_no_other_whose_name_begins_alike(keys, people, root) -> None:
    prefix, own = root.index_prefix, people["reader-nord"]
    for brand in ("nord", "nord-west", "nord-2026"):
        assert bulk(keys["indexer"], *post(root, brand))[0] in {200, 201}

    def seen(index: str) -> bool:
        return ask(own, lambda client: client.search(index=f"{prefix}{index}")) is not None

    assert seen("events-nord-2026.03")
    assert not seen("events-nord-west-2026.03")
    assert not seen("events-nord-2026-2026.03")
    assert not seen("dead-letters")
    found = ask(own, lambda client: client.search(index=f"{prefix}events-*"))
    assert {hit["_index"] for hit in found["hits"]["hits"]} <= {f"{prefix}events-nord-2026.03"}


def test_a_key_is_shown_once_with_its_end(root) -> None:
    made = json.loads(run(root, "index", "key", "indexer", "--days", "3", "--json").output)
    assert set(made) == {"id", "name", "expiration", "encoded"}
    held = ask(root, lambda client: client.security.get_api_key(id=made["id"]))
    assert made["encoded"] not in json.dumps(held.body)


def test_a_key_makes_no_keys_and_is_told_who_does(root) -> None:
    key = ask(root, lambda client: client.security.create_api_key(name=f"{root.index_prefix}x"))
    update = {"username": None, "password": None, "api_key": SecretStr(key["encoded"])}
    done = run(root.model_copy(update=update), "index", "key", "cli", "--days", "1")
    assert done.exit_code == 2
    assert "a user makes keys, who may `manage_api_key`" in done.output


def test_a_brand_that_is_none_is_one_sentence(root) -> None:
    done = run(root, "index", "roles", "--brand", "nord*")
    assert done.exit_code == 2
    assert "--brand: lower case" in done.output
