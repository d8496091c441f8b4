"""Every combination: right by all checks, and what it says is what the services take."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from klingel.contracts.access import principals
from klingel.contracts.topics import topic_specs
from klingel.settings import load_settings
from klingel_cli.instances import overlay_file
from klingel_connectors.fetch import FetchBounds
from klingel_connectors.settings import OWN_NAMES, gateway_settings
from klingel_networks.options import own_pattern, read_options, setting_name
from klingel_networks.registry import installed
from klingel_processors.app import _GRACE_SECONDS

from ..images.packages import images, projects
from ..words import check_words
from . import house
from .bundle import Object, Pod, matches, parse, pods, where
from .check import K8S, ROOT, combinations
from .kubectl import build
from .server import quantity

pytestmark = pytest.mark.exhaustive  # whole bundles, or the generator whole

BRAND = ROOT / "brands"
MEASURED = ROOT / "benchmarks" / "results.md"
ARROWS = {
    "connector": {"kafka", "networks"},
    "doctor": {"kafka", "networks"},
    "gateway": {"kafka"},
    "media": {"kafka", "networks"},
    "understand": {"kafka"},
    "thread": {"kafka"},
    "care": {"kafka"},
    "watch": {"kafka"},
    "indexer": {"kafka", "elasticsearch"},
    "notifier": {"kafka", "targets", "alertmanager"},
    "audit": {"kafka", "elasticsearch"},
    "setup": {"kafka", "elasticsearch"},
    "age": {"kafka", "elasticsearch"},
    "demands": {"kafka", "elasticsearch"},
    "tools": {"kafka", "elasticsearch"},
    "dashboards": {"kibana"},
}
"""The arrows of the diagram that begin at a workload; name resolution comes to each of them."""


@pytest.fixture(scope="module")
def production() -> list[Object]:
    return parse(build(K8S / "overlays" / "production"))


def variables(pod: Pod, container: Object, objects: list[Object]) -> dict[str, str]:
    """Return what a container's environment is, a pod's own name for what names it."""
    maps = {
        each["metadata"]["name"]: each.get("data") or {}
        for each in objects
        if each["kind"] == "ConfigMap"
    }
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        found |= maps[source["configMapRef"]["name"]]
    for each in container.get("env") or []:
        found[each["name"]] = each.get("value", f"{pod.owner['metadata']['name']}-0")
    return found


def arguments(container: Object, environment: dict[str, str]) -> list[str]:
    """Return a container's words, as Kubernetes expands them."""
    return [
        re.sub(r"\$\(([A-Z_]+)\)", lambda found: environment[found[1]], word)
        for word in container.get("args") or []
    ]


