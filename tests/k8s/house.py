"""Our own rules: what every bundle of klingel holds to beyond what Kubernetes asks."""

import re
from collections.abc import Iterator
from typing import Any, Final

from klingel.settings import names

from .bundle import Object, Pod, Problem, labels, matches, namespace, pods, template, where

IMAGES: Final = re.compile(
    r"(?:[a-z0-9.-]+(?::[0-9]+)?/)*(klingel-[a-z]+)"
    r"(?::[0-9]+\.[0-9]+\.[0-9]+(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})"
)
"""How our images are named, wherever they are kept, and by their content where an overlay says it."""
LONGEST_BATCH_SECONDS: Final = 20
"""How long a processor finishes what it has in hand (`klingel_processors.app`)."""
WAIT_SECONDS: Final = 1800
"""How long the page says to wait for a first install."""
KAFKA_TRIGGER: Final = {
    "bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold",
    "offsetResetPolicy", "allowIdleConsumers", "scaleToZeroOnInvalidOffset", "excludePersistentLag",
    "limitToPartitionsWithLag", "ensureEvenDistributionOfPartitions", "version",
    "partitionLimitation", "sasl", "tls", "unsafeSsl", "saslTokenProvider", "awsRegion",
}  # fmt: skip
"""Keys of KEDA's kafka trigger, after its documentation; a schema knows none of them."""
_SASL: Final = {"none", "plaintext", "scram_sha256", "scram_sha512", "oauthbearer", "gssapi"}
_PROBED: Final = {
    "startupProbe": "/healthz",
    "livenessProbe": "/healthz",
    "readinessProbe": "/readyz",
}
_WITHOUT_KAFKA: Final = {"dashboards"}
"""Who has no arrow to Kafka."""
WRITES_BLOBS: Final = {
    "connector",
    "gateway",
    "media",
    "understand",
    "thread",
    "care",
    "watch",
    "tools",
    "demands",
    "age",
}
"""Who puts originals, or those of its dead letters, into the volume of blobs, or forgets some."""
_REMOVES_MEDIA: Final = {"tools", "demands"}
"""Who carries erasures and deletions out."""
_NOT_SECRET: Final = {"roles.yml"}
"""All that a Secret of the bundle may hold: ECK reads names of privileges from a Secret only."""


def problems(objects: list[Object]) -> Iterator[Problem]:
    """Yield what breaks a rule of ours."""
    settings = _settings(objects)
    for pod in pods(objects):
        for text in (*_hygiene(pod), *_images(pod)):
            yield Problem(where(pod.owner), text)
        for text in _blobs(pod, settings):
            yield Problem(where(pod.owner), text)
        if pod.owner["kind"] in {"Deployment", "StatefulSet"}:
            for text in (*_long_running(pod, objects), *_members(pod)):
                yield Problem(where(pod.owner), text)
    for each in objects:
        for text in (
            *_secrets(each), *_scaled(each, settings), *_alerts(each), *_variables(each),
            *_pools(each), *_jobs(each), *_patient(each), *_placed(each), *_solved(each, objects),
        ):  # fmt: skip
            yield Problem(where(each), text)
    yield from _network(objects)
    yield from _bucket(objects)


def _secrets(each: Object) -> Iterator[str]:
    held = each["kind"] == "Secret" and set(each.get("data") or {}) - _NOT_SECRET
    if held or "stringData" in each:
        yield "a secret stands in the manifests"


def _settings(objects: list[Object]) -> dict[str, str]:
    """Return the settings that every service shares."""
    for each in objects:
        if each["kind"] == "ConfigMap" and re.fullmatch(
            r"klingel(-[a-z0-9]+)?", each["metadata"]["name"]
        ):
            return each.get("data") or {}
    return {}


