"""What stands in `deploy/kibana`: data views, and dashboards of panels and saved searches.

A definition is short and says what is shown, never how Kibana stores it. Everything else follows
from it: the saved objects (`objects`), and the request that Elasticsearch answers when somebody
looks at a panel (`requests`), which the tests run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import yaml
from msgspec import Meta

from klingel.errors import ConfigurationError

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*$", max_length=60)]
Measuring = Literal["count", "sum", "average", "min", "max", "median", "percentile", "unique_count"]
Chart = Literal["table", "bar", "line", "pie", "metric"]
Format = Literal["number", "duration", "days", "date"]
Place = tuple[int, int, int, int]
"""Column, row, width, height on Kibana's grid of 48 columns."""

T = TypeVar("T")

COLUMNS = 48
VIEWS = "views.yaml"
_MOST_OF_A_CHART = 2
_IN_CHECKOUT = Path("deploy") / "kibana"
_PACKAGED = Path(__file__).resolve().parent / "_definitions"


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a file; a key that it does not have is an error."""


class View(Definition, frozen=True):
    """A data view: which indices, and which time a period is of.

    Attributes:
        pattern: indices; `klingel` at its beginning is the prefix.
        time: field that the period of a dashboard is of; none: always everything.
        hidden: fields that Discover does not show.
    """

    id: Name
    title: str
    pattern: Annotated[str, Meta(pattern=r"^klingel-")]
    time: str = ""
    hidden: tuple[str, ...] = ()


class Filter(Definition, frozen=True, rename={"values": "is", "negated": "not"}):
    """What a document must, or must not, have: one of the values, any value, an earlier time."""

    field: str
    values: tuple[str, ...] = ()
    exists: bool = False
    before: str = ""
    negated: bool = False


class Split(Definition, frozen=True):
    """Into what a panel is divided: values of a field, or intervals of time.

    Attributes:
        terms, time: the field; one of both.
        size: most values.
        by: which measure orders the values.
        order: largest or smallest first.
        interval: of time.
    """

    label: str
    terms: str = ""
    time: str = ""
    size: Annotated[int, Meta(ge=1, le=1000)] = 20
    by: Annotated[int, Meta(ge=0)] = 0
    order: Literal["asc", "desc"] = "desc"
    interval: Literal["1h", "1d", "1w"] = "1d"

    @property
    def field(self) -> str:
        """The field, whichever way it divides."""
        return self.terms or self.time


class Measure(Definition, frozen=True):
    """A figure.

    Attributes:
        of: how it is computed.
        field: of what; nothing for a count.
        percent: which percentile.
    """

    label: str
    of: Measuring = "count"
    field: str = ""
    percent: Annotated[int, Meta(ge=1, le=99)] = 90
    format: Format = "number"


class Shown(Definition, frozen=True, kw_only=True):
    """What has a place on a dashboard."""

    id: Name
    title: str
    view: Name
    at: Place
    filters: tuple[Filter, ...] = ()
    about: str = ""


class Panel(Shown, frozen=True, kw_only=True):
    """One figure, chart or table."""

    chart: Chart
    measures: tuple[Measure, ...]
    splits: tuple[Split, ...] = ()


class SavedSearch(Shown, frozen=True, kw_only=True):
    """Documents themselves, newest or oldest first."""

    columns: tuple[str, ...]
    sort: str
    order: Literal["asc", "desc"] = "desc"


class Control(Definition, frozen=True):
    """A list at a dashboard's head to choose values of a field from."""

    field: str
    title: str
    view: Name


class Dashboard(Definition, frozen=True):
    """One page.

    Attributes:
        since: beginning of the period that it opens with, such as `now-30d`.
    """

    id: Name
    title: str
    about: str
    since: Annotated[str, Meta(pattern=r"^now-[0-9]+[mhdw]$")]
    panels: tuple[Panel, ...]
    searches: tuple[SavedSearch, ...] = ()
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True)
class Definitions:
    """All of them; views by id."""

    views: Mapping[str, View]
    dashboards: tuple[Dashboard, ...]


