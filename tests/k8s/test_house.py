"""Our own rules see what they are for; each is broken alone in a good bundle."""

import pytest

from .test_defects import Spoil, container, in_container, one, put, remove, spec

pytestmark = pytest.mark.exhaustive  # whole bundles, or the generator whole


def _pod(kind: str, name: str):
    return lambda objects: one(objects, kind, name)["spec"]["template"]["spec"]


def _first_trigger(objects):
    return one(objects, "ScaledObject", "care")["spec"]["triggers"][0]["metadata"]


def _secret(objects) -> None:
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "token", "namespace": "klingel"},
            "data": {"token": "aGVsbG8="},
        }
    )


def _bucket(objects) -> None:
    """Set a bucket for the media worker alone."""
    settings = next(each for each in objects if each["metadata"]["name"].startswith("media-"))
    settings["data"] = {"KLINGEL_MEDIA_S3_ENDPOINT": "https://s3.example.org"}


def _of_blobs(place, key):
    return lambda objects: next(each for each in place(objects)[key] if each["name"] == "blobs")


BROKEN: dict[str, tuple[Spoil, str, str]] = {
    "a bucket that erasures do not reach": (_bucket, "CronJob/demands", "know their bucket"),
    "variables of Services": (
        put(_pod("Deployment", "gateway"), "enableServiceLinks", True),
        "Deployment/gateway", "enableServiceLinks",
    ),
    "a token": (
        put(_pod("Deployment", "gateway"), "automountServiceAccountToken", True),
        "Deployment/gateway", "token",
    ),
    "everybody's ServiceAccount": (
        lambda objects: _pod("StatefulSet", "care")(objects).pop("serviceAccountName"),
        "StatefulSet/care", "ServiceAccount of its own",
    ),
    "a root that can be written": (
        put(
            lambda objects: container(objects, "StatefulSet", "care")["securityContext"],
            "readOnlyRootFilesystem", False,
        ),
        "StatefulSet/care", "root can be written",
    ),
    "killed within a batch": (
        put(_pod("StatefulSet", "understand"), "terminationGracePeriodSeconds", 10),
        "StatefulSet/understand", "longest batch",
    ),
    "pods that are not spread": (
        lambda objects: _pod("Deployment", "gateway")(objects).pop("topologySpreadConstraints"),
        "Deployment/gateway", "not spread",
    ),
    "a probe on a port alone": (
        put(in_container("Deployment", "media"), "livenessProbe", {"tcpSocket": {"port": "http"}}),
        "Deployment/media", "livenessProbe does not ask /healthz",
    ),
    "no budget": (
        remove("PodDisruptionBudget", "notifier"), "Deployment/notifier", "no PodDisruptionBudget",
    ),
    "a member without its ordinal": (
        lambda objects: container(objects, "StatefulSet", "care")["env"].pop(),
        "StatefulSet/care", "static members",
    ),
    "two holders": (
        put(spec("Deployment", "connector-bluesky"), "replicas", 2),
        "Deployment/connector-bluesky", "one holder",
    ),
    "a connector that rolls": (
        put(spec("Deployment", "connector-bluesky"), "strategy", {"type": "RollingUpdate"}),
        "Deployment/connector-bluesky", "one holder",
    ),
    "a secret in the manifests": (_secret, "Secret/token", "a secret stands in the manifests"),
    "a secret in a variable": (
        lambda objects: container(objects, "Deployment", "media")["env"].append(
            {
                "name": "KLINGEL_KAFKA__SASL_PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "klingel-connectors", "key": "password"}},
            }
        ),
        "Deployment/media", "holds a secret",
    ),
    "more workers than partitions": (
        put(spec("ScaledObject", "care"), "maxReplicaCount", 25), "ScaledObject/care", "(24)",
    ),
    "idle workers": (
        put(_first_trigger, "allowIdleConsumers", "true"), "ScaledObject/care", "allowIdle",
    ),
    "a key of the trigger that KEDA does not know": (
        put(_first_trigger, "lagTreshold", "5"), "ScaledObject/care", "lagTreshold",
    ),
    "another Kafka": (
        put(_first_trigger, "bootstrapServers", "other:9093"), "ScaledObject/care", "another Kafka",
    ),
    "a Kafka that only its own namespace knows": (
        put(_first_trigger, "bootstrapServers", "klingel-kafka-bootstrap:9093"),
        "ScaledObject/care", "has no namespace",
    ),
    "a writer of blobs that may only read them": (
        put(_of_blobs(in_container("StatefulSet", "thread"), "volumeMounts"), "readOnly", True),
        "StatefulSet/thread", "writes blobs, and cannot",
    ),
    "a writer of blobs whose volume is read-only": (
        lambda objects: _of_blobs(_pod("StatefulSet", "understand"), "volumes")(objects)[
            "persistentVolumeClaim"
        ].update(readOnly=True),
        "StatefulSet/understand", "writes blobs, and cannot",
    ),
    "a writer of blobs without the volume": (
        lambda objects: container(objects, "StatefulSet", "care")["volumeMounts"].remove(
            _of_blobs(in_container("StatefulSet", "care"), "volumeMounts")(objects)
        ),
        "StatefulSet/care", "writes blobs, and cannot",
    ),
    "a secret that nobody makes": (
        remove("ExternalSecret", "connector-secrets-mastodon"),
        "Deployment/connector-mastodon", "nothing makes Secret connector-secrets-mastodon",
    ),
    "a secret's file where no Secret is": (
        lambda objects: container(objects, "Deployment", "gateway")["volumeMounts"].remove(
            next(
                each
                for each in container(objects, "Deployment", "gateway")["volumeMounts"]
                if each["name"] == "secrets"
            )
        ),
        "Deployment/gateway", "names a file of no Secret",
    ),
    "brokers on one node": (
        lambda objects: one(objects, "KafkaNodePool", "broker")["spec"].pop("template"),
        "KafkaNodePool/broker", "on one node",
    ),
    "a Job that nobody sees end": (
        put(spec("Job", "setup"), "ttlSecondsAfterFinished", 300),
        "Job/setup", "is gone before",
    ),
    "a certificate that cannot be had": (
        remove("NetworkPolicy", "solver-from-ingress"), "Certificate/gateway", "HTTP-01",
    ),
    "an Elasticsearch that may gain privileges": (
        lambda objects: one(objects, "Elasticsearch", "klingel")["spec"]["nodeSets"][0][
            "podTemplate"
        ]["spec"]["containers"][0].pop("securityContext"),
        "Elasticsearch/klingel", "allowPrivilegeEscalation is not false",
    ),
    "a Kibana that may run as root": (
        lambda objects: one(objects, "Kibana", "klingel")["spec"]["podTemplate"]["spec"][
            "securityContext"
        ].pop("runAsNonRoot"),
        "Kibana/klingel", "runAsNonRoot is not true",
    ),
    "a broker with capabilities": (
        lambda objects: one(objects, "Kafka", "klingel")["spec"]["kafka"]["template"][
            "kafkaContainer"
        ]["securityContext"].pop("capabilities"),
        "Kafka/klingel", "kafkaContainer: does not drop all capabilities",
    ),
    "an alert without a runbook": (
        lambda objects: next(
            rule
            for group in one(objects, "PrometheusRule", "klingel-services")["spec"]["groups"]
            for rule in group["rules"]
            if "alert" in rule
        )["annotations"].pop("runbook_url"),
        "PrometheusRule/klingel-services", "no runbook_url",
    ),
    "a setting that is none": (
        lambda objects: next(
            each
            for each in objects
            if each["kind"] == "ConfigMap" and "KLINGEL_LOGS__LEVEL" in (each.get("data") or {})
        )["data"].update({"KLINGEL_LOGS__LEVLE": "info"}),
        "ConfigMap", "KLINGEL_LOGS__LEVLE: unknown setting",
    ),
    "everything may talk to everything": (
        remove("NetworkPolicy", "deny-all"), "bundle", "no policy denies everything",
    ),
    "an arrow is missing": (
        remove("NetworkPolicy", "watch-to-kafka"), "StatefulSet/watch", "reach Kafka",
    ),
    "restricted is not enforced": (
        put(
            lambda objects: one(objects, "Namespace", "klingel")["metadata"]["labels"],
            "pod-security.kubernetes.io/enforce", "baseline",
        ),
        "Namespace/klingel", "restricted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_seen(rule: str, bundle, found) -> None:
    spoil, where, what = BROKEN[rule]
    spoil(bundle)
    told = found(bundle)
    assert any(each.where.startswith(where) and what in each.what for each in told), told
