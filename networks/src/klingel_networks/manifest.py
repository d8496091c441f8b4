"""What a network declares of itself: `connector.yaml` and `quality.yaml`.

CLI help, documentation, compose entries and Secret names derive from the manifest.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from klingel.contracts.topics import Topic
from klingel.domain.draft import Change, Kind
from klingel.errors import ConfigurationError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Sentence = Annotated[str, Field(min_length=1, max_length=2000)]
Clause = Literal[
    "K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10", "K11", "K12", "K13", "K14", "K15"
]
CLAUSES: tuple[str, ...] = get_args(Clause)
Value = str | int | bool

_M = TypeVar("_M", bound=BaseModel)
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class Part(BaseModel):
    """Strict and immutable: an unknown key or another type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Revision(Part):
    """Where a revision comes from; edit time and edit counter are never mixed."""

    unit: Literal["edit_time_ms", "edit_counter", "source", "none"] = Field(
        description="`source`: each source uses one of the two for all its objects."
    )
    rule: Sentence = Field(description="How it is read.")
    tie_break: Sentence = Field(description="What decides where the network gives no order.")


class Cursor(Part):
    """The position from which a stream or a poll resumes."""

    field: str = Field(min_length=1, description="Field of the delivery.")
    inclusive: bool = Field(description="Whether the object at the cursor is sent again.")
    description: Sentence = Field(description="What it counts and how far back it reaches.")


class Limit(Part):
    """A bound of the network, or of ours on it."""

    value: int = Field(ge=0, description="Greatest allowed.")
    unit: str = Field(min_length=1, description="Of the value, such as bytes or requests/300s.")
    description: Sentence = Field(description="What is bounded and who says so.")


class Setting(Part):
    """A setting of the connector."""

    type: Literal["string", "integer", "boolean"] = Field(description="Type of the value.")
    description: Sentence = Field(description="What it does.")
    secret: bool = Field(default=False, description="Only from a file or the environment.")
    required: bool = Field(default=False, description="Nothing starts without it.")
    default: Value | None = Field(default=None, description="Used when it is not given.")

    @model_validator(mode="after")
    def _fits(self) -> "Setting":
        if self.secret and self.default is not None:
            raise ValueError("a secret has no default")
        if self.required and self.default is not None:
            raise ValueError("a required setting has no default")
        wanted = {"string": str, "integer": int, "boolean": bool}[self.type]
        if self.default is not None and type(self.default) is not wanted:
            raise ValueError(f"the default is no {self.type}")
        return self


class Permission(Part):
    """Something that the network grants before klingel may listen."""

    name: str = Field(min_length=1, max_length=120, description="As the network calls it.")
    purpose: Sentence = Field(description="What needs it.")
    review: Sentence | None = Field(None, description="Who has to approve it, and how; null: none.")


class Cost(Part):
    """What the network charges."""

    unit: str = Field(
        min_length=1, max_length=60, description="What is counted, such as posts read."
    )
    price: Sentence = Field(description="Published price with its date and source.")
    budget: Name | None = Field(None, description="Setting that bounds it; null: none.")


