"""Strict JSON Schemas: Kubernetes' own kinds and the operators', and ours for what has none here.

Those of ../shared/tools/k8s/schemas.tar.gz are of Kubernetes 1.37, Strimzi 1.2, KEDA 2.21,
prometheus-operator 0.85 and cert-manager 1.21. ECK's and External Secrets' definitions are not among
them: `schemas/` holds the fields that we use, after their documentation.
"""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from .bundle import Object, Problem, where

OWN = Path(__file__).parent / "schemas"
_LONGEST = 160
_POD = "core/deployment-apps-v1.json"
"""Where the definition of a pod's template is, for kinds of ours that hold one."""


def unpacked(archive: Path, cache_folder: Path) -> Path:
    """Unpack the archive once, whole or not at all; returns the folder of the schemas.

    Others may do so at the same time: whoever is first gives the folder its name.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    folder = cache_folder / digest
    if not (folder / "schemas").is_dir():
        cache_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder, prefix=".unpacking-") as made:
            whole = Path(made) / digest
            with tarfile.open(archive) as tar:
                tar.extractall(whole, filter="data")
            try:
                whole.rename(folder)
            except OSError:
                if not (folder / "schemas").is_dir():
                    raise
    return folder / "schemas"


class Shapes:
    """What every kind may hold.

    Args:
        folder: unpacked schemas: `core/` and `crd/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._validator = cache(self._read)
        self._told = cache(self._tell)

    def problems(self, objects: list[Object]) -> Iterator[Problem]:
        """Yield what is not of its kind's shape; bundles share most objects, each is read once."""
        for each in objects:
            for what in self._told(json.dumps(each)):
                yield Problem(where(each), what)

    def _tell(self, text: str) -> list[str]:
        each: Object = json.loads(text)
        path = self._path(each["apiVersion"], each["kind"])
        if path is None:
            return [f"no such kind: {each['apiVersion']} {each['kind']}"]
        return [
            f"{'/'.join(map(str, error.absolute_path))}: {error.message[:_LONGEST]}"
            for error in self._validator(path).iter_errors(each)
        ]

    def _path(self, api: str, kind: str) -> Path | None:
        group, _, version = api.rpartition("/")
        name = kind.lower()
        first = f"-{group.partition('.')[0]}" if group else ""
        own = not group or "." not in group or group.endswith(".k8s.io")
        found = (
            [self._folder / "core" / f"{name}{first}-{version}.json"]
            if own
            else [root / group / f"{name}_{version}.json" for root in (self._folder / "crd", OWN)]
        )
        return next((path for path in found if path.exists()), None)

    def _read(self, path: Path) -> Validator:
        schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if path.is_relative_to(OWN):
            pod = json.loads((self._folder / _POD).read_text(encoding="utf-8"))
            schema["definitions"] = {**pod["definitions"], **schema.get("definitions", {})}
        return validator_for(schema)(schema)
