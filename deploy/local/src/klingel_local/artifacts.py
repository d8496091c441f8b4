"""The cache of servers: fetched once, verified, put in place whole or not at all."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from klingel_local import archives, pins
from klingel_local.download import RemoteFile
from klingel_local.errors import FetchError, MissingError
from klingel_local.machine import make_enterable, require_disk
from klingel_local.progress import Progress

_PARTIAL = ".partial-"
_CONNECTIONS = 4
_KAFKA_DISK = 100_000_000
# A whole distribution zip, for repositories that serve no ranges.
_WHOLE_ARCHIVE = 950_000_000


def cache_folder(chosen: Path | None, environ: Mapping[str, str], home: Path, uid: int) -> Path:
    """Return where downloads are kept.

    Root's own folders are closed to the account that Elasticsearch runs as, so root's cache lies
    where everybody may enter.
    """
    if chosen is not None:
        return chosen
    if uid == 0:
        return Path("/var/tmp/klingel")  # noqa: S108 - ownership is checked before it is used
    if base := environ.get("XDG_CACHE_HOME"):
        return Path(base) / "klingel"
    return home / ".cache" / "klingel"


class ArtifactCache:
    """Servers on disk, fetched where they are missing.

    Args:
        folder: Where they are kept; made where it is missing.
        repository: Gives the base address of the repository; asked only when something is missing.
        say: Takes one line for the user.
        out: Where progress is shown.
    """

    def __init__(
        self,
        folder: Path,
        repository: Callable[[], str],
        say: Callable[[str], None],
        out: TextIO,
    ) -> None:
        self.folder = folder
        self._repository = repository
        self._say = say
        self._out = out

    def kafka(self) -> Path:
        """Return the folder with Kafka's jars.

        Raises:
            FetchError: the network failed or a jar is not the pinned one.
            MissingError: the disk is full.
        """
        final = self.folder / f"kafka-{pins.KAFKA_VERSION}"
        with self._locked():
            if not final.exists():
                require_disk(self.folder, _KAFKA_DISK, "Fetching Kafka")
                with self._partial() as partial:
                    jars = partial / "jars"
                    jars.mkdir()
                    self._fetch_jars(jars)
                    _settle(jars, final)
        return final

    def elasticsearch(self, build: pins.ElasticsearchBuild) -> Path:
        """Return the home of an Elasticsearch.

        Raises:
            FetchError: the network failed or the files are not the pinned ones.
            MissingError: the disk is full.
        """
        final = self.folder / f"elasticsearch-{build.version}"
        with self._locked():
            if not final.exists():
                with self._partial() as partial:
                    self._fetch_elasticsearch(build, partial, final)
        return final

    def java_runtime(self) -> Path:
        """Return the home of the Java runtime that comes with Elasticsearch 8.

        Raises:
            FetchError: the network failed or the files are not the pinned ones.
            MissingError: there is no runtime for this machine, or the disk is full.
        """
        key = pins.this_platform()
        if key is None:
            raise MissingError(
                "There is no Java runtime to fetch for this kind of machine: install a JDK 21 or "
                "newer and name its folder in KLINGEL_LOCAL_JAVA_HOME."
            )
        final = self.folder / f"jre-{pins.JRE_VERSION}-{key}"
        with self._locked():
            if not final.exists():
                with self._partial() as partial:
                    self._fetch_runtime(key, partial, final)
        return _java_home(final)

    def verify(self, build: pins.ElasticsearchBuild) -> None:
        """Compare what is in the cache with the pins, byte by byte.

        Raises:
            FetchError: something has changed since it was fetched.
        """
        kafka = self.kafka()
        for jar in pins.kafka_jars():
            _require_equal(archives.file_digest(kafka / jar.name), jar.sha256, jar.name)
        home = self.elasticsearch(build)
        _require_equal(archives.tree_digest(home), build.tree, home.name)

    def _fetch_jars(self, target: Path) -> None:
        progress = Progress(f"Kafka {pins.KAFKA_VERSION}", pins.KAFKA_BYTES, self._out)
        base = self._repository()
        # When one has given up, the others need not pause before they do.
        failed = threading.Event()

        def fetch(jar: pins.Jar) -> None:
            remote = RemoteFile(f"{base}/{jar.path}", jar.name, failed.wait)
            try:
                with (target / jar.name).open("w+b") as sink:
                    remote.fetch(sink, progress)
            except FetchError:
                failed.set()
                raise
            _require_equal(archives.file_digest(target / jar.name), jar.sha256, jar.name)

        try:
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                for _ in pool.map(fetch, pins.kafka_jars()):
                    pass
        finally:
            progress.close()

    def _fetch_elasticsearch(
        self, build: pins.ElasticsearchBuild, partial: Path, final: Path
    ) -> None:
        title = f"Elasticsearch {build.version}"
        home = partial / "home"
        home.mkdir()
        with self._distribution(
            build, partial, lambda name: name.startswith(build.folder), build.unpacked, title
        ) as archive:
            archives.unpack_folder(archive, build.folder, home)
        _require_equal(archives.tree_digest(home), build.tree, title)
        _settle(home, final)

    def _fetch_runtime(self, key: str, partial: Path, final: Path) -> None:
        member = pins.jre_member(key)
        packed, unpacked = partial / "jre.tar.gz", partial / "jre"
        unpacked.mkdir()
        with self._distribution(
            pins.ELASTICSEARCH_8, partial, member.__eq__, pins.JRE_UNPACKED, "Java runtime 21"
        ) as archive:
            archives.unpack_member(archive, member, packed)
        _require_equal(archives.file_digest(packed), pins.JRE_ARCHIVES[key], "Java runtime 21")
        archives.unpack_tar(packed, unpacked)
        _settle(unpacked, final)

    @contextlib.contextmanager
    def _distribution(
        self,
        build: pins.ElasticsearchBuild,
        partial: Path,
        wanted: archives.Wanted,
        unpacked: int,
        title: str,
    ) -> Iterator[zipfile.ZipFile]:
        remote = RemoteFile(f"{self._repository()}/{build.archive}", title)
        probe = remote.probe()
        packed = unpacked if probe.ranges else _WHOLE_ARCHIVE
        require_disk(self.folder, packed + unpacked, f"Fetching {title}")
        with (partial / "distribution.zip").open("w+b") as target:
            progress = Progress(title, unpacked, self._out)
            try:
                archive = archives.fetch_members(remote, probe, target, wanted, progress)
            finally:
                progress.close()
            with archive:
                yield archive

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the cache alone; a second command waits, and says so."""
        if not self.folder.exists():
            make_enterable(self.folder, self.folder)
        if self.folder.stat().st_uid != os.geteuid():
            raise MissingError(
                f"The cache folder {self.folder} belongs to another user: "
                "name one of your own in KLINGEL_CACHE_DIR."
            )
        with (self.folder / ".lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("Another command is fetching: waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _partial(self) -> Iterator[Path]:
        """Give a scratch folder on the cache's disk; what an interrupted fetch left is removed."""
        for leftover in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover)
        scratch = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)


def _require_equal(found: str, pinned: str, label: str) -> None:
    if found != pinned:
        raise FetchError(
            f"The checksum of {label} is not the pinned one: the repository serves something else "
            "or the cache was changed; remove it from the cache and try again."
        )


def _settle(scratch: Path, final: Path) -> None:
    """Make a finished tree readable for every account and move it to its place in one step."""
    for folder, _, files in os.walk(scratch):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                runs = path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if runs else 0o644)
    scratch.rename(final)


def _java_home(tree: Path) -> Path:
    for command in sorted(tree.glob("**/bin/java")):
        return command.parent.parent
    raise FetchError(f"There is no java in {tree}: remove that folder and try again.")