def _hygiene(pod: Pod) -> Iterator[str]:
    if pod.spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks: variables of Services would be taken for settings"
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "gets a token of its ServiceAccount"
    if pod.spec.get("serviceAccountName", "default") == "default":
        yield "has no ServiceAccount of its own"
    for container in pod.containers:
        lead = f"container {container['name']}: "
        if (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
            yield f"{lead}its root can be written"
        resources = container.get("resources") or {}
        for part in ("requests", "limits"):
            missing = {"cpu", "memory"} - set(resources.get(part) or {})
            if missing:
                yield f"{lead}no {part} of {', '.join(sorted(missing))}"
        for variable in container.get("env") or []:
            if "secretKeyRef" in (variable.get("valueFrom") or {}):
                yield f"{lead}variable {variable['name']} holds a secret; mount it as a file"


def _images(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        if not IMAGES.fullmatch(container["image"]):
            yield f"container {container['name']}: image {container['image']} has no fixed version"


def _long_running(pod: Pod, objects: list[Object]) -> Iterator[str]:
    if pod.spec.get("terminationGracePeriodSeconds", 30) <= LONGEST_BATCH_SECONDS:
        yield "is killed before its longest batch can end"
    if not pod.spec.get("topologySpreadConstraints"):
        yield "its pods are not spread"
    for each in pod.spec.get("topologySpreadConstraints") or []:
        if not matches(each.get("labelSelector"), pod.labels):
            yield "spreads other pods than its own"
    for container in pod.spec["containers"]:
        for name, path in _PROBED.items():
            asked = ((container.get(name) or {}).get("httpGet") or {}).get("path")
            if asked != path:
                yield f"container {container['name']}: {name} does not ask {path}"
    for kind in ("PodDisruptionBudget", "Service"):
        if not any(_covers(each, pod) for each in objects if each["kind"] == kind):
            yield f"has no {kind}"


def _covers(each: Object, pod: Pod) -> bool:
    selector = each["spec"].get("selector")
    if each["kind"] == "Service":
        selector = {"matchLabels": selector} if selector else None
    return namespace(each) == namespace(pod.owner) and matches(selector, pod.labels)


def _members(pod: Pod) -> Iterator[str]:
    """Check what state decides: who has volumes is a StatefulSet, its ordinals are members."""
    component, spec = pod.labels.get("app.kubernetes.io/component"), pod.owner["spec"]
    stateful = pod.owner["kind"] == "StatefulSet"
    if stateful and not spec.get("volumeClaimTemplates"):
        yield "a StatefulSet without state"
    main = next(each for each in pod.spec["containers"])
    ordinal = any(
        each["name"].endswith("__INSTANCE")
        and ((each.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        == "metadata.name"
        for each in main.get("env") or []
    )
    if stateful != ordinal:
        yield "a StatefulSet's ordinals, and they alone, are static members of its group"
    if component == "connector":
        strategy = (spec.get("strategy") or {}).get("type")
        if (strategy, pod.replicas) != ("Recreate", 1):
            yield "a connector has one holder: Recreate and one replica"


def _blobs(pod: Pod, settings: dict[str, str]) -> Iterator[str]:
    """Check that who writes blobs can: its root is read-only."""
    if pod.labels.get("app.kubernetes.io/component") not in WRITES_BLOBS:
        return
    shared = {
        each["name"]
        for each in pod.volumes
        if "persistentVolumeClaim" in each and not each["persistentVolumeClaim"].get("readOnly")
    }
    for container in pod.spec["containers"]:
        if not any(
            mount["mountPath"] == settings.get("KLINGEL_BLOBS__DIR")
            and mount["name"] in shared
            and not mount.get("readOnly")
            for mount in container.get("volumeMounts") or []
        ):
            yield f"container {container['name']}: it writes blobs, and cannot"


def _scaled(each: Object, settings: dict[str, str]) -> Iterator[str]:
    if each["kind"] != "ScaledObject":
        return
    most = int(settings.get("KLINGEL_KAFKA__PARTITIONS", 0))
    if each["spec"].get("maxReplicaCount", 100) > most:
        yield f"may have more workers than there are partitions ({most})"
    for trigger in each["spec"].get("triggers") or []:
        metadata = trigger.get("metadata") or {}
        unknown = set(metadata) - KAFKA_TRIGGER
        if trigger.get("type") != "kafka" or unknown:
            yield f"no kafka trigger: {', '.join(sorted(unknown)) or trigger.get('type')}"
        yield from _trigger(metadata, settings)


def _trigger(metadata: dict[str, Any], settings: dict[str, str]) -> Iterator[str]:
    """Check what a trigger says; KEDA's operator acts on it, in a namespace of its own."""
    if any(not isinstance(value, str) for value in metadata.values()):
        yield "a value of the trigger is no text"
    if metadata.get("allowIdleConsumers") != "false":
        yield "allowIdleConsumers: more workers than partitions would be started"
    if metadata.get("bootstrapServers") != settings.get("KLINGEL_KAFKA__BOOTSTRAP"):
        yield "asks another Kafka than the services"
    for server in metadata.get("bootstrapServers", "").split(","):
        if "." not in server.partition(":")[0]:
            yield f"{server} has no namespace: KEDA would look for it in its own"
    if metadata.get("sasl", "none") not in _SASL:
        yield f"sasl {metadata['sasl']} is unknown"


def _pools(each: Object) -> Iterator[str]:
    """Check that nodes of Kafka are not all on one machine; Strimzi spreads them over racks alone."""
    if each["kind"] != "KafkaNodePool":
        return
    pod = (each["spec"].get("template") or {}).get("pod") or {}
    own = {"strimzi.io/cluster": "klingel", "strimzi.io/pool-name": each["metadata"]["name"]}
    if not any(
        spread["topologyKey"] == "kubernetes.io/hostname"
        and matches(spread.get("labelSelector"), own)
        for spread in pod.get("topologySpreadConstraints") or []
    ):
        yield "its pods may all be on one node"


def _jobs(each: Object) -> Iterator[str]:
    """Check that a Job ends, and is still there for who waits for it, as the page says how long."""
    if each["kind"] not in {"Job", "CronJob"}:
        return
    once = each["kind"] == "Job"
    spec = each["spec"] if once else each["spec"]["jobTemplate"]["spec"]
    if once and spec.get("ttlSecondsAfterFinished", 2 * WAIT_SECONDS) < WAIT_SECONDS:
        yield "is gone before somebody who waits has seen it"
    if "activeDeadlineSeconds" not in spec:
        yield "may hang for ever: no activeDeadlineSeconds"


def _patient(each: Object) -> Iterator[str]:
    """Check that a first rollout is not given up while servers, and Secrets of theirs, are made."""
    if (
        each["kind"] == "Deployment"
        and each["spec"].get("progressDeadlineSeconds", 600) < WAIT_SECONDS
    ):
        yield "its rollout is given up before the servers it waits for are there"


def _placed(each: Object) -> Iterator[str]:
    """Check that one node would do: what must be apart stays pending where nodes or labels are few."""
    for spec in _specs(each):
        apart = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
        if apart.get("requiredDuringSchedulingIgnoredDuringExecution"):
            yield "must be apart from other pods: on one node it stays pending"
        for spread in spec.get("topologySpreadConstraints") or []:
            if spread.get("whenUnsatisfiable") != "ScheduleAnyway":
                yield f"must be spread over {spread['topologyKey']}: it may stay pending"


def _specs(each: Object) -> Iterator[dict[str, Any]]:
    """Yield what an object says of pods, those that operators make of it among them."""
    found = template(each)
    if found is not None:
        yield found["spec"]
    elif each["kind"] == "KafkaNodePool":
        yield (each["spec"].get("template") or {}).get("pod") or {}
    elif each["kind"] in {"Elasticsearch", "Kibana"}:
        for part in each["spec"].get("nodeSets") or [each["spec"]]:
            yield (part.get("podTemplate") or {}).get("spec") or {}


def _solved(each: Object, objects: list[Object]) -> Iterator[str]:
    """Check that the proof for a certificate is let in: deny-all would keep it from coming."""
    solver = {"acme.cert-manager.io/http01-solver": "true"}
    if each["kind"] == "Certificate" and not any(
        policy["spec"].get("ingress") and matches(policy["spec"].get("podSelector"), solver)
        for policy in objects
        if policy["kind"] == "NetworkPolicy" and namespace(policy) == namespace(each)
    ):
        yield "no policy lets its HTTP-01 solver be asked"


def _alerts(each: Object) -> Iterator[str]:
    if each["kind"] != "PrometheusRule":
        return
    for group in each["spec"].get("groups") or []:
        for rule in group["rules"]:
            if "alert" in rule and "runbook_url" not in (rule.get("annotations") or {}):
                yield f"alert {rule['alert']} has no runbook_url"


def _variables(each: Object) -> Iterator[str]:
    """Yield settings that no service knows; those of connectors and of the gateway are their own."""
    name = each["metadata"]["name"]
    if each["kind"] != "ConfigMap" or not re.fullmatch(r"klingel-[a-z0-9]{10}", name):
        return
    known = names()
    for key in each.get("data") or {}:
        if key.removesuffix("_FILE") not in known:
            yield f"{key}: unknown setting"


def _bucket(objects: list[Object]) -> Iterator[Problem]:
    """Check that who removes media knows the bucket in which the worker keeps them."""
    buckets = {
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "ConfigMap" and "KLINGEL_MEDIA_S3_ENDPOINT" in (each.get("data") or {})
    }
    for pod in pods(objects) if buckets else ():
        if pod.labels.get("app.kubernetes.io/component") not in _REMOVES_MEDIA:
            continue
        for container in pod.spec["containers"]:
            read = {each.get("configMapRef", {}).get("name") for each in container["envFrom"]}
            if not buckets & read:
                yield Problem(where(pod.owner), "removes media, and does not know their bucket")


def _network(objects: list[Object]) -> Iterator[Problem]:
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    denies: list[dict[str, Any]] = [
        each["spec"]
        for each in policies
        if not each["spec"].get("podSelector")
        and not each["spec"].get("ingress")
        and not each["spec"].get("egress")
    ]
    if not any(set(spec.get("policyTypes") or []) == {"Ingress", "Egress"} for spec in denies):
        yield Problem("bundle", "no policy denies everything")
    for each in objects:
        if each["kind"] != "Namespace":
            continue
        if labels(each).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield Problem(where(each), "does not enforce restricted")
    for pod in pods(objects):
        if pod.labels.get("app.kubernetes.io/component") in _WITHOUT_KAFKA:
            continue
        if not any(
            each["metadata"]["name"].partition("-to-")[2].startswith("kafka")
            and matches(each["spec"].get("podSelector"), pod.labels)
            for each in policies
        ):
            yield Problem(where(pod.owner), "no policy lets it reach Kafka")
