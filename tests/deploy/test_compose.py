"""docker-compose.yml and its images, as far as they can be checked without an engine."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from klingel.settings import load_settings
from klingel_cli.commands.connectors import compose_block
from klingel_cli.composing import BLOCK_BEGINS, BY_HAND, secret_name
from klingel_connectors.chat_settings import chat_settings
from klingel_connectors.settings import OWN_NAMES, gateway_settings
from klingel_networks.options import read_options, setting_name
from klingel_networks.registry import installed

from ..k8s.house import WRITES_BLOBS
from ..words import check_words

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
LONG_RUNNING = [
    "audit", "bluesky", "care", "gateway", "indexer", "media", "notifier", "thread", "understand",
    "watch",
]  # fmt: skip
CHOSEN = sorted(
    name for name, service in SERVICES.items() if "profiles" in service and name != "tools"
)
KEYS = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck",
    "hostname", "image", "ports", "profiles", "read_only", "restart", "secrets", "security_opt",
    "stop_grace_period", "tmpfs", "ulimits", "volumes",
}  # fmt: skip
CONDITIONS = {"service_healthy", "service_completed_successfully"}
DOCKERFILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("cli", "simulator", "services")
    for path in (ROOT / folder).rglob("Dockerfile")
)


def scripts():
    """Return every console script of this checkout, with the name of its package."""
    found = {}
    for pattern in ("*/pyproject.toml", "services/*/pyproject.toml"):
        for path in ROOT.glob(pattern):
            project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
            found |= dict.fromkeys(project.get("scripts", {}), project["name"])
    return found


def entrypoint(name):
    """Return the console script that the image of a service starts."""
    text = (ROOT / SERVICES[name]["build"]["dockerfile"]).read_text(encoding="utf-8")
    return re.search(r'^ENTRYPOINT \["([^"]+)"\]$', text, re.MULTILINE)[1]


def with_key(environment, folder):
    """Return a service's settings, with the key of erasures in a file that is there."""
    key = folder / "erasure-key"
    key.write_text("A" * 43 + "\n")
    return {**environment, "KLINGEL_ERASURE__KEY_FILE": str(key)}


def shell_commands(name):
    """Return the words of each command of ours in a service's shell script."""
    lines = "\n".join(SERVICES[name]["command"]).replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines]
    words = [line[1:] if line[0] == "exec" else line for line in words]
    return [line for line in words if line[0].startswith("klingel")]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service_says_only_what_compose_knows(name):
    """Keys, dependencies and volumes of a service exist."""
    service = SERVICES[name]
    assert set(service) <= KEYS
    for other, how in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] in CONDITIONS
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume


@pytest.mark.parametrize("name", sorted({*WRITES_BLOBS - {"connector"}, "bluesky", *CHOSEN}))
def test_who_writes_blobs_can(name):
    """Its root is read-only: without the volume a large original or dead letter has no place."""
    folder = SERVICES[name]["environment"]["KLINGEL_BLOBS__DIR"]
    assert f"blobs:{folder}" in SERVICES[name]["volumes"]


def test_top_level_is_known_and_every_volume_is_used():
    """No orphan volume; extensions alone beside what compose knows."""
    known = {"name", "services", "volumes", "secrets"}
    assert {key for key in COMPOSE if not key.startswith("x-")} == known
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }
    assert set(COMPOSE["volumes"]) <= used


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_image_is_pinned(name):
    """Every image has a version; none is `latest`, and ours have that of their package."""
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.fullmatch(r"v?[0-9]+\.[0-9]+\.[0-9]+", tag)
    if "build" in SERVICES[name]:
        package = scripts()[entrypoint(name)]
        folder = (ROOT / SERVICES[name]["build"]["dockerfile"]).parent
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert (project["name"], project["version"]) == (package, tag)


@pytest.mark.parametrize("name", [*LONG_RUNNING, "age", "demands", "init"])
def test_settings_are_known(name, tmp_path):
    """Every setting is one of ours, accepted by those who read it, and leads to the servers here."""
    environment = with_key(SERVICES[name]["environment"], tmp_path)
    assert all(key.startswith("KLINGEL_") for key in environment)
    assert all(isinstance(value, str) for value in environment.values())
    settings = load_settings(environment, also=OWN_NAMES)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.elasticsearch.url == "http://elasticsearch:9200"


