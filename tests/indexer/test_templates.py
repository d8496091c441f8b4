"""Templates: applied by a command, compared exactly, never missing unnoticed."""

import json
from fnmatch import fnmatchcase

import pytest

from klingel.errors import ConfigurationError
from klingel_indexer import convert
from klingel_indexer.templates import apply_templates, check_templates, read_templates


async def test_applied_templates_are_found_equal(cluster, templates):
    overrides = {"number_of_replicas": 0} if cluster.prefix != "t-" else {}
    assert await check_templates(cluster.client, templates, cluster.prefix, overrides) == []


async def test_missing_templates_are_named(cluster, templates):
    found = await check_templates(cluster.client, templates, "absent-", {})
    assert "component template absent-events is missing" in found
    assert "index template absent-status is missing" in found
    assert len(found) == len(list(templates.glob("*.json")))


async def test_other_settings_are_a_difference_only_where_they_are_asked_for(cluster, templates):
    """The indexer starts whatever the refresh interval is; `index check` tells it."""
    overrides = {"refresh_interval": "77s", "number_of_replicas": 0}
    found = await check_templates(cluster.client, templates, cluster.prefix, overrides)
    assert len(found) == 1
    assert "refresh_interval" in found[0]
    assert await check_templates(cluster.client, templates, cluster.prefix, None) == []


async def test_changed_mapping_is_a_difference_and_reaches_existing_indices(
    cluster, templates, tmp_path
):
    """A new field arrives in indices that are there already: their mapping is strict."""
    for path in templates.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    prefix = f"{cluster.prefix}{cluster.brand}x-"
    await apply_templates(cluster.client, templates, prefix, {"number_of_replicas": 0})
    index = f"{prefix}status"
    body = b'{"index":{"_index":"%s","_id":"1"}}\n{"instance":"i"}\n' % index.encode()
    await cluster.client.bulk(body=body)
    changed = tmp_path / "klingel-status.component.json"
    template = json.loads(changed.read_text())
    template["template"]["mappings"]["properties"]["surprise"] = {"type": "keyword"}
    changed.write_text(json.dumps(template))

    found = await check_templates(cluster.client, tmp_path, prefix, None)
    assert found == [
        f"component template {prefix}status differs: template.mappings.properties.surprise.type"
    ]
    done = await apply_templates(cluster.client, tmp_path, prefix, {"number_of_replicas": 0})
    assert done[-1] == index
    body = b'{"index":{"_index":"%s","_id":"2"}}\n{"surprise":"s"}\n' % index.encode()
    assert (await cluster.client.bulk(body=body)).body["errors"] is False


async def test_mapping_that_an_existing_index_cannot_take_is_named(cluster, templates, tmp_path):
    for path in templates.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    prefix = f"{cluster.prefix}{cluster.brand}y-"
    await apply_templates(cluster.client, templates, prefix, {"number_of_replicas": 0})
    index = f"{prefix}status"
    body = b'{"index":{"_index":"%s","_id":"1"}}\n{"instance":"i"}\n' % index.encode()
    await cluster.client.bulk(body=body)
    changed = tmp_path / "klingel-status.component.json"
    template = json.loads(changed.read_text())
    template["template"]["mappings"]["properties"]["instance"] = {"type": "long"}
    changed.write_text(json.dumps(template))
    with pytest.raises(ConfigurationError, match="has to be reindexed") as caught:
        await apply_templates(cluster.client, tmp_path, prefix, {"number_of_replicas": 0})
    assert index in str(caught.value)


def test_prefix_replaces_every_name(templates):
    """Two deployments on one cluster never meet."""
    made = read_templates(templates, "other-", {})
    text = json.dumps([dict(made.components), dict(made.indices)])
    names = [*made.components, *made.indices]
    patterns = [p for t in made.indices.values() for p in t["index_patterns"]]
    assert all(name.startswith("other-") for name in names + patterns)
    assert all(t["composed_of"][0] in made.components for t in made.indices.values())
    assert '"klingel-' not in text


def test_every_index_of_the_converter_has_a_template(templates):
    made = read_templates(templates, "p-", {})
    patterns = [p for t in made.indices.values() for p in t["index_patterns"]]
    indices = [
        convert.events_index("p-", "acme", "2026.11"),
        convert.events_index("p-", "acme", "undated"),
        convert.cases_index("p-", "acme"),
        convert.case_events_index("p-", "acme"),
        convert.escalations_index("p-", "acme"),
        convert.alerts_index("p-", "acme"),
        convert.incidents_index("p-", "acme"),
        convert.dead_letters_index("p-"),
        convert.status_index("p-"),
    ]
    for index in indices:
        assert sum(fnmatchcase(index, pattern) for pattern in patterns) == 1


def test_folder_without_templates_is_one_sentence(tmp_path):
    with pytest.raises(ConfigurationError, match="no templates"):
        read_templates(tmp_path, "p-", {})
