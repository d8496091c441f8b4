"""What a bundle names and what is there: every name leads to an object, every selector to a pod."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .bundle import Object, Pod, Problem, labels, matches, namespace, pods, where

_MADE_BY_OPERATORS = (
    "strimzi.io/", "elasticsearch.k8s.elastic.co/", "kibana.k8s.elastic.co/",
    "acme.cert-manager.io/",
)  # fmt: skip
"""Beginnings of labels that pods have which an operator makes."""
_VOLUMES = (
    ("configMap", "ConfigMap", "name"),
    ("secret", "Secret", "secretName"),
    ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
)
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_AUTHORITY = {"ca.crt", "ca.p12", "ca.password"}
_CERTIFICATE = {"ca.crt", "tls.crt"}
_MADE: dict[str, dict[str, set[str]]] = {
    "Elasticsearch": {
        "-es-elastic-user": {"elastic"},
        "-es-http-certs-public": _CERTIFICATE,
    },
    "Kibana": {"-kb-http-certs-public": _CERTIFICATE},
    "Kafka": {"-cluster-ca-cert": _AUTHORITY, "-clients-ca-cert": _AUTHORITY},
    "KafkaUser": {"": {"password", "sasl.jaas.config"}},
    "Certificate": {"": {*_CERTIFICATE, "tls.key"}},
}
"""Secrets that operators make of an object: what follows its name, and their keys. What only the
operator itself may read (keys of authorities) is not among them."""
BY_HAND = re.compile(
    r"(gateway|notifier|media)-secrets|connector-secrets-[a-z0-9-]+|erasure-key"
    r"|klingel-(indexer|cli|editor)-elasticsearch|klingel-es-snapshots"
)
"""Secrets that a person makes, as the page on Kubernetes says, where External Secrets makes none."""
Key = tuple[str, str | None, str]


def problems(objects: list[Object]) -> Iterator[Problem]:
    """Yield every name that leads nowhere and every selector that finds nothing."""
    have = {(each["kind"], namespace(each), each["metadata"]["name"]): each for each in objects}
    if len(have) < len(objects):
        yield Problem("bundle", "two objects of one kind have one name")
    made = made_by_operators(objects)
    known = set(have) | set(made)
    by_hand = all(each["kind"] != "ExternalSecret" for each in objects)
    for pod in pods(objects):
        for text in (
            *_of_pod(pod, have, known),
            *_files(pod, have, known, by_hand=by_hand),
            *_keys(pod, made),
        ):
            yield Problem(where(pod.owner), text)
    for each in objects:
        check = _OF_KIND.get(each["kind"])
        for text in check(each, objects, known) if check else ():
            yield Problem(where(each), text)
        for name in _read_by_operators(each):
            if ("Secret", namespace(each), name) not in known and not (
                by_hand and BY_HAND.fullmatch(name)
            ):
                yield Problem(where(each), f"nothing makes Secret {name}")


def made_by_operators(objects: list[Object]) -> dict[Key, set[str] | None]:
    """Return the Secrets that operators make of what is in the bundle, and their keys if we know them."""
    found: dict[Key, set[str] | None] = {}
    for each in objects:
        kind, name, spec = each["kind"], each["metadata"]["name"], each.get("spec") or {}
        if kind == "ExternalSecret":
            target = (spec.get("target") or {}).get("name", name)
            found["Secret", namespace(each), target] = None
        base = spec.get("secretName", "") if kind == "Certificate" else name
        for suffix, keys in _MADE.get(kind, {}).items():
            found["Secret", namespace(each), base + suffix] = keys
    return found


def _keys(pod: Pod, made: Mapping[Key, set[str] | None]) -> Iterator[str]:
    """Check that a Secret of an operator has the keys that a volume takes out of it."""
    for volume in pod.volumes:
        secret = volume.get("secret") or {}
        keys = made.get(("Secret", namespace(pod.owner), secret.get("secretName", "")))
        for item in secret.get("items") or [] if keys is not None else []:
            if item["key"] not in (keys or ()):
                yield f"Secret {secret['secretName']} has no key {item['key']}"


def _read_by_operators(each: Object) -> Iterator[str]:
    """Yield the Secrets that ECK reads for an Elasticsearch: users and its keystore."""
    if each["kind"] == "Elasticsearch":
        spec = each["spec"]
        for named in (
            *((spec.get("auth") or {}).get("fileRealm") or []),
            *(spec.get("secureSettings") or []),
        ):
            yield named["secretName"]


def _missing(known: set[Key], kind: str, space: str | None, name: str) -> Iterator[str]:
    if (kind, space, name) not in known:
        yield f"no {kind} {name}"


def _of_pod(pod: Pod, have: Mapping[Key, Object], known: set[Key]) -> Iterator[str]:
    space = namespace(pod.owner)
    if "serviceAccountName" in pod.spec:
        yield from _missing(known, "ServiceAccount", space, pod.spec["serviceAccountName"])
    for volume in pod.volumes:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or [])):
            for kind, name in _sources(source):
                yield from _missing(known, kind, space, name)
    selector = pod.owner["spec"].get("selector")
    if selector and not matches(selector, pod.labels):
        yield "its selector does not match its own pods"
    claims = pod.owner["spec"].get("volumeClaimTemplates") or []
    volumes = {each["name"] for each in pod.volumes} | {each["metadata"]["name"] for each in claims}
    for container in pod.containers:
        lead = f"container {container['name']}: "
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in volumes:
                yield f"{lead}mount of an unknown volume {mount['name']}"
        for text in (*_ports(container), *_environment(container, space, have, known)):
            yield lead + text


def _files(
    pod: Pod, have: Mapping[Key, Object], known: set[Key], *, by_hand: bool
) -> Iterator[str]:
    """Check that somebody makes the Secret of each file a setting names; `optional` hides that."""
    space = namespace(pod.owner)
    secrets = {
        each["name"]: each["secret"]["secretName"] for each in pod.volumes if "secret" in each
    }
    for container in pod.containers:
        mounts = {
            f"{mount['mountPath']}/": secrets[mount["name"]]
            for mount in container.get("volumeMounts") or []
            if mount["name"] in secrets
        }
        for setting, value in _settings(container, space, have).items():
            made = next((name for path, name in mounts.items() if value.startswith(path)), None)
            if not setting.endswith("_FILE") or (made and by_hand and BY_HAND.fullmatch(made)):
                continue
            if made is None:
                yield f"container {container['name']}: {setting} names a file of no Secret"
            elif ("Secret", space, made) not in known:
                yield f"container {container['name']}: {setting}: nothing makes Secret {made}"


def _settings(container: Object, space: str | None, have: Mapping[Key, Object]) -> dict[str, str]:
    """Return what a container's environment says in words."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        name = (source.get("configMapRef") or {}).get("name", "")
        found |= have.get(("ConfigMap", space, name), {}).get("data") or {}
    for each in container.get("env") or []:
        found[each["name"]] = each.get("value", "")
    return found