def test_gateway_starts_with_its_settings(tmp_path):
    """The gateway takes its sources and the secret that `init` makes."""
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "QUFB" * 8 + "\n")
    environment = with_key(SERVICES["gateway"]["environment"], tmp_path)
    assert environment["KLINGEL_WEBHOOK_SECRET_NORDLICHT_FILE"] in "".join(
        SERVICES["init"]["command"]
    )
    environment["KLINGEL_WEBHOOK_SECRET_NORDLICHT_FILE"] = str(secret)
    assert set(gateway_settings(environment).webhooks) == {"nordlicht"}


@pytest.mark.parametrize("name", OURS)
def test_entrypoint_is_a_console_script(name):
    """What an image starts is declared by the package beside its Dockerfile."""
    assert entrypoint(name) in scripts()


@pytest.mark.parametrize("name", [*LONG_RUNNING, *CHOSEN])
def test_command_exists_with_its_options(name):
    """The command of a service is one that its program knows."""
    check_words(entrypoint(name), SERVICES[name]["command"])


def test_init_applies_topics_templates_and_the_example_brand():
    """Each line of the init job is a command of `klingel`; its brand file is in the checkout."""
    lines = shell_commands("init")
    assert [line[1:3] for line in lines] == [
        ["topics", "apply"],
        ["index", "apply"],
        ["config", "apply"],
    ]
    for line in lines:
        check_words("klingel", line[1:])
        for argument in line[3:]:
            path = Path(argument)
            assert path.parent == Path("/etc/klingel/brands")
            assert (ROOT / "brands" / path.name).is_file()


def test_who_obeys_erasures_has_their_key():
    """Those to whom Kubernetes gives it; the key is made once, before anybody reads it."""
    component = yaml.safe_load(
        (ROOT / "deploy/k8s/components/erasure/kustomization.yaml").read_text(encoding="utf-8")
    )
    told = str(component["patches"])
    wanted = {name for name in SERVICES if re.search(rf"\b{name}\b", told)}
    assert {"care", "demands", "gateway", "indexer", "tools", "watch"} <= wanted
    for name in {*wanted, "bluesky", *CHOSEN}:
        service = SERVICES[name]
        assert service["environment"]["KLINGEL_ERASURE__KEY_FILE"] == "/run/klingel/erasure-key"
        assert "secrets:/run/klingel:ro" in service["volumes"], name
    (script,) = SERVICES["init"]["command"]
    made = script.index("test -s /run/klingel/erasure-key ||")
    assert script.index("> /run/klingel/erasure-key") < script.index("klingel topics apply")
    assert made < script.index("klingel topics apply")


@pytest.mark.parametrize("name", OURS)
def test_a_secret_that_is_named_can_be_read(name):
    """Whoever has a setting that names a file of `init` has its folder."""
    service = SERVICES[name]
    if "/run/klingel/" in str(service.get("environment", {})):
        assert any(each.startswith("secrets:/run/klingel") for each in service["volumes"])


