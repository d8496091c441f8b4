"""Whether who may go somewhere is let in there: each way out between pods of the bundle has a way in."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .bundle import Object, Problem, labels, matches, namespace, pods, where

_STRIMZI = "strimzi.io/cluster"


class Place(NamedTuple):
    """Pods of one kind, of ours or made by an operator."""

    name: str
    space: str | None
    labels: dict[str, str]
    ports: dict[str, int]


def problems(objects: list[Object]) -> Iterator[Problem]:
    """Yield arrows that lead nowhere, and those that end at a closed door.

    Only arrows inside one namespace are followed: what other namespaces allow is not in the bundle.
    Strimzi makes the policies by which its own pods reach each other.
    """
    places = [*_ours(objects), *_of_operators(objects)]
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    for each in policies:
        spec, space = each["spec"], namespace(each)
        sources = _selected(spec.get("podSelector"), space, places)
        for rule in spec.get("egress") or []:
            for peer in rule.get("to") or []:
                if "podSelector" not in peer or "namespaceSelector" in peer:
                    continue
                targets = _selected(peer["podSelector"], space, places)
                if not targets:
                    yield Problem(where(each), "leads to no pod")
                for text in _closed(sources, targets, rule.get("ports") or [], policies):
                    yield Problem(where(each), text)


def _closed(
    sources: list[Place], targets: list[Place], ports: list[Object], policies: list[Object]
) -> Iterator[str]:
    for source in sources:
        for target in targets:
            if _STRIMZI in source.labels and _STRIMZI in target.labels:
                continue
            if all(_enters(source, target, port, policies) for port in ports or [{}]):
                continue
            yield f"{source.name} may go to {target.name}, which does not let it in"


def _enters(source: Place, target: Place, port: Object, policies: list[Object]) -> bool:
    """Whether a target takes a source at a port; a pod that no policy selects takes everybody."""
    at_door = [
        each["spec"]
        for each in policies
        if namespace(each) == target.space
        and "Ingress" in (each["spec"].get("policyTypes") or ["Ingress"])
        and matches(each["spec"].get("podSelector"), target.labels)
    ]
    return not at_door or any(
        _from(rule, source, target.space) and _at(rule, port, target)
        for spec in at_door
        for rule in spec.get("ingress") or []
    )


def _from(rule: Object, source: Place, space: str | None) -> bool:
    peers = rule.get("from") or []
    return not peers or any(
        "podSelector" in peer
        and "namespaceSelector" not in peer
        and source.space == space
        and matches(peer["podSelector"], source.labels)
        for peer in peers
    )


def _at(rule: Object, port: Object, target: Place) -> bool:
    def number(each: Object) -> Any:
        port = each.get("port")
        return target.ports.get(port, port) if isinstance(port, str) else port

    return not rule.get("ports") or any(
        each.get("protocol", "TCP") == port.get("protocol", "TCP")
        and (number(each) is None or number(each) == number(port))
        for each in rule["ports"]
    )


def _selected(
    selector: dict[str, Any] | None, space: str | None, places: list[Place]
) -> list[Place]:
    return [each for each in places if each.space == space and matches(selector or {}, each.labels)]


def _ours(objects: list[Object]) -> Iterator[Place]:
    for pod in pods(objects):
        ports = {
            port["name"]: port["containerPort"]
            for container in pod.containers
            for port in container.get("ports") or []
            if "name" in port
        }
        yield Place(where(pod.owner), namespace(pod.owner), pod.labels, ports)


def _of_operators(objects: list[Object]) -> Iterator[Place]:
    """Yield the pods that operators make, with the labels by which policies know them."""
    for each in objects:
        name = each["metadata"]["name"]
        made: list[dict[str, str]] = []
        if each["kind"] == "Kafka":
            both = {_STRIMZI: name, "strimzi.io/kind": "Kafka"}
            made = [
                {**both, "strimzi.io/name": f"{name}-{part}"}
                for part in ("kafka", "entity-operator")
            ]
        elif each["kind"] == "Elasticsearch":
            made = [{"elasticsearch.k8s.elastic.co/cluster-name": name}]
        elif each["kind"] == "Kibana":
            made = [{"kibana.k8s.elastic.co/name": name}]
        for own in made:
            yield Place(where(each), namespace(each), {**labels(each), **own}, {})