def _sources(volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what a volume needs to be there."""
    for key, kind, field in _VOLUMES:
        named = volume.get(key) or {}
        name = named.get(field) or named.get("name")
        if name and not named.get("optional"):
            yield kind, name


def _ports(container: Object) -> Iterator[str]:
    named = {port.get("name") for port in container.get("ports") or []}
    for probe in _PROBES:
        for how in ("httpGet", "tcpSocket"):
            port = ((container.get(probe) or {}).get(how) or {}).get("port")
            if isinstance(port, str) and port not in named:
                yield f"{probe} names an unknown port {port}"


def _environment(
    container: Object, space: str | None, have: Mapping[Key, Object], known: set[Key]
) -> Iterator[str]:
    for variable in container.get("env") or []:
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            named = (variable.get("valueFrom") or {}).get(key)
            if not named or named.get("optional"):
                continue
            yield from _missing(known, kind, space, named["name"])
            held = have.get((kind, space, named["name"]))
            if held is not None and named["key"] not in _data(held):
                yield f"{kind} {named['name']} has no key {named['key']}"
    for source in container.get("envFrom") or []:
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            named = source.get(key)
            if named and not named.get("optional"):
                yield from _missing(known, kind, space, named["name"])


def _data(held: Object) -> dict[str, Any]:
    return {**(held.get("data") or {}), **(held.get("stringData") or {})}


def _found(objects: list[Object], each: Object, selector: Mapping[str, Any] | None) -> list[Pod]:
    return [
        pod
        for pod in pods(objects)
        if namespace(pod.owner) == namespace(each) and matches(selector, pod.labels)
    ]


def _is_operators(selector: Mapping[str, str]) -> bool:
    return any(key.startswith(_MADE_BY_OPERATORS) for key in selector)


def _service(each: Object, objects: list[Object], _known: set[Key]) -> Iterator[str]:
    selector = each["spec"].get("selector")
    if not selector or _is_operators(selector):
        return
    found = _found(objects, each, {"matchLabels": selector})
    if not found:
        yield "selects no pod"
    named = {
        port.get("name")
        for pod in found
        for container in pod.containers
        for port in container.get("ports") or []
    }
    for port in each["spec"].get("ports") or []:
        target = port.get("targetPort")
        if isinstance(target, str) and target not in named:
            yield f"targetPort {target} is no port of its pods"


def _budget(each: Object, objects: list[Object], _known: set[Key]) -> Iterator[str]:
    if not _found(objects, each, each["spec"].get("selector")):
        yield "selects no pod"


def _policy(each: Object, objects: list[Object], _known: set[Key]) -> Iterator[str]:
    selector = each["spec"].get("podSelector") or {}
    if not selector or _is_operators(selector.get("matchLabels") or {}):
        return
    if not _found(objects, each, selector):
        yield "selects no pod"


def _scaled(each: Object, _objects: list[Object], known: set[Key]) -> Iterator[str]:
    target = each["spec"].get("scaleTargetRef") or {}
    kind = target.get("kind", "Deployment")
    yield from _missing(known, kind, namespace(each), target.get("name", ""))
    for trigger in each["spec"].get("triggers") or []:
        name = (trigger.get("authenticationRef") or {}).get("name")
        if name:
            yield from _missing(known, "TriggerAuthentication", namespace(each), name)


def _authentication(each: Object, _objects: list[Object], known: set[Key]) -> Iterator[str]:
    for key, kind in (("secretTargetRef", "Secret"), ("configMapTargetRef", "ConfigMap")):
        for named in each["spec"].get(key) or []:
            yield from _missing(known, kind, namespace(each), named["name"])


def _monitor(each: Object, objects: list[Object], _known: set[Key]) -> Iterator[str]:
    services = [
        service
        for service in objects
        if service["kind"] == "Service" and matches(each["spec"]["selector"], labels(service))
    ]
    if not services:
        yield "selects no Service"
    for endpoint in each["spec"].get("endpoints") or []:
        for service in services:
            if endpoint.get("port") not in {port.get("name") for port in service["spec"]["ports"]}:
                yield f"{where(service)} has no port {endpoint.get('port')}"


def _ingress(each: Object, objects: list[Object], known: set[Key]) -> Iterator[str]:
    space = namespace(each)
    for tls in each["spec"].get("tls") or []:
        yield from _missing(known, "Secret", space, tls["secretName"])
    for rule in each["spec"].get("rules") or []:
        for path in rule["http"]["paths"]:
            wanted = path["backend"]["service"]
            yield from _missing(known, "Service", space, wanted["name"])
            for service in objects:
                if where(service) == f"Service/{wanted['name']}":
                    named = {port.get("name") for port in service["spec"]["ports"]}
                    if wanted["port"].get("name") not in named:
                        yield f"Service {wanted['name']} has no such port"


def _stateful(each: Object, objects: list[Object], _known: set[Key]) -> Iterator[str]:
    """Check the Service that gives its pods their names."""
    wanted = each["spec"].get("serviceName")
    own = labels(each["spec"]["template"])
    if not any(
        service["kind"] == "Service"
        and service["metadata"]["name"] == wanted
        and namespace(service) == namespace(each)
        and service["spec"].get("clusterIP") == "None"
        and matches({"matchLabels": service["spec"].get("selector") or {}}, own)
        for service in objects
    ):
        yield f"serviceName {wanted}: no headless Service of that name selects its pods"


def _strimzi(each: Object, _objects: list[Object], known: set[Key]) -> Iterator[str]:
    name = labels(each).get("strimzi.io/cluster", "")
    yield from _missing(known, "Kafka", namespace(each), name)


def _elasticsearch(each: Object, _objects: list[Object], known: set[Key]) -> Iterator[str]:
    """Check roles; users' Secrets may be made by people (`_read_by_operators`)."""
    for named in (each["spec"].get("auth") or {}).get("roles") or []:
        yield from _missing(known, "Secret", namespace(each), named["secretName"])


def _kibana(each: Object, _objects: list[Object], known: set[Key]) -> Iterator[str]:
    named = each["spec"].get("elasticsearchRef")
    if named:
        yield from _missing(known, "Elasticsearch", namespace(each), named["name"])


_OF_KIND = {
    "Service": _service,
    "StatefulSet": _stateful,
    "PodDisruptionBudget": _budget,
    "NetworkPolicy": _policy,
    "HorizontalPodAutoscaler": _scaled,
    "ScaledObject": _scaled,
    "TriggerAuthentication": _authentication,
    "ServiceMonitor": _monitor,
    "Ingress": _ingress,
    "KafkaTopic": _strimzi,
    "KafkaUser": _strimzi,
    "KafkaNodePool": _strimzi,
    "Elasticsearch": _elasticsearch,
    "Kibana": _kibana,
}
