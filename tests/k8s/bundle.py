"""Built manifests as plain objects, and what every check asks of them: pods, containers, labels."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod")


class Problem(NamedTuple):
    """What is wrong, and with which object."""

    where: str
    what: str


def parse(text: str) -> list[Object]:
    """Return the objects of a built bundle."""
    return [each for each in yaml.load_all(text, _LOADER) if each]


def where(each: Object) -> str:
    """Return an object's kind and name."""
    return f"{each['kind']}/{each['metadata']['name']}"


def namespace(each: Object) -> str | None:
    """Return its namespace, None where it has none."""
    return each["metadata"].get("namespace")


def labels(each: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of an object or of a pod's template."""
    return (each.get("metadata") or {}).get("labels") or {}


def template(each: Object) -> Object | None:
    """Return the template of a workload's pods, None for what has no pods."""
    if each["kind"] == "Pod":
        return each
    if each["kind"] == "CronJob":
        return each["spec"]["jobTemplate"]["spec"]["template"]
    return each["spec"]["template"] if each["kind"] in WORKLOADS else None


class Pod(NamedTuple):
    """A workload and the template of its pods."""

    owner: Object
    template: Object

    @property
    def spec(self) -> Object:
        """The pod's specification."""
        return self.template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        return labels(self.template)

    @property
    def containers(self) -> list[Object]:
        """Every container, those that run first before the others."""
        return [*(self.spec.get("initContainers") or []), *self.spec["containers"]]

    @property
    def volumes(self) -> list[Object]:
        """Every volume that the template declares itself."""
        return self.spec.get("volumes") or []

    @property
    def replicas(self) -> int:
        """How many there are."""
        return self.owner["spec"].get("replicas", 1)


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Yield every workload that has pods."""
    for each in objects:
        found = template(each)
        if found is not None:
            yield Pod(each, found)


def matches(selector: Mapping[str, Any] | None, found: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector; an empty one takes all, none takes nothing."""
    if selector is None:
        return False
    for each in selector.get("matchExpressions") or []:
        value, values = found.get(each["key"]), each.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[each["operator"]]:
            return False
    return all(found.get(k) == v for k, v in (selector.get("matchLabels") or {}).items())