def with_secrets(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Return an environment whose files exist; their content is what a source's secret looks like."""
    secret = folder / "secret"
    secret.write_text("whsec_" + "QUFB" * 8 + "\n")
    return {
        name: str(secret) if name.endswith("_FILE") else value
        for name, value in environment.items()
    }


def program(container: Object) -> str:
    """Return what an image starts."""
    package = house.IMAGES.fullmatch(container["image"])[1]
    return next(image.program for image in images() if image.package == package)


@pytest.mark.parametrize("folder", combinations(), ids=lambda folder: folder.name)
def test_combination_is_right(folder: Path, found) -> None:
    assert found(parse(build(folder))) == []


def test_there_is_a_combination_for_each_component() -> None:
    """A component that no combination takes is never built."""
    held = {path.parent.name for path in (K8S / "components").glob("*/kustomization.yaml")}
    taken = set()
    for path in K8S.rglob("kustomization.yaml"):
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        taken |= {Path(each).name for each in told.get("components") or []}
    assert held <= taken


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_words_and_settings_are_those_of_the_programs(overlay: str, tmp_path) -> None:
    objects = parse(build(K8S / "overlays" / overlay))
    (tmp_path / "brands").mkdir()
    for pod in pods(objects):
        for container in pod.containers:
            told = variables(pod, container, objects)
            if "command" not in container:
                check_words(program(container), arguments(container, told))
            environment = with_secrets(
                {k: v for k, v in told.items() if k != "CONNECTOR"}, tmp_path
            )
            connector = told.get("CONNECTOR", "none")
            settings = load_settings(environment, also=(*OWN_NAMES, own_pattern(connector)))
            assert settings.kafka.security_protocol == "SASL_SSL"
            assert settings.kafka.sasl_username.startswith("klingel-")
            assert (settings.http.host, settings.http.port) == ("0.0.0.0", 8080)
            if "CONNECTOR" in told and installed().manifest(connector).config:
                read_options(installed().manifest(connector), environment, {})
            if arguments(container, told) == ["gateway"]:
                assert gateway_settings(environment).webhooks


def test_every_secret_file_is_where_a_volume_is(production) -> None:
    for pod in pods(production):
        for container in pod.containers:
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            for name, value in variables(pod, container, production).items():
                if name.endswith(("_FILE", "_CAFILE", "_CA_CERTS")):
                    assert any(value.startswith(f"{mount}/") for mount in mounts), (
                        where(pod.owner), name,
                    )  # fmt: skip


def test_every_principal_has_a_user_and_nobody_else(production) -> None:
    users = {each["metadata"]["name"] for each in production if each["kind"] == "KafkaUser"}
    wanted = {f"klingel-{name}" for name in principals(topic_specs())}
    assert users == {*wanted, "klingel-keda"}
    told = set()
    for pod in pods(production):
        for container in pod.containers:
            told.add(variables(pod, container, production)["KLINGEL_KAFKA__SASL_USERNAME"])
    assert told == wanted


def test_arrows_are_those_of_the_diagram(production) -> None:
    policies = [each for each in production if each["kind"] == "NetworkPolicy"]
    found: dict[str, set[str]] = {}
    for pod in pods(production):
        component = pod.labels["app.kubernetes.io/component"]
        for each in policies:
            name, spec = each["metadata"]["name"], each["spec"]
            selector = spec["podSelector"]
            if "Egress" in spec["policyTypes"] and selector and matches(selector, pod.labels):
                found.setdefault(component, set()).add(name.partition("-to-")[2].split("-")[0])
    assert found == ARROWS


@pytest.mark.parametrize("overlay", ["local", "staging", "production"])
def test_tools_have_what_an_erasure_needs(overlay: str) -> None:
    """Kafka, Elasticsearch, the key and the stored media, each where the settings say."""
    objects = parse(build(K8S / "overlays" / overlay))
    pod = next(each for each in pods(objects) if where(each.owner) == "CronJob/tools")
    (container,) = pod.containers
    told = variables(pod, container, objects)
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod.volumes}
    for name, secret in {
        "KLINGEL_KAFKA__SASL_PASSWORD_FILE": "klingel-cli",
        "KLINGEL_ELASTICSEARCH__PASSWORD_FILE": "klingel-cli-elasticsearch",
        "KLINGEL_ERASURE__KEY_FILE": "erasure-key",
    }.items():
        held = volumes[mounts[str(Path(told[name]).parent)]]
        assert held["secret"]["secretName"] == secret
    blobs = volumes[mounts[told["KLINGEL_BLOBS__DIR"]]]
    assert blobs["persistentVolumeClaim"] == {"claimName": "blobs"}
    assert pod.owner["spec"]["suspend"] is True


@pytest.mark.parametrize("overlay", ["local", "staging", "production"])
def test_who_acts_on_suppressions_has_their_key(overlay: str) -> None:
    """Each that reads the topic, but for the media worker and those who only read its tombstones."""
    objects = parse(build(K8S / "overlays" / overlay))
    told = {
        where(pod.owner)
        for pod in pods(objects)
        if "KLINGEL_ERASURE__KEY_FILE" in variables(pod, pod.containers[0], objects)
        and {"secretName": "erasure-key", "defaultMode": 0o440, "optional": True}
        in [volume.get("secret") for volume in pod.volumes]
    }
    listening = {
        where(pod.owner)
        for pod in pods(objects)
        if pod.labels["app.kubernetes.io/component"] == "connector"
    }
    assert listening
    deciding = {f"StatefulSet/{name}" for name in ("understand", "thread", "care")}
    assert told >= {*deciding, *listening, "Deployment/gateway", "CronJob/tools"}


