"""What the API server refuses and no schema says: ranges, names, policies, *restricted*, duplicates."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, Final

from .bundle import Object, Pod, Problem, labels, namespace, pods, where
from .cron import wrong_schedule, wrong_zone

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SERVICE_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT_NAME: Final = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?)(m|[kMGTPE]|[KMGTPE]i)?")
_UNITS: Final = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_CLUSTER_WIDE: Final = {"Namespace", "ClusterRole", "ClusterRoleBinding", "ClusterIssuer"}
_RESTARTS: Final = {
    "Deployment": {"Always"},
    "StatefulSet": {"Always"},
    "DaemonSet": {"Always"},
    "Job": {"Never", "OnFailure"},
    "CronJob": {"Never", "OnFailure"},
}
_SCHEMES: Final = {"HTTP", "HTTPS"}
_PROTOCOLS: Final = {"TCP", "UDP", "SCTP"}
_PULLS: Final = {"Always", "IfNotPresent", "Never"}
_SAFE_VOLUMES: Final = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
_PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
_PORTS: Final = range(1, 65_536)
_FORMS: Final = {
    "Namespace": _LABEL,
    "Service": _SERVICE_NAME,
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"), _LABEL),
}
"""Kinds with narrower names; a dot in a pod's is taken with a warning, as hosts are called by it."""
_LONGEST_NAME: Final = {"CronJob": 52, "StatefulSet": 52, "Job": 63}
"""Of kinds whose name stands in labels of what is made of them."""
_SPREADS: Final = {"ScheduleAnyway", "DoNotSchedule"}
_OVERLAPS: Final = {"Allow", "Forbid", "Replace"}


def quantity(text: object) -> Decimal | None:
    """Return a quantity in its base unit, None for what is none."""
    found = _QUANTITY.fullmatch(str(text))
    return None if found is None else Decimal(found[1]) * _UNITS.get(found[2] or "", Decimal(1))


def problems(objects: list[Object]) -> Iterator[Problem]:
    """Yield what an API server with *restricted* enforced would refuse."""
    for each in objects:
        check = _OF_KIND.get(each["kind"])
        for text in (*_names(each), *(check(each) if check else ())):
            yield Problem(where(each), text)
    for pod in pods(objects):
        for text in (*_of_pod(pod), *_restricted(pod)):
            yield Problem(where(pod.owner), text)
    for each in objects:
        for text in _restricted_by_operators(each):
            yield Problem(where(each), text)


def _names(each: Object) -> Iterator[str]:
    name, kind = str(each["metadata"]["name"]), each["kind"]
    form = _FORMS.get(kind, _SUBDOMAIN)
    if not form.fullmatch(name):
        yield "its name is none that Kubernetes takes"
    if len(name) > _LONGEST_NAME.get(kind, len(name)):
        yield f"its name is longer than {_LONGEST_NAME[kind]} characters"
    if (namespace(each) is None) != (kind in _CLUSTER_WIDE):
        yield "is in no namespace" if namespace(each) is None else "is in a namespace"
    for key, value in labels(each).items():
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            yield f"label {key} has no value that Kubernetes takes"


def _repeated(what: str, names: Iterable[object]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name} stands there {count} times"


# ------------------------------------------------------------------ pods


