"""The command as a person runs it: arguments and environment in, what is printed and the code out."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from klingel.contracts.envelope import Output
from klingel.settings import KafkaSettings
from klingel_cli.kafka import publish
from klingel_cli.main import main

BRAND = """\
brand: nordlicht
name: Nordlicht
accounts:
  - network: bluesky
    id: did:plc:brand
queues:
  - id: general
  - id: billing
listening:
  - id: name
    query: nordlicht
routing:
  - id: bills
    when: bill
    queue: billing
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `klingel` with these arguments; `env` adds settings, `stdin` is its input."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def invoke(
        *arguments: object, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> Result:
        return runner.invoke(main, [str(each) for each in arguments], env=env, input=stdin)

    return invoke


@pytest.fixture
def brand_file(tmp_path: Path) -> Path:
    """A brand file that is right."""
    path = tmp_path / "nordlicht.yaml"
    path.write_text(BRAND, encoding="utf-8")
    return path


@pytest.fixture
def env(kafka_bootstrap: str, topic_prefix: str) -> dict[str, str]:
    """Settings that name the real Kafka with this test's topics."""
    return {
        "KLINGEL_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "KLINGEL_KAFKA__TOPIC_PREFIX": topic_prefix,
        "KLINGEL_KAFKA__GROUP_PREFIX": topic_prefix,
        "KLINGEL_KAFKA__PARTITIONS": "4",
    }


@pytest.fixture
def kafka(env: dict[str, str]) -> KafkaSettings:
    """The same as the clients take it."""
    return KafkaSettings(
        bootstrap=env["KLINGEL_KAFKA__BOOTSTRAP"],
        topic_prefix=env["KLINGEL_KAFKA__TOPIC_PREFIX"],
        group_prefix=env["KLINGEL_KAFKA__GROUP_PREFIX"],
    )


@pytest.fixture
def put(kafka: KafkaSettings) -> Callable[[Iterable[Output]], None]:
    """Write records and wait until they are acknowledged."""

    def write(outputs: Iterable[Output]) -> None:
        publish(kafka, list(outputs))

    return write
