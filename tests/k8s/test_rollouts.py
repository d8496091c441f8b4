"""What keeps a rollout from becoming ready or a node from being drained is seen; each planted alone.

Half of it is put into the bundle of a small cluster: volumes that one node has, everything once.
"""

import copy
import re
from decimal import ROUND_UP, Decimal
from functools import cache

import pytest

from .__main__ import main
from .bundle import Object, parse, pods
from .check import K8S, ROOT, combinations
from .cron import wrong_schedule, wrong_zone
from .kubectl import build
from .sizes import Size, largest, of_pod, size
from .test_defects import Spoil, autoscaler, container, one, put, remove, spec

pytestmark = pytest.mark.exhaustive  # whole bundles, or the generator whole


@cache
def _small() -> list[Object]:
    return parse(build(K8S / "tests" / "strimzi-eck"))


@pytest.fixture
def small() -> list[Object]:
    """A copy of the good bundle of a small cluster, for a test to spoil."""
    return copy.deepcopy(_small())


def _pod(kind: str, name: str):
    return lambda objects: one(objects, kind, name)["spec"]["template"]["spec"]


def _rule(name: str, way: str = "egress"):
    return lambda objects: one(objects, "NetworkPolicy", name)["spec"][way][0]


def _block(name: str):
    return lambda objects: _rule(name)(objects)["to"][0]["ipBlock"]


def _second_budget(objects: list[Object]) -> None:
    budget = copy.deepcopy(one(objects, "PodDisruptionBudget", "care"))
    budget["metadata"]["name"] = "everybody"
    budget["spec"]["selector"] = {"matchLabels": {"app.kubernetes.io/component": "care"}}
    objects.append(budget)


def _least(value: int | str) -> Spoil:
    """Return what gives the budget of a single pod a least number in place of the most that may go."""

    def spoil(objects: list[Object]) -> None:
        budget = one(objects, "PodDisruptionBudget", "indexer")["spec"]
        del budget["maxUnavailable"]
        budget["minAvailable"] = value

    return spoil


def _renamed(kind: str, name: str, new: str) -> Spoil:
    return put(lambda objects: one(objects, kind, name)["metadata"], "name", new)


def _apart(objects: list[Object]) -> None:
    _pod("Deployment", "gateway")(objects)["affinity"] = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}},
                }
            ]
        }
    }


def _twice_spread(objects: list[Object]) -> None:
    spread = _pod("Deployment", "gateway")(objects)["topologySpreadConstraints"]
    spread.append(copy.deepcopy(spread[0]))


def _another_key(objects: list[Object]) -> None:
    volume = next(
        each
        for each in _pod("Deployment", "indexer")(objects)["volumes"]
        if each["name"] == "kafka"
    )
    volume["secret"]["items"][0]["key"] = "passwort"


