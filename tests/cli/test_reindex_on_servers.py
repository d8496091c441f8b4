"""Against the real Kafka and Elasticsearch: indices made anew beside the old ones, and from nothing."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from klingel.contracts.envelope import Message, Output, rfc3339
from klingel.contracts.topics import Topic
from klingel.settings import ElasticsearchSettings
from klingel_cli.search_client import ask
from klingel_indexer.rebuilding import contents, indices_of
from klingel_indexer.templates import apply_templates

from ..caseload import Caseload, bulk_body

pytestmark = pytest.mark.servers

TEMPLATES = Path(__file__).resolve().parents[2] / "schemas" / "generated" / "elasticsearch"


class Two:
    """Two prefixes of one Elasticsearch; `old` holds what an indexer wrote."""

    def __init__(self, settings: ElasticsearchSettings, prefix: str) -> None:
        self.settings = settings
        self.old, self.new = f"{prefix}one-", f"{prefix}one-two-"

    def apply(self, prefix: str, templates: Path = TEMPLATES) -> None:
        """Put the templates."""
        ask(self.settings, lambda client: apply_templates(client, templates, prefix, {}))

    def index(self, messages: list[Message]) -> None:
        """Write to the old indices what the indexer would write of these messages."""
        body = bulk_body(messages, self.old, rfc3339(datetime.now(UTC)))

        async def write(client: Any) -> None:
            answer = await client.bulk(body=body, refresh=True)
            status = [item[op]["status"] for item in answer["items"] for op in item]
            assert {code for code in status if code >= 400} <= {409}

        ask(self.settings, write)

    def held(self, prefix: str) -> dict[str, tuple[int, int]]:
        """Return what each index of a prefix holds, by its name without the prefix."""

        async def read(client: Any) -> dict[str, tuple[int, int]]:
            names = await indices_of(client, TEMPLATES, prefix)
            return {
                name.removeprefix(prefix): tuple(await contents(client, name)) for name in names
            }

        return ask(self.settings, read)

    def raise_a_version(self) -> None:
        """Write one document of the new indices once more, as a newer one."""

        async def spoil(client: Any) -> None:
            index = (await indices_of(client, TEMPLATES, self.new))[0]
            found = await client.search(index=index, size=1, version=True)
            hit = found["hits"]["hits"][0]
            await client.index(
                index=index,
                id=hit["_id"],
                document=hit["_source"],
                version=hit["_version"] + 1,
                version_type="external",
                refresh=True,
            )

        ask(self.settings, spoil)

    def clear(self, *prefixes: str) -> None:
        """Delete the indices."""

        async def work(client: Any) -> None:
            for prefix in prefixes:
                for name in await indices_of(client, TEMPLATES, prefix):
                    await client.indices.delete(index=name)

        ask(self.settings, work)

    def forget(self) -> None:
        """Delete everything."""
        self.clear(self.old, self.new)

        async def work(client: Any) -> None:
            await client.indices.delete_index_template(name=f"{self.old}*")
            await client.cluster.delete_component_template(name=f"{self.old}*")

        ask(self.settings, work)


@pytest.fixture
def two(elasticsearch_url: str, index_prefix: str) -> Iterator[Two]:
    """Both prefixes; the templates of the old one are there."""
    made = Two(ElasticsearchSettings(url=elasticsearch_url), index_prefix)
    made.apply(made.old)
    yield made
    made.forget()


@pytest.fixture
def settings(env: dict[str, str], two: Two) -> dict[str, str]:
    """Settings that name both servers and the old prefix."""
    return env | {
        "KLINGEL_ELASTICSEARCH__URL": two.settings.url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": two.old,
    }


def published(messages: Iterable[Message]) -> list[Output]:
    """Return the records as they are to be written to the other broker."""
    return [
        Output(each.topic, each.key or b"", each.value, each.headers, partition=each.partition % 4)
        for each in messages
    ]


def test_the_new_stands_beside_the_old_and_holds_the_same(
    run: Any, settings: dict[str, str], two: Two, put: Callable[[Iterable[Output]], None]
) -> None:
    load = Caseload(25, seed=5)
    everything = load.records(*Caseload.TOPICS)
    two.index(everything)
    before = two.held(two.old)
    # Kafka has forgotten the first half of the posts; they stand in the old indices alone.
    posts = [each for each in everything if each.topic is Topic.ROUTED_EVENTS]
    put(published([each for each in everything if each not in posts[: len(posts) // 2]]))

    refused = run("reindex", "--to", two.new, env=settings)
    assert refused.exit_code == 2
    assert "is missing; KLINGEL_ELASTICSEARCH__INDEX_PREFIX=" in refused.output

    two.apply(two.new)
    begun = datetime.now(UTC)
    done = run("reindex", "--to", two.new, env=settings)
    assert done.exit_code == 0, done.output
    assert f"klingel reindex --to {two.new} --since " in done.output
    assert two.held(two.new) == two.held(two.old) == before

    # Meanwhile the old indexer went on.
    more = Caseload(30, seed=6).records(*Caseload.TOPICS)
    two.index(more)
    put(published(more))
    differs = run("reindex", "--to", two.new, "--check", "--json", env=settings)
    assert differs.exit_code == 1
    assert json.loads(differs.output)["differences"]
    rest = run("reindex", "--to", two.new, "--since", begun.isoformat(), env=settings)
    assert rest.exit_code == 0, rest.output
    assert two.held(two.new) == two.held(two.old) != before

    # Once more from the first changes nothing.
    again = run("reindex", "--to", two.new, "--json", env=settings)
    assert again.exit_code == 0, again.output
    told = json.loads(again.output)
    assert {each["to"].removeprefix(two.new) for each in told["copied"]} == set(two.held(two.old))
    assert two.held(two.new) == two.held(two.old)

    two.raise_a_version()
    differs = run("reindex", "--to", two.new, "--check", env=settings)
    assert differs.exit_code == 1
    assert "some in other versions" in differs.output


def test_what_elasticsearch_lost_comes_back_from_kafka(
    run: Any, settings: dict[str, str], two: Two, put: Callable[[Iterable[Output]], None]
) -> None:
    records = Caseload(25, seed=5).records(*Caseload.TOPICS)
    two.index(records)
    put(published(records))
    before = two.held(two.old)
    two.clear(two.old)
    assert two.held(two.old) == {}
    done = run("reindex", "--json", env=settings)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["kafka"]["refused"] == 0
    assert two.held(two.old) == before


def another_mapping(folder: Path, component: str, field: str) -> Path:
    """Return a folder of schemas whose templates want a number where we hold a word."""
    made = folder / "schemas"
    shutil.copytree(TEMPLATES, made / "generated" / "elasticsearch")
    file = made / "generated" / "elasticsearch" / f"klingel-{component}.component.json"
    body = json.loads(file.read_text(encoding="utf-8"))
    assert body["template"]["mappings"]["properties"][field]["type"] == "keyword"
    body["template"]["mappings"]["properties"][field] = {"type": "long"}
    file.write_text(json.dumps(body), encoding="utf-8")
    return made


def test_a_mapping_that_refuses_the_documents_ends_it_and_leaves_the_old_alone(
    run: Any,
    settings: dict[str, str],
    two: Two,
    put: Callable[[Iterable[Output]], None],
    tmp_path: Path,
) -> None:
    records = Caseload(25, seed=5).records(*Caseload.TOPICS)
    two.index(records)
    put(published(records))
    before = two.held(two.old)
    wrong = another_mapping(tmp_path, "cases", "case_id")
    there = settings | {"KLINGEL_SCHEMAS_DIR": str(wrong)}
    two.apply(two.new, wrong / "generated" / "elasticsearch")

    refused = run("reindex", "--to", two.new, env=there)
    assert refused.exit_code == 1
    said = refused.output.splitlines()
    assert said[-1] == (
        f"klingel: the mapping under {two.new} refuses documents of {two.old}cases-nordlicht "
        "(document_parsing_exception, the field case_id of the type long), which goes on serving; "
        f"mend the mapping, delete the indices under {two.new} and begin anew"
    )
    assert "what is left" not in refused.output
    assert "INDEX_PREFIX" not in refused.output
    assert two.held(two.old) == before
    told = run("reindex", "--to", two.new, "--json", env=there)
    assert told.exit_code == 1

    # The old indices serve, and the way begins anew once the mapping is mended.
    two.clear(two.new)
    two.apply(two.new)
    assert run("reindex", "--to", two.new, env=settings).exit_code == 0
    assert two.held(two.new) == two.held(two.old) == before


def test_documents_of_kafka_that_the_mapping_refuses_are_told(
    run: Any,
    settings: dict[str, str],
    two: Two,
    put: Callable[[Iterable[Output]], None],
    tmp_path: Path,
) -> None:
    records = Caseload(25, seed=5).records(*Caseload.TOPICS)
    put(published(records))
    wrong = another_mapping(tmp_path, "cases", "case_id")
    two.apply(two.old, wrong / "generated" / "elasticsearch")
    refused = run("reindex", env=settings | {"KLINGEL_SCHEMAS_DIR": str(wrong)})
    assert refused.exit_code == 1, refused.output
    assert "Elasticsearch refuses" in refused.output
    assert "document_parsing_exception" in refused.output
