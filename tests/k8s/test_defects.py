"""Each defect of the list is put alone into a good bundle, and is seen where it is.

The list has 32; the one that nobody can see without a cluster is a changed immutable field.
"""

from collections.abc import Callable

import pytest

from .bundle import Object

pytestmark = pytest.mark.exhaustive  # whole bundles, or the generator whole

Spoil = Callable[[list[Object]], None]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """Return an object by kind and name; a generated name may end in a hash."""
    return next(
        each
        for each in objects
        if each["kind"] == kind
        and (each["metadata"]["name"] == name or each["metadata"]["name"].startswith(f"{name}-"))
    )


def container(objects: list[Object], kind: str, name: str) -> Object:
    """Return the container of a workload."""
    return one(objects, kind, name)["spec"]["template"]["spec"]["containers"][0]


def autoscaler(low: int, high: int, target: Object | None = None) -> Object:
    """Return a HorizontalPodAutoscaler, of the gateway if nothing is said; KEDA makes the others."""
    target = target or {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "gateway", "namespace": "klingel"},
        "spec": {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high},
    }


def put(place: Callable[[list[Object]], Object], key: str, value: object) -> Spoil:
    """Return what sets one key of an object."""

    def spoil(objects: list[Object]) -> None:
        place(objects)[key] = value

    return spoil


def spec(kind: str, name: str) -> Callable[[list[Object]], Object]:
    """Return what finds an object's specification."""
    return lambda objects: one(objects, kind, name)["spec"]


def in_container(kind: str, name: str) -> Callable[[list[Object]], Object]:
    """Return what finds a workload's container."""
    return lambda objects: container(objects, kind, name)


def remove(kind: str, name: str) -> Spoil:
    """Return what takes an object out of the bundle."""
    return lambda objects: objects.remove(one(objects, kind, name))


