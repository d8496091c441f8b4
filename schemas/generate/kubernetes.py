"""Objects of Kubernetes that say what stands elsewhere: topics, users with their rights, alert rules."""

from pathlib import Path
from typing import Any, Final

import topics
import yaml

from klingel.contracts.access import Right, rights_by_user
from klingel.contracts.topics import (
    Topic,
    TopicSpec,
    _spec,  # the package's own reader: its list may be older than the files
)
from klingel.settings import Settings, load_settings
from klingel_indexer.roles import roles

FOLDER: Final = Path("deploy/k8s")
_CLUSTER: Final = {"strimzi.io/cluster": "klingel"}
_SETTINGS: Final = "base/settings.env"
_SHAPE: Final = {
    f"KLINGEL_KAFKA__{name}"
    for name in ("PARTITIONS", "REPLICATION", "TOPIC_PREFIX", "GROUP_PREFIX")
}


def generate(root: Path) -> dict[str, str]:
    """Return the generated files of deploy/k8s/components."""
    settings = _settings(root)
    specs = {Topic(name): _spec(name, data) for name, data in topics.read(root).items()}
    users = rights_by_user(specs, settings.kafka)
    strimzi = FOLDER / "components/kafka-strimzi"
    return {
        f"{strimzi}/topics.yaml": _file(
            "schemas/topics", [_topic(settings, spec) for spec in specs.values()]
        ),
        f"{strimzi}/users.yaml": _file(
            "schemas/topics", [_user(name, rights) for name, rights in users.items()]
        ),
        f"{FOLDER}/components/elasticsearch-eck/roles.yml": _head("klingel_indexer.roles")
        + yaml.safe_dump(_roles(settings), sort_keys=False),
        f"{FOLDER}/components/monitoring/rules.yaml": _file(
            "deploy/prometheus/rules",
            [_rules(path) for path in sorted((root / "deploy/prometheus/rules").glob("*.yaml"))],
        ),
    }


def _settings(root: Path) -> Settings:
    lines = (root / FOLDER / _SETTINGS).read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines)
    # The others tell a pod how to connect; where it finds its secrets is not known here.
    return load_settings({name: value for name, _, value in pairs if name in _SHAPE})


def _head(source: str) -> str:
    return f"# generated from {source}; never edited\n"


def _file(source: str, objects: list[dict[str, Any]]) -> str:
    return _head(source) + yaml.safe_dump_all(objects, sort_keys=False, width=100)


def _roles(settings: Settings) -> dict[str, Any]:
    prefix = settings.elasticsearch.index_prefix
    return {prefix + name: body for name, body in roles(prefix).items()}


def _topic(settings: Settings, spec: TopicSpec) -> dict[str, Any]:
    """Return a KafkaTopic; those with the default number of partitions are found by a label."""
    size = {} if spec.partitions else {"klingel.io/partitions": "default"}
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": spec.name.value, "labels": {**_CLUSTER, **size}},
        "spec": {
            "topicName": settings.kafka.topic_prefix + spec.name,
            "partitions": spec.partitions or settings.kafka.partitions,
            "replicas": settings.kafka.replication,
            "config": spec.config(),
        },
    }


def _user(principal: str, rights: tuple[Right, ...]) -> dict[str, Any]:
    acls = [
        {
            "resource": {
                "type": right.resource,
                "name": right.name,
                "patternType": right.pattern,
            },
            "operations": list(right.operations),
        }
        for right in rights
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": f"klingel-{principal}", "labels": dict(_CLUSTER)},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }


def _rules(path: Path) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": f"klingel-{path.stem}",
            "labels": {"app.kubernetes.io/name": "klingel"},
        },
        "spec": yaml.safe_load(path.read_text(encoding="utf-8")),
    }
