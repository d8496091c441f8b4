"""Whether every node can be drained: budgets that let go, and workers whose number one thing decides."""

from collections.abc import Iterator
from math import ceil

from .bundle import Object, Pod, Problem, matches, namespace, pods, where
from .storage import sharers

_SCALERS = {
    "ScaledObject": ("minReplicaCount", "maxReplicaCount", 0, 100),
    "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas", 1, 1),
}
"""Names of the least and the most, and what they are where nothing is said."""
_RUNNING = {"Deployment", "StatefulSet"}


def problems(objects: list[Object]) -> Iterator[Problem]:
    """Yield budgets that keep a node for ever, and workloads with two masters."""
    running = [pod for pod in pods(objects) if pod.owner["kind"] in _RUNNING]
    budgets = [each for each in objects if each["kind"] == "PodDisruptionBudget"]
    for pod in running:
        held = [each for each in budgets if _covers(each, pod)]
        if len(held) > 1:
            yield Problem(where(pod.owner), "has two budgets: none of its pods can be evicted")
        for text in _scalers(pod, objects):
            yield Problem(where(pod.owner), text)
    for each in budgets:
        found = [pod for pod in running if _covers(each, pod)]
        if found and allowed(each, sum(_count(pod, objects)[0] for pod in found)) <= 0:
            yield Problem(where(each), "blocks every drain")
    for claim, together in sharers(objects):
        for pod in together:
            if pod.owner["kind"] in _RUNNING:
                yield from _whole(claim, pod, budgets, _count(pod, objects)[1])


def allowed(budget: Object, count: int) -> int:
    """Return how many of so many healthy pods may go; shares are rounded up, as Kubernetes does."""
    spec = budget["spec"]
    if "maxUnavailable" in spec:
        return _share(spec["maxUnavailable"], count)
    return count - _share(spec.get("minAvailable", 1), count)


def _share(value: int | str, count: int) -> int:
    text = str(value)
    return ceil(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)


def _covers(budget: Object, pod: Pod) -> bool:
    return namespace(budget) == namespace(pod.owner) and matches(
        budget["spec"].get("selector"), pod.labels
    )


def _scaling(pod: Pod, objects: list[Object]) -> list[Object]:
    owner = pod.owner
    return [
        each
        for each in objects
        if each["kind"] in _SCALERS
        and namespace(each) == namespace(owner)
        and each["spec"]["scaleTargetRef"].get("name") == owner["metadata"]["name"]
        and each["spec"]["scaleTargetRef"].get("kind", "Deployment") == owner["kind"]
    ]


def _count(pod: Pod, objects: list[Object]) -> tuple[int, int]:
    """Return the least and the most pods of a workload."""
    for each in _scaling(pod, objects):
        least, most, few, many = _SCALERS[each["kind"]]
        # a workload of none is no obstacle, and one of one is
        return max(each["spec"].get(least, few), 1), each["spec"].get(most, many)
    return pod.replicas, pod.replicas


def _scalers(pod: Pod, objects: list[Object]) -> Iterator[str]:
    found = _scaling(pod, objects)
    if len(found) > 1:
        yield f"is scaled by {' and '.join(where(each) for each in found)}"
    if found and "replicas" in pod.owner["spec"]:
        yield f"says replicas, which {where(found[0])} decides: every apply would set them back"


def _whole(claim: str, pod: Pod, budgets: list[Object], most: int) -> Iterator[Problem]:
    """Check that pods which share a volume of one node may go at once.

    The first to go cannot come back elsewhere while another is still there: with a budget that waits
    for it, the node is kept for ever.
    """
    for each in budgets:
        if _covers(each, pod) and allowed(each, most) < most:
            yield Problem(
                where(each), f"keeps a node: its pods share claim {claim}, and can only go at once"
            )