DEFECTS: dict[str, tuple[Spoil, str, str]] = {
    "unknown field": (
        put(spec("Deployment", "gateway"), "replica", 2), "Deployment/gateway", "'replica'",
    ),
    "wrong type": (
        put(spec("Deployment", "gateway"), "replicas", "two"), "Deployment/gateway", "'two'",
    ),
    "selector differs from labels": (
        put(
            lambda objects: one(objects, "StatefulSet", "care")["spec"]["selector"]["matchLabels"],
            "app.kubernetes.io/component", "watch",
        ),
        "StatefulSet/care", "does not match its own pods",
    ),
    "budget with min and max": (
        put(spec("PodDisruptionBudget", "gateway"), "minAvailable", 1),
        "PodDisruptionBudget/gateway", "exclude each other",
    ),
    "autoscaler with min above max": (
        lambda objects: objects.append(autoscaler(4, 2)),
        "HorizontalPodAutoscaler/gateway", "between 4 and 2",
    ),
    "policy with port 70000": (
        put(
            lambda objects: one(objects, "NetworkPolicy", "care-to-kafka")["spec"]["egress"][0][
                "ports"
            ][0],
            "port", 70000,
        ),
        "NetworkPolicy/care-to-kafka", "70000",
    ),
    "mount without volume": (
        lambda objects: container(objects, "Deployment", "gateway")["volumeMounts"].append(
            {"name": "cache", "mountPath": "/cache"}
        ),
        "Deployment/gateway", "unknown volume cache",
    ),
    "upper-case name": (
        put(lambda objects: one(objects, "ServiceAccount", "care")["metadata"], "name", "Care"),
        "ServiceAccount/Care", "none that Kubernetes takes",
    ),
    "removed API": (
        put(lambda objects: one(objects, "PodDisruptionBudget", "care"), "apiVersion",
            "policy/v1beta1"),
        "PodDisruptionBudget/care", "no such kind",
    ),
    "bad quantity": (
        put(lambda objects: container(objects, "Deployment", "indexer")["resources"]["requests"],
            "memory", "400Mega"),
        "Deployment/indexer", "400Mega",
    ),
    "request above limit": (
        put(lambda objects: container(objects, "Deployment", "indexer")["resources"]["requests"],
            "memory", "2Gi"),
        "Deployment/indexer", "more memory than its limit",
    ),
    "StatefulSet that restarts on failure": (
        put(lambda objects: one(objects, "StatefulSet", "care")["spec"]["template"]["spec"],
            "restartPolicy", "OnFailure"),
        "StatefulSet/care", "restartPolicy OnFailure",
    ),
    "root container": (
        put(lambda objects: container(objects, "Deployment", "media")["securityContext"],
            "runAsUser", 0),
        "Deployment/media", "runs as root",
    ),
    "Kafka with an unknown field": (
        put(lambda objects: one(objects, "Kafka", "klingel")["spec"]["kafka"], "replicas", 3),
        "Kafka/klingel", "'replicas'",
    ),
    "topic without partitions": (
        put(spec("KafkaTopic", "raw-events"), "partitions", 0), "KafkaTopic/raw-events", "0",
    ),
    "user with an unknown operation": (
        put(
            lambda objects: one(objects, "KafkaUser", "klingel-care")["spec"]["authorization"][
                "acls"
            ][0],
            "operations", ["Reed"],
        ),
        "KafkaUser/klingel-care", "Reed",
    ),
    "Elasticsearch with an unknown field": (
        put(spec("Elasticsearch", "klingel"), "nodeSet", []), "Elasticsearch/klingel", "'nodeSet'",
    ),
    "trigger without type": (
        lambda objects: one(objects, "ScaledObject", "care")["spec"]["triggers"][0].pop("type"),
        "ScaledObject/care", "'type'",
    ),
    "PromQL that is none": (
        put(
            lambda objects: one(objects, "PrometheusRule", "klingel-services")["spec"]["groups"][0][
                "rules"
            ][0],
            "expr", "max by (component (klingel_lag_messages)",
        ),
        "PrometheusRule/klingel-services", "promtool refuses",
    ),
    "monitor with a bad interval": (
        put(lambda objects: one(objects, "ServiceMonitor", "klingel")["spec"]["endpoints"][0],
            "interval", "15 seconds"),
        "ServiceMonitor/klingel", "15 seconds",
    ),
    "certificate without issuer": (
        lambda objects: one(objects, "Certificate", "gateway")["spec"].pop("issuerRef"),
        "Certificate/gateway", "issuerRef",
    ),
    "missing ConfigMap": (
        put(
            lambda objects: container(objects, "StatefulSet", "watch")["envFrom"][0], "configMapRef",
            {"name": "klingle"},
        ),
        "StatefulSet/watch", "no ConfigMap klingle",
    ),
    "Service that selects nothing": (
        put(lambda objects: one(objects, "Service", "gateway")["spec"]["selector"],
            "app.kubernetes.io/component", "getaway"),
        "Service/gateway", "selects no pod",
    ),
    "probe of an unknown port": (
        put(
            lambda objects: container(objects, "Deployment", "media")["livenessProbe"]["httpGet"],
            "port", "web",
        ),
        "Deployment/media", "unknown port web",
    ),
    "no limits": (
        lambda objects: container(objects, "StatefulSet", "care")["resources"].pop("limits"),
        "StatefulSet/care", "no limits of cpu, memory",
    ),
    "latest image": (
        put(in_container("Deployment", "indexer"), "image", "klingel-indexer:latest"),
        "Deployment/indexer", "no fixed version",
    ),
    "missing ServiceAccount": (
        remove("ServiceAccount", "notifier"), "Deployment/notifier", "no ServiceAccount notifier",
    ),
    "budget that blocks every drain": (
        put(spec("PodDisruptionBudget", "media"), "maxUnavailable", 0),
        "PodDisruptionBudget/media", "blocks every drain",
    ),
    "scaled object without target": (
        put(lambda objects: one(objects, "ScaledObject", "care")["spec"]["scaleTargetRef"], "name",
            "cure"),
        "ScaledObject/care", "no StatefulSet cure",
    ),
    "probe with an unknown scheme": (
        put(
            lambda objects: container(objects, "Deployment", "media")["livenessProbe"]["httpGet"],
            "scheme", "GOPHER",
        ),
        "Deployment/media", "GOPHER",
    ),
    "variable given twice": (
        lambda objects: container(objects, "Deployment", "media")["env"].append(
            {"name": "KLINGEL_KAFKA__SASL_USERNAME", "value": "klingel-care"}
        ),
        "Deployment/media", "KLINGEL_KAFKA__SASL_USERNAME stands there 2 times",
    ),
}  # fmt: skip


def test_the_list_is_whole() -> None:
    """The page has 32; a changed immutable field needs the object of before."""
    assert len(DEFECTS) == 32 - 1


def test_the_bundle_without_them_is_right(bundle, found) -> None:
    """Else what is found below would prove nothing; also with what a defect needs beside it."""
    bundle.append(autoscaler(2, 4))
    del one(bundle, "Deployment", "gateway")["spec"]["replicas"]  # the autoscaler's from now on
    assert found(bundle) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_it_is_seen_where_it_is(defect: str, bundle, found) -> None:
    spoil, where, what = DEFECTS[defect]
    spoil(bundle)
    told = found(bundle)
    assert any(each.where == where and what in each.what for each in told), told