def _of_pod(pod: Pod) -> Iterator[str]:
    kind, spec = pod.owner["kind"], pod.spec
    policy = spec.get("restartPolicy", "Always")
    if policy not in _RESTARTS.get(kind, {policy}):
        yield f"a {kind} cannot have restartPolicy {policy}"
    if spec.get("terminationGracePeriodSeconds", 30) < 0:
        yield "terminationGracePeriodSeconds is negative"
    yield from _spread(spec)
    yield from _repeated("container", (each["name"] for each in pod.containers))
    yield from _repeated("volume", (each["name"] for each in pod.volumes))
    for container in pod.containers:
        lead = f"container {container['name']}: "
        if not _LABEL.fullmatch(container["name"]):
            yield f"{lead}its name is none that Kubernetes takes"
        for text in (*_lists(container), *_resources(container), *_probes(container)):
            yield lead + text
        sleep = (((container.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}).get(
            "seconds", 0
        )
        if sleep > spec.get("terminationGracePeriodSeconds", 30):
            yield f"{lead}it sleeps before its stop for longer than it may take"


def _spread(spec: Object) -> Iterator[str]:
    """Check constraints of spreading; two that say the same of one key are refused."""
    found = spec.get("topologySpreadConstraints") or []
    yield from _repeated(
        "spread", ((each.get("topologyKey"), each.get("whenUnsatisfiable")) for each in found)
    )
    for each in found:
        if each.get("maxSkew", 0) < 1:
            yield "maxSkew is below 1"
        if each.get("whenUnsatisfiable") not in _SPREADS:
            yield f"whenUnsatisfiable {each.get('whenUnsatisfiable')} is unknown"


def _lists(container: Object) -> Iterator[str]:
    names = [each["name"] for each in container.get("env") or []]
    yield from _repeated("variable", names)
    for name in names:
        if not _VARIABLE.fullmatch(name):
            yield f"variable {name} has a name that Kubernetes does not take"
    mounts = container.get("volumeMounts") or []
    yield from _repeated("mountPath", (each["mountPath"] for each in mounts))
    ports = container.get("ports") or []
    yield from _repeated("port name", (each["name"] for each in ports if "name" in each))
    # only a warning, which ends an apply that takes warnings as errors
    yield from _repeated(
        "port", (f"{each['containerPort']}/{each.get('protocol', 'TCP')}" for each in ports)
    )
    for port in ports:
        if port["containerPort"] not in _PORTS:
            yield f"containerPort {port['containerPort']} is out of range"
        if "name" in port and not _PORT_NAME.fullmatch(port["name"]):
            yield f"port name {port['name']} is none that Kubernetes takes"
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            yield f"protocol {port['protocol']} is unknown"
    if container.get("imagePullPolicy", "Always") not in _PULLS:
        yield f"imagePullPolicy {container['imagePullPolicy']} is unknown"


def _resources(container: Object) -> Iterator[str]:
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    for part in ("requests", "limits"):
        for name, value in (resources.get(part) or {}).items():
            held = quantity(value)
            if held is None:
                yield f"{part} of {name}: {value} is no quantity"
            elif name != "cpu" and held % 1:
                yield f"{part} of {name}: {value} is a fraction of a byte"
    for name, value in (resources.get("requests") or {}).items():
        asked, most = quantity(value), quantity(limits.get(name, value))
        if asked is not None and most is not None and asked > most:
            yield f"it requests more {name} than its limit"


def _probes(container: Object) -> Iterator[str]:
    for name in _PROBES:
        probe = container.get(name)
        if not probe:
            continue
        handlers = [each for each in ("httpGet", "tcpSocket", "exec", "grpc") if each in probe]
        if len(handlers) != 1:
            yield f"{name} needs one way to ask"
        scheme = (probe.get("httpGet") or {}).get("scheme", "HTTP")
        if scheme not in _SCHEMES:
            yield f"{name}: scheme {scheme} is none of {', '.join(sorted(_SCHEMES))}"
        port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port", 1)
        if isinstance(port, int) and port not in _PORTS:
            yield f"{name}: port {port} is out of range"
        for field in ("periodSeconds", "timeoutSeconds", "failureThreshold"):
            if probe.get(field, 1) < 1:
                yield f"{name}: {field} is below 1"
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield f"{name}: successThreshold must be 1"


def _restricted(pod: Pod) -> Iterator[str]:
    """Yield what the Pod Security Standard *restricted* forbids."""
    spec = pod.spec
    context = spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"restricted: {name}"
    if context.get("sysctls"):
        yield "restricted: sysctls"
    for volume in pod.volumes:
        kinds = set(volume) - {"name"}
        if not kinds <= _SAFE_VOLUMES:
            yield f"restricted: volume {volume['name']} is a {', '.join(sorted(kinds))}"
    for container in pod.containers:
        lead = f"restricted: container {container['name']}: "
        for text in _restricted_container(container, context):
            yield lead + text


def _restricted_by_operators(each: Object) -> Iterator[str]:
    """Yield what *restricted* forbids in the templates that an operator makes pods of.

    Strimzi has a template for each container and sees to the pod itself.
    """
    spec = each.get("spec") or {}
    if each["kind"] in {"Elasticsearch", "Kibana"}:
        for part in spec.get("nodeSets") or [spec]:
            template = part.get("podTemplate") or {}
            pod = {"containers": [], **(template.get("spec") or {})}
            if not pod["containers"]:
                yield "restricted: its pods say nothing"
            yield from _restricted(Pod(each, {"spec": pod}))
    elif each["kind"] == "Kafka":
        for part in ("kafka", "entityOperator"):
            for name, made in ((spec.get(part) or {}).get("template") or {}).items():
                if name.endswith("Container"):
                    for text in _restricted_container(made, {}):
                        yield f"restricted: {part}.template.{name}: {text}"


def _restricted_container(container: Object, pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    both = {**pod, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if both.get("runAsUser") == 0:
        yield "runs as root"
    if (both.get("seccompProfile") or {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccomp profile"
    capabilities = own.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"]:
        yield "does not drop all capabilities"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any("hostPort" in port for port in container.get("ports") or []):
        yield "a port of the host"


# ------------------------------------------------------------------ other kinds


def _budget(each: Object) -> Iterator[str]:
    spec = each["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield "minAvailable and maxUnavailable exclude each other"
    for name in ("minAvailable", "maxUnavailable"):
        value = spec.get(name, 0)
        if not ((isinstance(value, int) and value >= 0) or re.fullmatch(r"[0-9]+%", str(value))):
            yield f"{name} is neither a number nor a share"
    if spec.get("unhealthyPodEvictionPolicy", "AlwaysAllow") not in {
        "AlwaysAllow",
        "IfHealthyBudget",
    }:
        yield "unhealthyPodEvictionPolicy is unknown"


def _autoscaler(each: Object) -> Iterator[str]:
    low, high = each["spec"].get("minReplicas", 1), each["spec"].get("maxReplicas", 0)
    if high < 1 or low > high:
        yield f"between {low} and {high} there is no number of replicas"


def _scaled(each: Object) -> Iterator[str]:
    spec = each["spec"]
    low, high = spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
    if low > high:
        yield f"between {low} and {high} there is no number of replicas"


def _policy(each: Object) -> Iterator[str]:
    spec = each["spec"]
    for kind in spec.get("policyTypes") or []:
        if kind not in {"Ingress", "Egress"}:
            yield f"policyType {kind} is unknown"
    for rule in (*(spec.get("ingress") or []), *(spec.get("egress") or [])):
        for peer in (*(rule.get("from") or []), *(rule.get("to") or [])):
            yield from _block(peer.get("ipBlock"))
        for port in rule.get("ports") or []:
            number, end = port.get("port"), port.get("endPort")
            if isinstance(number, int) and number not in _PORTS:
                yield f"port {number} is out of range"
            if end is not None and not (isinstance(number, int) and number <= end <= _PORTS[-1]):
                yield f"endPort {end} ends no range"
            if port.get("protocol", "TCP") not in _PROTOCOLS:
                yield f"protocol {port['protocol']} is unknown"


def _block(block: Object | None) -> Iterator[str]:
    """Check a block of addresses; one with bits of a host is taken, with a warning."""
    if block is None:
        return
    try:
        whole = ip_network(block["cidr"])
    except ValueError:
        yield f"cidr {block['cidr']} is none"
        return
    for text in block.get("except") or []:
        try:
            part = ip_network(text)
        except ValueError:
            yield f"except {text} is no cidr"
            continue
        if part == whole or part.version != whole.version or not part.subnet_of(whole):
            yield f"except {text} lies not within {block['cidr']}"


def _job(each: Object) -> Iterator[str]:
    yield from _job_spec(each["spec"])


def _job_spec(spec: Object) -> Iterator[str]:
    for name, least in (
        ("activeDeadlineSeconds", 1),
        ("backoffLimit", 0),
        ("ttlSecondsAfterFinished", 0),
    ):
        if spec.get(name, least) < least:
            yield f"{name} is below {least}"


def _cron(each: Object) -> Iterator[str]:
    spec = each["spec"]
    yield from wrong_schedule(spec["schedule"])
    if "timeZone" in spec:
        yield from wrong_zone(spec["timeZone"])
    if spec.get("concurrencyPolicy", "Allow") not in _OVERLAPS:
        yield f"concurrencyPolicy {spec['concurrencyPolicy']} is unknown"
    yield from _job_spec(spec["jobTemplate"]["spec"])


def _service(each: Object) -> Iterator[str]:
    ports = each["spec"].get("ports") or []
    if len(ports) > 1 and any("name" not in port for port in ports):
        yield "of several ports each needs a name"
    yield from _repeated("port name", (port["name"] for port in ports if "name" in port))
    for port in ports:
        if port["port"] not in _PORTS:
            yield f"port {port['port']} is out of range"
        if "name" in port and not _LABEL.fullmatch(port["name"]):
            yield f"port name {port['name']} is none that Kubernetes takes"


def _claim(each: Object) -> Iterator[str]:
    size = ((each["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    if not quantity(size):
        yield "requests no storage"


def _stateful(each: Object) -> Iterator[str]:
    if each["spec"].get("podManagementPolicy", "Parallel") not in {"Parallel", "OrderedReady"}:
        yield "podManagementPolicy is unknown"
    for claim in each["spec"].get("volumeClaimTemplates") or []:
        yield from _claim(claim)


def _deployment(each: Object) -> Iterator[str]:
    strategy = each["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        yield "Recreate cannot roll"
    rolling = strategy.get("rollingUpdate") or {}
    if {rolling.get("maxUnavailable", 1), rolling.get("maxSurge", 1)} <= {0, "0%"}:
        yield "with neither maxUnavailable nor maxSurge nothing can roll"


_OF_KIND = {
    "PodDisruptionBudget": _budget,
    "HorizontalPodAutoscaler": _autoscaler,
    "ScaledObject": _scaled,
    "NetworkPolicy": _policy,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "StatefulSet": _stateful,
    "Deployment": _deployment,
    "Job": _job,
    "CronJob": _cron,
}