Table = Literal["connection", "http", "rate_limited"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Manifest(Part):
    """One network's `connector.yaml`."""

    name: Name = Field(description="Noun: folder, entry point and metric label.")
    network: Name = Field(description="Network that is heard.")
    description: Sentence = Field(description="One sentence for people who choose connectors.")
    mode: Literal["poll", "stream", "webhook"] = Field(description="How objects reach us.")
    stability: Literal["development", "alpha", "beta", "stable"] = Field(description="Maturity.")
    scope: Literal["network", "instance", "account", "chat", "mailbox", "source"] = Field(
        description="Within what a native id is unique and trustworthy."
    )
    emits: Literal[Topic.RAW_EVENTS] = Field(description="Topic.")
    delivery: Literal["at_least_once"] = Field(description="Promise.")
    kinds: dict[Kind, tuple[Change, ...]] = Field(
        min_length=1, description="Capability matrix (K11): per kind, the changes delivered."
    )
    revision: Revision = Field(description="Revision rule.")
    cursor: Cursor | None = Field(description="Resume position; null where there is none.")
    limits: dict[Name, Limit] = Field(description="Bounds.")
    config: dict[Name, Setting] = Field(description="Settings.")
    family: Name | None = Field(None, description="Family whose endpoint brings its webhooks.")
    also: tuple[Literal["poll", "stream", "webhook"], ...] = Field(
        default=(), description="Other ways by which the same objects come."
    )
    poll_seconds: Seconds | None = Field(
        None, description="Least time between two rounds over one channel; only where it polls."
    )
    back_off: dict[Table, tuple[Seconds, ...]] = Field(
        default_factory=dict,
        description="The network's own tables: seconds before each further attempt; the last repeats.",
    )
    permissions: tuple[Permission, ...] = Field(default=(), description="What must be granted.")
    access: tuple[Sentence, ...] = Field(
        default=(), description="Steps from nothing to the first event, in order."
    )
    cost: Cost | None = Field(None, description="What it charges; null: nothing.")
    latency: Sentence | None = Field(None, description="From publication to delivery.")
    replay: Sentence | None = Field(None, description="What can be had again after an outage.")
    deletes: Sentence | None = Field(None, description="How deletions reach us, and how late.")
    media: Sentence | None = Field(None, description="How media are fetched, and for how long.")
    not_possible: tuple[Sentence, ...] = Field(
        default=(), description="What a customer may expect and cannot have, and why."
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Manifest":
        if self.poll_seconds is not None and "poll" not in (self.mode, *self.also):
            raise ValueError("poll_seconds is for what polls")
        if self.mode in self.also:
            raise ValueError("also repeats the mode")
        if self.cost is not None and self.cost.budget is not None:
            setting = self.config.get(self.cost.budget)
            if setting is None or setting.type != "integer":
                raise ValueError("cost.budget names no integer setting")
        if any(not table for table in self.back_off.values()):
            raise ValueError("a back-off table has at least one entry")
        return self

    def delivers(self, kind: str, change: str) -> bool:
        """Return whether the capability matrix holds this kind with this change."""
        return change in {
            str(each) for key, value in self.kinds.items() if key == kind for each in value
        }

    def configure(self, given: Mapping[str, str]) -> dict[str, Value | SecretStr | None]:
        """Return every setting's value: given, else default, else None; secrets wrapped.

        Raises:
            ConfigurationError: an unknown setting, a required one that is missing, or a value of
                another type; the sentence names the setting, never the value.
        """
        unknown = sorted(set(given) - set(self.config))
        if unknown:
            raise ConfigurationError(
                f"{self.name} has no setting {unknown[0]!r}; known are {', '.join(self.config)}"
            )
        return {
            name: _value(f"{self.name}.{name}", setting, given.get(name))
            for name, setting in self.config.items()
        }


def _value(name: str, setting: Setting, given: str | None) -> Value | SecretStr | None:
    if given is None or (given == "" and setting.type != "string"):
        if setting.required:
            raise ConfigurationError(f"{name} is missing: {setting.description}")
        return setting.default
    if setting.secret:
        return SecretStr(given)
    if setting.type == "integer":
        try:
            return int(given)
        except ValueError:
            raise ConfigurationError(f"{name} must be an integer") from None
    if setting.type == "boolean":
        if given.lower() not in _TRUE + _FALSE:
            raise ConfigurationError(f"{name} must be true or false")
        return given.lower() in _TRUE
    return given


class Standing(Part):
    """How a network stands to one clause of the connector contract."""

    status: Literal["done", "todo", "exempt"] = Field(description="`todo` names its issue.")
    comment: Sentence = Field(description="What does it, what is missing, or why it is exempt.")
    issue: Annotated[int, Field(ge=1)] | None = Field(None, description="Where a todo is done.")

    @model_validator(mode="after")
    def _names_its_issue(self) -> "Standing":
        if (self.status == "todo") != (self.issue is not None):
            raise ValueError("a todo, and only a todo, names its issue")
        return self


class Quality(Part):
    """One network's `quality.yaml`: every clause of K1..K15."""

    clauses: dict[Clause, Standing] = Field(description="By clause.")

    @model_validator(mode="after")
    def _complete(self) -> "Quality":
        missing = [clause for clause in CLAUSES if clause not in self.clauses]
        if missing:
            raise ValueError(f"missing: {', '.join(missing)}")
        return self


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the signature of the base class
        built: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(built) != len(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is given twice", node.start_mark
            )
        return built


def read_manifest(text: str, file: str) -> Manifest:
    """Read a `connector.yaml`; raises ConfigurationError naming file, line and what is wrong."""
    return _read(Manifest, text, file)


def read_quality(text: str, file: str) -> Quality:
    """Read a `quality.yaml`; raises ConfigurationError naming file, line and what is wrong."""
    return _read(Quality, text, file)


def _read(shape: type[_M], text: str, file: str) -> _M:
    try:
        tree = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader, stricter still
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{file}, line {line}: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{file}: this is not YAML") from None
    try:
        # JSON mode: strict on types, yet an array may fill a tuple.
        return shape.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = first["loc"]
        line = _line(yaml.compose(text, Loader=yaml.SafeLoader), path)
        where = ".".join(str(step) for step in path) or "the file"
        raise ConfigurationError(f"{file}, line {line}: {where}: {first['msg']}") from None


def _line(node: yaml.Node | None, path: tuple[str | int, ...]) -> int:
    """Return the line of the deepest part of `path` that exists."""
    line = 1
    for step in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and step in range(len(node.value)):
            found = node.value[int(step)]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line
