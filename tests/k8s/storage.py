"""Whether every volume can be had by a default class, which knows ReadWriteOnce alone."""

from collections.abc import Iterator

from .bundle import Object, Pod, Problem, matches, namespace, pods, where

_MANY = {"ReadWriteMany", "ReadOnlyMany"}
_HOST = "kubernetes.io/hostname"


def problems(objects: list[Object]) -> Iterator[Problem]:
    """Yield claims that would stay pending, and pods that could not all reach their volume."""
    for each in objects:
        for claim in _claims(each):
            spec = claim["spec"]
            if _MANY & set(spec.get("accessModes") or []) and not spec.get("storageClassName"):
                yield Problem(
                    where(each),
                    "ReadWriteMany without a class: the usual default has none (blobs-shared,"
                    " blobs-one-node)",
                )
    for claim, together in sharers(objects):
        for pod in together:
            if not _stays_with(pod, together):
                yield Problem(
                    where(pod.owner), f"may be on another node than who shares its claim {claim}"
                )


def sharers(objects: list[Object]) -> Iterator[tuple[str, list[Pod]]]:
    """Yield the claims that can be on one node only, and what shares them: several pods each."""
    for each in objects:
        if each["kind"] != "PersistentVolumeClaim" or _MANY & set(each["spec"]["accessModes"]):
            continue
        name = each["metadata"]["name"]
        found = [
            pod
            for pod in pods(objects)
            if namespace(pod.owner) == namespace(each)
            and any(
                (volume.get("persistentVolumeClaim") or {}).get("claimName") == name
                for volume in pod.volumes
            )
        ]
        if len(found) > 1 or sum(pod.replicas for pod in found) > 1:
            yield name, found


def _claims(each: Object) -> list[Object]:
    if each["kind"] == "PersistentVolumeClaim":
        return [each]
    if each["kind"] == "StatefulSet":
        return each["spec"].get("volumeClaimTemplates") or []
    return []


def _stays_with(pod: Pod, others: list[Pod]) -> bool:
    """Whether a pod must be where each of the others is, itself among them."""
    wanted = ((pod.spec.get("affinity") or {}).get("podAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or []
    return any(
        term.get("topologyKey") == _HOST
        and all(matches(term.get("labelSelector"), other.labels) for other in others)
        for term in wanted
    )