@pytest.mark.parametrize(
    ("name", "seconds", "schedule"),
    [("demands", 3600, r"[0-9]+ \* \* \* \*"), ("age", 86_400, r"[0-9]+ [0-9]+ \* \* \*")],
)
def test_demands_are_carried_out_every_hour_and_the_old_goes_every_day(name, seconds, schedule):
    """As the CronJob of Kubernetes does it; one that fails does not end the next."""
    (script,) = SERVICES[name]["command"]
    assert SERVICES[name]["restart"] == "unless-stopped"
    loop = script.partition("while true; do")[2]
    asked, tolerated = loop.strip().splitlines()[0].split(" || ")
    assert tolerated == "true"
    assert f"sleep {seconds} " in loop
    file = ROOT / "deploy/k8s/base" / f"{name}.yaml"
    cron = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    (job,) = [each["spec"] for each in cron if each["kind"] == "CronJob"]
    assert re.fullmatch(schedule, job["schedule"])
    (container,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert shlex.split(asked) == ["klingel", *container["args"]]
    check_words("klingel", container["args"])


@pytest.mark.parametrize(("name", "asked"), [("demands", "erase --demanded"), ("age", "index age")])
def test_a_loop_goes_on_after_a_failure_and_ends_when_it_is_told(tmp_path, name, asked):
    """Run by a shell, with a `klingel` that fails and a `sleep` that says that it was reached."""
    (script,) = SERVICES[name]["command"]
    for program, does in (
        ("klingel", 'echo "klingel $*"; exit 1'),
        ("sleep", "echo slept; exec cat"),
    ):
        (tmp_path / program).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / program).chmod(0o755)
    process = subprocess.Popen(
        ["sh", "-euc", script.replace("$$", "$")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == f"klingel {asked}\n"
        assert process.stdout.readline() == "slept\n"
        process.terminate()
        assert process.wait(10) == 0
        process.stdin.close()


def test_simulator_is_told_to_ring_where_somebody_listens():
    """Addresses between services name a service, and a port that it listens on."""
    ringing = shell_commands("ringing")[0]
    assert ringing[:2] == ["klingel-simulator", "webhook"]
    url = ringing[ringing.index("--url") + 1]
    assert url == "http://gateway:8080/webhook/nordlicht"
    assert SERVICES["gateway"]["environment"]["KLINGEL_WEBHOOK_SOURCES"] == "nordlicht"
    bluesky = SERVICES["bluesky"]["command"]
    jetstream = SERVICES["jetstream"]["command"]
    port = jetstream[jetstream.index("--port") + 1]
    assert bluesky[bluesky.index("--endpoint") + 1] == f"ws://jetstream:{port}"


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_prometheus_scrapes_it(name):
    """Every service of ours is scraped where it listens, under the name that compose gives it."""
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["scrape_configs"]
    targets = [
        target
        for job in jobs
        for config in job.get("static_configs", ())
        for target in config["targets"]
    ]
    assert len(targets) == len(LONG_RUNNING)
    assert f"{name}:{SERVICES[name]['environment']['KLINGEL_HTTP__PORT']}" in targets


def test_the_books_are_checked_more_often_than_their_alert_asks():
    """The auditor goes on as a service; without one KlingelAuditNotRun would fire for nothing."""
    text = (ROOT / "deploy/prometheus/rules/completeness.yaml").read_text(encoding="utf-8")
    asked = int(re.search(r"klingel_audit_age_seconds\) > ([0-9]+)", text)[1])
    assert entrypoint("audit") == "klingel"
    name, option, seconds = SERVICES["audit"]["command"]
    assert (name, option) == ("audit", "--every")
    assert 10 * int(seconds) <= asked


def test_connectors_that_may_run_are_scraped_when_they_do():
    """By their names, looked up again and again: who was not chosen has none."""
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["scrape_configs"]
    (found,) = [config for job in jobs for config in job.get("dns_sd_configs", ())]
    assert sorted(found["names"]) == CHOSEN
    assert {SERVICES[name]["environment"]["KLINGEL_HTTP__PORT"] for name in CHOSEN} == {
        str(found["port"])
    }


def test_the_block_of_connectors_is_what_their_manifests_make():
    """`klingel connectors compose --all` prints it; between the marks nothing else stands."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    wanted = compose_block()
    begin = text.index(BLOCK_BEGINS)
    assert text[begin : begin + len(wanted)] == wanted


def test_every_connector_has_its_place():
    """A profile of its network's name, or the service that everybody gets."""
    profiles = {profile for name in CHOSEN for profile in SERVICES[name]["profiles"]}
    for name in set(installed().names) - BY_HAND:
        assert name in profiles
    for manifest in map(installed().manifest, installed().names):
        if manifest.family is not None and manifest.mode != "webhook":
            assert f"{manifest.name}-webhook" in profiles
    assert {"bluesky", "gateway"} <= set(SERVICES)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_chosen_connector_is_given_what_it_reads(name, tmp_path):
    """Required secrets by file, each declared; with the rest in the environment it starts."""
    service = SERVICES[name]
    environment = with_key(service["environment"], tmp_path)
    secrets = service.get("secrets", [])
    assert set(secrets) <= set(COMPOSE["secrets"])
    mounted = {f"/run/secrets/{each}" for each in secrets}
    assert {value for value in environment.values() if str(value).startswith("/run/")} == mounted
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-16-bytes")
    given = {
        "KLINGEL_CHAT_CHANNELS": "website",
        "KLINGEL_CHAT_BASE": "https://chat.example",
        "KLINGEL_CHAT_ORIGINS": "https://www.example",
    }
    told = {
        variable: str(secret)
        if value in mounted
        else given.get(variable)
        if value is None
        else value
        for variable, value in environment.items()
    }
    if service["command"] == ["gateway"]:
        told = {variable: value for variable, value in told.items() if value is not None}
        chat = chat_settings(told)
        gateway_settings(told, chat=chat is not None)
        assert (chat is not None) is (name == "chat")
        return
    manifest = installed().manifest(name)
    required = {setting_name(name, each) for each, how in manifest.config.items() if how.required}
    told = {
        variable: value if value is not None else "1"
        for variable, value in told.items()
        if value is not None or variable in required
    }
    assert read_options(manifest, told, {}) is not None
    every = {setting_name(name, each) for each in manifest.config}
    assert every <= {variable.removesuffix("_FILE") for variable in environment} | set(environment)


def test_no_file_is_asked_for_a_secret_that_may_be_left_away():
    """Optional secrets come from the environment; the gateway's own it does not start without."""
    for name in CHOSEN:
        service = SERVICES[name]
        if name not in installed().names:
            family = installed().family(service["environment"]["KLINGEL_HOOKS"])
            assert len(service["secrets"]) == 1 + family.hashes
            continue
        config = installed().manifest(name).config.items()
        needed = [
            secret_name(setting_name(name, each))
            for each, how in config
            if how.secret and how.required
        ]
        assert service.get("secrets", []) == needed


def test_secrets_are_files_that_somebody_uses():
    """None lies in the checkout, none is declared for nobody."""
    used = {each for service in SERVICES.values() for each in service.get("secrets", ())}
    assert set(COMPOSE["secrets"]) == used
    for name, how in COMPOSE["secrets"].items():
        assert how == {"file": f"./secrets/{name}"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/secrets/" in ignored


def test_ports_are_each_given_once():
    """Of this machine."""
    given = [
        port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())
    ]
    assert len(given) == len(set(given))


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_more_than_they_need(name):
    """Read-only root, no capabilities, no new privileges."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_bound_to_this_machine_and_explained():
    """No port is reachable from outside; each line says what it is."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r'\s+- "[0-9.:]+:[0-9]+"', line)]
    assert len(lines) == sum(len(service.get("ports", [])) for service in SERVICES.values())
    for line in lines:
        assert re.fullmatch(r'\s+- "127\.0\.0\.1:[0-9]+:[0-9]+"  # .+', line)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_image_is_built_of_what_exists_and_runs_unprivileged(path):
    """What a Dockerfile copies is in the checkout and travels; it ends as another user than root."""
    text = (ROOT / path).read_text(encoding="utf-8")
    travels = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
        assert any(f"!{source}".startswith(line) for line in travels if line.startswith("!"))
    built = re.search(r"-w /wheels (\./.*)$", text, re.MULTILINE)[1]
    for package in shlex.split(built):
        assert (ROOT / package / "pyproject.toml").is_file()
    assert text.index("\nUSER 10001:10001\n") > text.rindex("\nFROM ")
    assert "latest" not in text


def test_every_service_folder_has_its_image():
    """`ls services` is what is deployed: one image each."""
    folders = {
        path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists()
    }
    assert {f"services/{name}/Dockerfile" for name in folders} <= set(DOCKERFILES)
    assert set(DOCKERFILES) == {SERVICES[name]["build"]["dockerfile"] for name in OURS}


def test_kafka_makes_no_topic_by_itself():
    """Topics come from `klingel topics apply` alone, and the ledger of transactions fits one node."""
    environment = SERVICES["kafka"]["environment"]
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == "1"
    assert "INTERNAL://kafka:9092" in environment["KAFKA_ADVERTISED_LISTENERS"]
