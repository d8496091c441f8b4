"""Every check of a bundle in one place."""

from pathlib import Path

from klingel_simulator.debian import NotToBeHad

from ..debian import find_promtool
from . import arrows, drains, house, references, rules, server, storage
from .bundle import Object, Problem
from .shapes import Shapes, unpacked

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
ARCHIVE = ROOT.parent / "shared" / "tools" / "k8s" / "schemas.tar.gz"
CACHE = ROOT / ".klingel"


class Tools:
    """What the checks need beside the code; what is absent says why.

    Attributes:
        shapes: the strict schemas, None without the archive.
        promtool: the checker of rules, None where it is not to be had.
        absent: a sentence for each that is absent.
    """

    def __init__(self) -> None:
        self.absent: list[str] = []
        self.shapes: Shapes | None = None
        self.promtool: Path | None = None
        if ARCHIVE.exists():
            self.shapes = Shapes(unpacked(ARCHIVE, CACHE / "k8s-schemas"))
        else:
            self.absent.append("the schemas (../shared/tools/k8s) are not beside this checkout")
        try:
            self.promtool = find_promtool(CACHE / "debian")
        except NotToBeHad as error:
            self.absent.append(str(error))


def combinations() -> list[Path]:
    """Return every folder that is built: overlays, and one for each supported combination."""
    return sorted(
        path.parent
        for part in ("overlays", "tests")
        for path in (K8S / part).glob("*/kustomization.yaml")
    )


def problems(objects: list[Object], tools: Tools) -> list[Problem]:
    """Return everything that is wrong with a bundle; a wrong shape ends it, as nothing else holds."""
    found = list(tools.shapes.problems(objects)) if tools.shapes else []
    if not found:
        found = [
            *references.problems(objects),
            *server.problems(objects),
            *storage.problems(objects),
            *drains.problems(objects),
            *arrows.problems(objects),
            *house.problems(objects),
        ]
        if tools.promtool is not None:
            found += rules.problems(objects, tools.promtool)
    return found