def test_media_reaches_the_ports_that_it_fetches_from(production) -> None:
    """And none more: an address that names another port is refused before it is asked."""
    (policy,) = [
        each
        for each in production
        if (each["kind"], each["metadata"]["name"]) == ("NetworkPolicy", "media-to-networks")
    ]
    (rule,) = policy["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == FetchBounds().ports


@pytest.mark.parametrize(
    ("folder", "host"),
    [
        ("overlays/staging", "klingel.example.org"),
        ("overlays/production", "klingel.example.org"),
        ("tests/existing-servers", "github.example.org/klingel/klingel/blob/main"),
    ],
)
def test_links_to_runbooks_lead_where_an_overlay_says(folder: str, host: str) -> None:
    """Said once, written into every alert; what follows is a page of this checkout."""
    links = [
        rule["annotations"]["runbook_url"]
        for each in parse(build(K8S / folder))
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert len(links) > 20
    for link in links:
        assert link.startswith(f"https://{host}/docs/runbooks/")
        assert (ROOT / link.partition(f"{host}/")[2]).exists()


def test_an_overlay_may_pin_images_by_their_content(tmp_path, found) -> None:
    """As the page says: `digest` instead of a tag, of any registry."""
    shutil.copytree(K8S, tmp_path / "deploy" / "k8s")
    shutil.copytree(BRAND, tmp_path / "brands")
    overlay = tmp_path / "deploy" / "k8s" / "overlays" / "production"
    told = overlay / "kustomization.yaml"
    digest = "sha256:" + "0123456789abcdef" * 4
    text = re.sub(r"(newName: \S+)}", rf"\1, digest: '{digest}'}}", told.read_text())
    told.write_text(text)
    objects = parse(build(overlay))
    assert found(objects) == []
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert len(images) == 5
    assert all(image.endswith(f"@{digest}") for image in images)


def test_nobody_but_the_ingress_reaches_the_gateway(production) -> None:
    """Prometheus and the ingress come in; to every other service Prometheus alone."""
    came: dict[str, set[str]] = {}
    for pod in pods(production):
        for each in (each for each in production if each["kind"] == "NetworkPolicy"):
            if each["spec"].get("ingress") and matches(each["spec"]["podSelector"], pod.labels):
                component = pod.labels["app.kubernetes.io/component"]
                came.setdefault(component, set()).add(each["metadata"]["name"])
    assert came.pop("gateway") == {"all-from-prometheus", "gateway-from-ingress"}
    assert set().union(*came.values()) == {"all-from-prometheus"}


def test_memory_is_asked_for_after_what_was_measured(production) -> None:
    """Each service may hold what it held under the benchmark's flood, and half as much again."""
    table = re.findall(
        r"^\| ([a-z ]+) \| ([0-9,]+) \|$",
        MEASURED.read_text(encoding="utf-8").partition("## Memory")[2].partition("\n## ")[0],
        re.MULTILINE,
    )
    held = {name.split()[0]: int(size.replace(",", "")) * 10**6 for name, size in table}
    tried = set()
    for pod in pods(production):
        name = pod.labels["app.kubernetes.io/component"]
        if name in held:
            resources = pod.spec["containers"][0]["resources"]
            assert quantity(resources["requests"]["memory"]) >= held[name]
            assert quantity(resources["limits"]["memory"]) >= 1.5 * held[name]
            tried.add(name)
    assert tried >= {"understand", "care", "indexer", "connector"}


def test_the_grace_is_longer_than_the_longest_batch() -> None:
    assert house.LONGEST_BATCH_SECONDS == _GRACE_SECONDS


def test_images_have_the_versions_of_their_packages(production) -> None:
    for pod in pods(production):
        for container in pod.containers:
            name = house.IMAGES.fullmatch(container["image"])[1]
            version = container["image"].rpartition(":")[2]
            assert version == projects()[name][1]["version"]


def _instance(name: str, instance: str) -> str:
    """Return an instance's file with what a person fills in."""
    manifest = installed().manifest(name)
    text = overlay_file(manifest, instance)
    for key, setting in manifest.config.items():
        if setting.required and not setting.secret:
            variable = setting_name(name, key)
            text = text.replace(f"- {variable}=\n", f"- {variable}=https://one.example\n")
    return text


def test_an_instance_is_one_short_file(tmp_path, found) -> None:
    """Two instances of one connector stand in an overlay, each by the file that the command prints."""
    overlay = tmp_path / "deploy" / "k8s" / "overlays" / "own"
    shutil.copytree(K8S, tmp_path / "deploy" / "k8s")
    shutil.copytree(BRAND, tmp_path / "brands")
    shutil.copytree(overlay.parent / "local", overlay)
    told = overlay / "kustomization.yaml"
    names = [("mastodon", "mastodon"), ("mastodon", "mastodon-2"), ("telegram", "telegram")]
    for name, instance in names:
        (overlay / "connectors" / instance).mkdir()
        text = _instance(name, instance)
        assert len(text.splitlines()) < 30
        (overlay / "connectors" / instance / "kustomization.yaml").write_text(text)
        line = "  - connectors/bluesky\n"
        told.write_text(told.read_text().replace(line, f"{line}  - connectors/{instance}\n"))
    objects = parse(build(overlay))
    assert found(objects) == []
    instances = {
        pod.labels["app.kubernetes.io/instance"]: pod
        for pod in pods(objects)
        if "app.kubernetes.io/instance" in pod.labels
    }
    assert set(instances) == {"bluesky", "mastodon", "mastodon-2", "telegram"}
    secrets = {
        name: next(each for each in pod.volumes if each["name"] == "secrets")["secret"][
            "secretName"
        ]
        for name, pod in instances.items()
    }
    assert secrets["mastodon-2"] == "connector-secrets-mastodon-2"
    assert len(set(secrets.values())) == 4


def test_a_changed_setting_starts_the_pods_anew(tmp_path) -> None:
    """The hash of the settings is in the template: a rollout follows of itself."""
    shutil.copytree(K8S, tmp_path / "deploy" / "k8s")
    shutil.copytree(BRAND, tmp_path / "brands")
    overlay = tmp_path / "deploy" / "k8s" / "overlays" / "local"
    before = {where(pod.owner): pod.template for pod in pods(parse(build(overlay)))}
    settings = tmp_path / "deploy" / "k8s" / "base" / "settings.env"
    settings.write_text(settings.read_text().replace("LEVEL=info", "LEVEL=debug"))
    after = {where(pod.owner): pod.template for pod in pods(parse(build(overlay)))}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] == after[name]] == []