def definitions_dir(configured: Path | None = None) -> Path:
    """Return the folder of the definitions: the given one, a checkout's or the package's.

    Raises:
        ConfigurationError: there is none.
    """
    if configured is not None:
        found = configured
    else:
        around = [parent / _IN_CHECKOUT for parent in Path(__file__).resolve().parents]
        found = next((each for each in around if (each / VIEWS).is_file()), _PACKAGED)
    if not (found / VIEWS).is_file():
        raise ConfigurationError(
            f"{found} holds no {VIEWS}; give the folder `deploy/kibana` of a checkout by --from"
        )
    return found


def load(folder: Path) -> Definitions:
    """Read and check a folder of definitions.

    Raises:
        ConfigurationError: a file cannot be read or does not fit; the sentence names it.
    """
    views = {each.id: each for each in _read(folder / VIEWS, tuple[View, ...])}
    files = sorted(path for path in folder.glob("*.yaml") if path.name != VIEWS)
    dashboards = tuple(_read(path, Dashboard) for path in files)
    for path, dashboard in zip(files, dashboards, strict=True):
        for sentence in wrong(dashboard, views):
            raise ConfigurationError(f"{path.name}: {sentence}")
    names = [each.id for board in dashboards for each in (*board.panels, *board.searches)]
    for name in {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"{folder}: two panels have the id {name}")
    return Definitions(views, dashboards)


def _read(path: Path, shape: type[T]) -> T:
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), shape)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({type(error).__name__})") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path.name} is no YAML: {str(error).splitlines()[0]}") from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path.name}: {error}") from None


def wrong(dashboard: Dashboard, views: Mapping[str, View]) -> list[str]:
    """Return what does not fit in a dashboard, as sentences."""
    shown: tuple[Shown, ...] = (*dashboard.panels, *dashboard.searches)
    named = [*(each.view for each in shown), *(each.view for each in dashboard.controls)]
    found = [f"there is no view {name}" for name in dict.fromkeys(named) if name not in views]
    for panel in dashboard.panels:
        wrong_of_it = (*_wrong_measures(panel), *_wrong_chart(panel))
        found += [f"panel {panel.id}: {sentence}" for sentence in wrong_of_it]
    for each in shown:
        wrong_filters = (name.field for name in each.filters if not _is_one_thing(name))
        found += [
            f"{each.id}: the filter of {field} has one of `is`, `exists` and `before`"
            for field in wrong_filters
        ]
    placed = [(each.id, each.at) for each in shown]
    for index, (name, place) in enumerate(placed):
        if place[0] < 0 or place[2] < 1 or place[3] < 1 or place[0] + place[2] > COLUMNS:
            found.append(f"{name} leaves the grid of {COLUMNS} columns")
        found += [f"{name} lies over {other}" for other, at in placed[:index] if _over(place, at)]
    return found


def _is_one_thing(each: Filter) -> bool:
    return bool(each.values) + each.exists + bool(each.before) == 1


def _wrong_measures(panel: Panel) -> Iterator[str]:
    if not panel.measures:
        yield "it measures nothing"
    for split in panel.splits:
        if bool(split.terms) == bool(split.time):
            yield "a split has either `terms` or `time`"
        if split.by >= len(panel.measures):
            yield f"a split is ordered by measure {split.by}, which it does not have"
    for measure in panel.measures:
        if (measure.of == "count") == bool(measure.field):
            yield f"{measure.label}: a count has no field, all else has one"


def _wrong_chart(panel: Panel) -> Iterator[str]:
    if panel.chart == "metric" and (panel.splits or len(panel.measures) != 1):
        yield "a metric is one figure"
    if panel.chart == "pie" and (not panel.splits or len(panel.measures) != 1):
        yield "a pie divides one figure"
    if panel.chart in {"bar", "line"} and not 1 <= len(panel.splits) <= _MOST_OF_A_CHART:
        yield "a chart has an axis, and at most one division beside it"
    if panel.chart == "table" and not panel.splits:
        yield "a table has rows"


def _over(one: Place, other: Place) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )
