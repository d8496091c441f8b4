"""Finding a Java that is good enough."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from klingel_local.machine import Account, identity_of

# Elasticsearch 9 starts its server through a launcher that links a runtime and attaches to it.
ELASTICSEARCH_9_MODULES = frozenset({"jdk.jlink", "jdk.jdi", "jdk.attach", "java.instrument"})
ELASTICSEARCH_9_VERSION = 21
KAFKA_VERSION = 17
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that runs here.

    Attributes:
        home: Its folder, the parent of `bin/java`.
        version: Feature version, for example 21.
        modules: Names of the modules it has.
    """

    home: Path
    version: int
    modules: frozenset[str]

    @property
    def executable(self) -> str:
        """Path of the `java` command."""
        return str(self.home / "bin" / "java")

    def serves(self, version: int, modules: Iterable[str] = ()) -> bool:
        """Tell whether it has at least a version, and all of some modules."""
        return self.version >= version and self.modules.issuperset(modules)


def parse_modules(home: Path, listing: str) -> Java | None:
    """Read the output of `java --list-modules`; `None` where it is something else."""
    modules = dict(line.split("@", 1) for line in listing.split() if "@" in line)
    match = re.match(r"\d+", modules.get("java.base", ""))
    return Java(home, int(match[0]), frozenset(modules)) if match else None


def candidate_homes(first: Path | None, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield folders that may hold a Java, the most wanted first, each once."""
    homes = [first] if first else []
    homes += [Path(environ[name]) for name in ("ES_JAVA_HOME", "JAVA_HOME") if environ.get(name)]
    homes += sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    homes += sorted(Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home"), reverse=True)
    if command := shutil.which("java", path=environ.get("PATH")):
        homes.append(Path(command).resolve().parent.parent)
    seen = set()
    for home in homes:
        real = home.resolve()
        if real not in seen and os.access(home / "bin" / "java", os.X_OK):
            seen.add(real)
            yield home


def ask_java(home: Path, account: Account | None) -> Java | None:
    """Run a Java to learn what it is, as the account that will use it; `None` if it cannot run."""
    try:
        answer = subprocess.run(  # noqa: S603 - a Java of this machine or of the user's choice
            [str(home / "bin" / "java"), "--list-modules"],
            capture_output=True,
            check=False,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            cwd="/",
            **identity_of(account),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_modules(home, answer.stdout) if answer.returncode == 0 else None


def find_javas(
    first: Path | None, environ: Mapping[str, str], account: Account | None
) -> Iterator[Java]:
    """Yield every Java that runs on this machine, the most wanted first."""
    for home in candidate_homes(first, environ):
        if java := ask_java(home, account):
            yield java
