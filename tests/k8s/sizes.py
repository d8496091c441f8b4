"""What a bundle asks of a cluster: cores and memory of everything that runs, operators' pods among it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from .bundle import Object, Pod, pods
from .server import quantity

_NOTHING: Object = {}


class Size(NamedTuple):
    """Cores and bytes."""

    cpu: Decimal
    memory: Decimal


def size(objects: list[Object]) -> Size:
    """Return what all requests come to; CronJobs count where they are not suspended, one at a time."""
    told = [*_ours(objects), *_of_operators(objects)]
    return Size(
        sum((each.cpu for each in told), Decimal(0)),
        sum((each.memory for each in told), Decimal(0)),
    )


def largest(objects: list[Object]) -> Size:
    """Return what the largest single pod asks for: no node may be smaller than that."""
    told = [*_ours(objects, each_alone=True), *_of_operators(objects, each_alone=True)]
    return Size(max(each.cpu for each in told), max(each.memory for each in told))


def of_pod(pod: Pod) -> Size:
    """Return what a pod asks for: those that run first count alone, the others together."""
    first = [_requests(each) for each in pod.spec.get("initContainers") or []]
    main = [_requests(each) for each in pod.spec["containers"]]
    return Size(
        max([sum((each.cpu for each in main), Decimal(0)), *(each.cpu for each in first)]),
        max([sum((each.memory for each in main), Decimal(0)), *(each.memory for each in first)]),
    )


def _ours(objects: list[Object], *, each_alone: bool = False) -> Iterator[Size]:
    for pod in pods(objects):
        if not pod.owner["spec"].get("suspend"):
            yield _times(of_pod(pod), 1 if each_alone else _count(pod, objects))


def _count(pod: Pod, objects: list[Object]) -> int:
    """Return how many there are when nothing waits."""
    least = [
        each["spec"].get("minReplicaCount", 0)
        for each in objects
        if each["kind"] == "ScaledObject"
        and each["spec"]["scaleTargetRef"]["name"] == pod.owner["metadata"]["name"]
    ]
    return least[0] if least else pod.replicas


def _of_operators(objects: list[Object], *, each_alone: bool = False) -> Iterator[Size]:
    for each in objects:
        spec = each.get("spec") or {}
        if each["kind"] == "KafkaNodePool":
            yield _times(_requests(spec), 1 if each_alone else spec["replicas"])
        elif each["kind"] == "Kafka":
            operators = spec.get("entityOperator") or {}
            for name in ("topicOperator", "userOperator"):
                yield _requests(operators.get(name) or {})
        elif each["kind"] in {"Elasticsearch", "Kibana"}:
            for part in spec.get("nodeSets") or [spec]:
                for container in part["podTemplate"]["spec"]["containers"]:
                    yield _times(_requests(container), 1 if each_alone else part["count"])


def _requests(container: Object) -> Size:
    told = (container.get("resources") or _NOTHING).get("requests") or _NOTHING
    return Size(
        quantity(told.get("cpu", 0)) or Decimal(0), quantity(told.get("memory", 0)) or Decimal(0)
    )


def _times(one: Size, count: int) -> Size:
    return Size(one.cpu * count, one.memory * count)