def _together(objects: list[Object]) -> Object:
    """Return what says with whom `care` must be."""
    affinity = _pod("StatefulSet", "care")(objects)["affinity"]["podAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    return term["labelSelector"]["matchExpressions"][0]


IN_PRODUCTION: dict[str, tuple[Spoil, str, str]] = {
    "two budgets of one pod": (_second_budget, "StatefulSet/care", "two budgets"),
    "a budget that keeps the only pod": (
        _least(1), "PodDisruptionBudget/indexer", "blocks every drain",
    ),
    "a share that is rounded up to the only pod": (
        _least("1%"), "PodDisruptionBudget/indexer", "blocks every drain",
    ),
    "a CronJob whose Jobs have no name": (
        _renamed("CronJob", "age", "a" * 53), f"CronJob/{'a' * 53}", "longer than 52",
    ),
    "a name with a dot": (
        _renamed("Deployment", "media", "media.one"),
        "Deployment/media.one", "none that Kubernetes takes",
    ),
    "a fraction of a byte": (
        put(lambda objects: container(objects, "Deployment", "media")["resources"]["requests"],
            "memory", "128m"),
        "Deployment/media", "fraction of a byte",
    ),
    "a schedule that is none": (
        put(spec("CronJob", "age"), "schedule", "60 3 * * *"), "CronJob/age", "60 is no minute",
    ),
    "a time zone that is none": (
        put(spec("CronJob", "age"), "timeZone", "Europe/Hamburg"), "CronJob/age", "Europe/Hamburg",
    ),
    "an overlap that is unknown": (
        put(spec("CronJob", "age"), "concurrencyPolicy", "Never"), "CronJob/age", "Never",
    ),
    "a cidr with bits of a host": (
        put(_block("media-to-networks"), "cidr", "10.1.2.3/8"),
        "NetworkPolicy/media-to-networks", "cidr 10.1.2.3/8",
    ),
    "an exception outside its block": (
        put(_block("media-to-networks"), "except", ["fc00::/7"]),
        "NetworkPolicy/media-to-networks", "except fc00::/7",
    ),
    "a StatefulSet whose Service is not there": (
        put(spec("StatefulSet", "care"), "serviceName", "cares"),
        "StatefulSet/care", "serviceName cares",
    ),
    "a StatefulSet whose Service has an address": (
        lambda objects: one(objects, "Service", "care")["spec"].pop("clusterIP"),
        "StatefulSet/care", "no headless Service",
    ),
    "a shared volume of no class": (
        lambda objects: one(objects, "PersistentVolumeClaim", "blobs")["spec"].pop(
            "storageClassName"
        ),
        "PersistentVolumeClaim/blobs", "without a class",
    ),
    "a shared volume of one node": (
        put(spec("PersistentVolumeClaim", "blobs"), "accessModes", ["ReadWriteOnce"]),
        "StatefulSet/understand", "may be on another node",
    ),
    "a state that many nodes share": (
        lambda objects: one(objects, "StatefulSet", "care")["spec"]["volumeClaimTemplates"][0][
            "spec"
        ].update(accessModes=["ReadWriteMany"]),
        "StatefulSet/care", "without a class",
    ),
    "an arrow to a closed door": (
        remove("NetworkPolicy", "elasticsearch-from-klingel"),
        "NetworkPolicy/indexer-to-elasticsearch", "does not let it in",
    ),
    "a door at another port": (
        put(lambda objects: _rule("kafka-from-klingel", "ingress")(objects)["ports"][0], "port",
            9092),
        "NetworkPolicy/care-to-kafka", "does not let it in",
    ),
    "an arrow that leads nowhere": (
        put(lambda objects: _rule("care-to-kafka")(objects)["to"][0]["podSelector"]["matchLabels"],
            "strimzi.io/cluster", "other"),
        "NetworkPolicy/care-to-kafka", "leads to no pod",
    ),
    "a key that the operator does not make": (
        _another_key, "Deployment/indexer", "Secret klingel-indexer has no key passwort",
    ),
    "a user of Elasticsearch that nobody makes": (
        remove("ExternalSecret", "klingel-cli-elasticsearch"),
        "Elasticsearch/klingel", "nothing makes Secret klingel-cli-elasticsearch",
    ),
    "pods that must be apart": (_apart, "Deployment/gateway", "must be apart"),
    "pods that must be spread": (
        lambda objects: _pod("Deployment", "gateway")(objects)["topologySpreadConstraints"][1].update(
            whenUnsatisfiable="DoNotSchedule"
        ),
        "Deployment/gateway", "must be spread over topology.kubernetes.io/zone",
    ),
    "brokers that must be spread": (
        lambda objects: one(objects, "KafkaNodePool", "broker")["spec"]["template"]["pod"][
            "topologySpreadConstraints"
        ][0].update(whenUnsatisfiable="DoNotSchedule"),
        "KafkaNodePool/broker", "must be spread",
    ),
    "spread twice by one key": (_twice_spread, "Deployment/gateway", "stands there 2 times"),
    "a port given twice": (
        lambda objects: container(objects, "Deployment", "media")["ports"].append(
            {"name": "metrics", "containerPort": 8080}
        ),
        "Deployment/media", "port 8080/TCP stands there 2 times",
    ),
    "a sleep longer than the grace": (
        put(
            lambda objects: container(objects, "Deployment", "gateway")["lifecycle"]["preStop"][
                "sleep"
            ],
            "seconds", 61,
        ),
        "Deployment/gateway", "sleeps before its stop",
    ),
    "a Job that may hang": (
        lambda objects: one(objects, "Job", "setup")["spec"].pop("activeDeadlineSeconds"),
        "Job/setup", "may hang for ever",
    ),
    "a CronJob that may hang": (
        lambda objects: one(objects, "CronJob", "demands")["spec"]["jobTemplate"]["spec"].pop(
            "activeDeadlineSeconds"
        ),
        "CronJob/demands", "may hang for ever",
    ),
    "a rollout that is given up": (
        lambda objects: one(objects, "Deployment", "indexer")["spec"].pop(
            "progressDeadlineSeconds"
        ),
        "Deployment/indexer", "given up",
    ),
    "replicas that KEDA decides": (
        put(spec("StatefulSet", "care"), "replicas", 2), "StatefulSet/care", "says replicas",
    ),
    "two who scale": (
        lambda objects: objects.append(
            autoscaler(1, 2, target={"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "care"})
        ),
        "StatefulSet/care", "is scaled by",
    ),
}  # fmt: skip

IN_SMALL: dict[str, tuple[Spoil, str, str]] = {
    "one that is not with the others": (
        lambda objects: _pod("Deployment", "media")(objects).pop("affinity"),
        "Deployment/media", "may be on another node",
    ),
    "one whom the others do not know": (
        lambda objects: _together(objects)["values"].remove("tools"),
        "StatefulSet/care", "may be on another node",
    ),
    "two that can only go at once, one by one": (
        lambda objects: (
            one(objects, "StatefulSet", "care")["spec"].update(replicas=2),
            one(objects, "PodDisruptionBudget", "care")["spec"].update(maxUnavailable=1),
        ),
        "PodDisruptionBudget/care", "keeps a node",
    ),
    "a keystore that nobody fills": (
        put(
            lambda objects: one(objects, "Elasticsearch", "klingel")["spec"]["secureSettings"][0],
            "secretName", "klingel-es-snapshot",
        ),
        "Elasticsearch/klingel", "nothing makes Secret klingel-es-snapshot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", IN_PRODUCTION)
def test_it_is_seen_in_production(defect: str, bundle, found) -> None:
    spoil, where, what = IN_PRODUCTION[defect]
    spoil(bundle)
    told = found(bundle)
    assert any(each.where == where and what in each.what for each in told), told


@pytest.mark.parametrize("defect", IN_SMALL)
def test_it_is_seen_on_a_small_cluster(defect: str, small, found) -> None:
    assert found(small) == []
    spoil, where, what = IN_SMALL[defect]
    spoil(small)
    told = found(small)
    assert any(each.where == where and what in each.what for each in told), told


@pytest.mark.parametrize(
    "schedule",
    ["17 3 * * *", "*/5 0-6,22 1 jan-mar MON", "@daily", "0 0 1 1 ?", "0 9-17/2 * * 1-5"],
)
def test_a_schedule_is_taken(schedule: str) -> None:
    assert list(wrong_schedule(schedule)) == []


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "*/0 * * * *",
     "5-1 * * * *", "*-3 * * * *", "* * * * mo", "@noon", "0 0 1 1 * *"],
)  # fmt: skip
def test_a_schedule_is_refused(schedule: str) -> None:
    assert list(wrong_schedule(schedule))


@pytest.mark.parametrize("zone", ["Local", "", "UTC+1", "Europe/Hamburg"])
def test_a_zone_is_refused(zone: str) -> None:
    assert list(wrong_zone(zone))
    assert not list(wrong_zone("Etc/UTC"))


def test_ports_of_the_api_server_are_those_of_usual_clusters(small) -> None:
    """Behind its Service at 443: kubeadm, kind and k3s; minikube; MicroK8s."""
    rule = _rule("kafka-to-api-server")(small)
    assert {each["port"] for each in rule["ports"]} == {443, 6443, 8443, 16443}


def test_zones_are_asked_for_in_production_alone() -> None:
    """A broker with a rack starts on no node without a zone's label; the usual test clusters have none."""
    racks = {
        path.parent.name
        for part in ("overlays", "tests")
        for path in (K8S / part).glob("*/kustomization.yaml")
        if re.search(r"components/kafka-racks$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert racks == {"production"}
    assert "rack:" not in (K8S / "components/kafka-strimzi/kafka.yaml").read_text(encoding="utf-8")


GIB = 2**30
SMALL_NODE = Size(Decimal("1.5"), Decimal(6 * GIB))
"""What is left of a node of two cores and 8 GiB beside Kubernetes' own."""


@pytest.mark.parametrize(
    "folder",
    [each for each in combinations() if each.name != "production"],
    ids=lambda folder: folder.name,
)
def test_it_fits_small_nodes(folder) -> None:
    """Each pod alone, and together those that one volume keeps on one node."""
    objects = parse(build(folder))
    alone = largest(objects)
    assert alone.cpu <= SMALL_NODE.cpu
    assert alone.memory <= SMALL_NODE.memory
    together = [
        of_pod(pod)
        for pod in pods(objects)
        for volume in pod.volumes
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == "blobs"
        for _ in range(pod.replicas)
    ]
    assert len(together) >= 9
    assert sum(each.cpu for each in together) <= SMALL_NODE.cpu / 2
    assert sum(each.memory for each in together) <= SMALL_NODE.memory / 2


def test_local_fits_one_small_node() -> None:
    """Two cores, of which Kubernetes on one node and three operators take 1.3."""
    told = size(parse(build(K8S / "overlays" / "local")))
    assert told.cpu <= Decimal("0.7")
    assert told.memory <= 7 * GIB


def test_the_page_says_what_each_overlay_asks_for() -> None:
    text = (ROOT / "docs/deploy/kubernetes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([0-9.]+) \| ([0-9.]+) GiB \|", text, re.MULTILINE)
    told = {name: (Decimal(cpu), Decimal(memory)) for name, cpu, memory in rows}
    tenth = Decimal("0.1")
    for folder in sorted((K8S / "overlays").iterdir()):
        asked = size(parse(build(folder)))
        assert told.pop(folder.name) == (
            asked.cpu.quantize(tenth, ROUND_UP), (asked.memory / GIB).quantize(tenth, ROUND_UP),
        )  # fmt: skip
    assert not told


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(("seconds", "code"), [(59.0, 0), (60.0, 1)])
def test_the_check_of_everything_is_bounded(seconds, code, tmp_path, capsys) -> None:
    """What takes a minute fails, however right everything is."""
    times = iter([10.0, 10.0 + seconds])
    assert main([], tmp_path, clock=lambda: next(times)) == code
    assert ("it may take 60 s" in capsys.readouterr().out) == bool(code)
