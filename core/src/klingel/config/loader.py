"""Brand files: YAML with line marks in, a checked brand out, every problem with its line.

    brands/nordlicht.yaml:14: routing.2.queue: there is no queue 'bililng'; did you mean 'billing'?

All problems of a file are collected, so that one run shows them all. What YAML has beyond plain
data is refused: aliases (by which a small file grows without bound), tags, several documents and
a key that stands twice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml
from pydantic import ValidationError

from klingel.config.brand import Brand
from klingel.config.reachable import unreachable
from klingel.config.references import REPEATABLE, wrong_references
from klingel.config.shapes import NO_MAPPING, forbidden, lowered, shape_problem, shown
from klingel.contracts.topics import Topic
from klingel.domain.dictionary import Dictionaries, expand_entries
from klingel.domain.matching import RuleSyntaxError, expand_rule, parse_rule
from klingel.domain.rule_syntax import Entry, Node, read_entry
from klingel.domain.sla import sla_problems
from klingel.errors import ConfigurationError
from klingel.language.numbers import NumberPatternError, compile_number
from klingel.language.signature import Agent, Agents, signed

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_PROBLEMS = 100

Place = tuple[str | int, ...]
_TAGS = {
    "tag:yaml.org,2002:null",
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:int",
    "tag:yaml.org,2002:float",
    "tag:yaml.org,2002:str",
    "tag:yaml.org,2002:seq",
    "tag:yaml.org,2002:map",
}


class BrandFileError(ConfigurationError):
    """A brand file is wrong.

    Args:
        problems: one line each: `file:line: path: what is wrong; what would be right`.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class LoadedBrand:
    """A brand and the version of its configuration: 16 hex digits over its content."""

    brand: Brand
    version: str


class _Problem(NamedTuple):
    line: int
    path: Place
    sentence: str


def load_brand(path: Path) -> LoadedBrand:
    """Read and check a brand file.

    Raises:
        BrandFileError: with every problem of the file, in the order of its lines.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise BrandFileError([f"{path}: {reason}; name a readable brand file"]) from None
    if len(raw) > MAX_BYTES:
        raise BrandFileError(
            [f"{path}: larger than {MAX_BYTES} bytes; a brand file is at most 1 MiB"]
        )
    marked = _Marked()
    brand: Brand | None = None
    content = marked.read(raw)
    if not marked.problems:
        queries: dict[Place, Node] = {}
        brand = _validate(content, marked, queries)
        if brand is not None and not any("dictionaries" in each.path for each in marked.problems):
            for place, sentence in unreachable(brand, queries, marked.line_of):
                marked.add(place, sentence)
    if marked.problems or brand is None:
        raise BrandFileError(_told(path, marked.problems))
    return LoadedBrand(brand, version_of(brand))


def to_config(brand: Brand) -> dict[str, Any]:
    """Return the brand as the plain content of a brand-config record; defaults are written out."""
    return brand.model_dump(mode="json", exclude_none=True)


def from_config(config: Mapping[str, Any]) -> Brand:
    """Read the content of a brand-config record.

    Rules that nothing ever reaches are no reason to refuse what was applied: they do no harm.

    Raises:
        BrandFileError: it is no valid brand, such as one applied by another version of klingel.
    """
    marked = _Marked()
    brand = _validate(dict(config), marked, {})
    if brand is None or marked.problems:
        raise BrandFileError(_told(Path(Topic.BRAND_CONFIG), marked.problems))
    return brand


def version_of(brand: Brand) -> str:
    """Return 64 bits over the brand's content as 16 hex digits; order of keys does not matter."""
    content = msgspec.json.encode(to_config(brand), order="sorted")
    return blake2b(content, digest_size=8).hexdigest()


def _told(path: Path, problems: list[_Problem]) -> Iterator[str]:
    ordered = sorted(set(problems), key=lambda problem: (problem.line, str(problem.path)))
    for problem in ordered[:MAX_PROBLEMS]:
        place = ".".join(str(part) for part in problem.path) or "file"
        where = f"{path}:{problem.line}" if problem.line else str(path)
        yield f"{where}: {place}: {problem.sentence}"
    if len(ordered) > MAX_PROBLEMS:
        yield f"{path}: and {len(ordered) - MAX_PROBLEMS} more; mend these first"


class _Marked:
    """Plain content of a YAML file, with the line of each of its parts."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.problems: list[_Problem] = []
        self._scalars = yaml.SafeLoader("")

    def read(self, raw: bytes) -> Any:
        """Return the content; what is wrong with it as YAML is in `problems`."""
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.problems.append(_Problem(line, (), "not UTF-8; save the file as UTF-8"))
            return None
        try:
            if self._has_alias(text):
                return None
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self.problems.append(_Problem(*_yaml_problem(error, text)))
            return None
        if node is None:
            self.problems.append(_Problem(1, (), "the file is empty; a brand file is a mapping"))
            return None
        if isinstance(node, yaml.ScalarNode):  # a text of whatever file: it is not shown
            self.problems.append(_Problem(1, (), NO_MAPPING))
            return None
        return self._content(node, ())

    def line_of(self, path: Place) -> int:
        """Return the line of a part, or of the nearest part around it; 0 where none is known."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def add(self, path: Place, sentence: str) -> None:
        """Note a problem of a part."""
        self.problems.append(_Problem(self.line_of(path), path, sentence))

    def _has_alias(self, text: str) -> bool:
        """Look for aliases and depth before anything is built of them."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark is not None else 1
            if isinstance(event, yaml.AliasEvent):
                self.problems.append(
                    _Problem(line, (), f"'*{event.anchor}' is an alias; write the part out")
                )
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    self.problems.append(
                        _Problem(line, (), f"nested deeper than {MAX_DEPTH}; a brand file is flat")
                    )
                    return True
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return bool(self.problems)

    def _content(self, node: yaml.Node, path: Place) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _TAGS and not node.tag.endswith(":timestamp"):
            self.add(path, f"the tag {node.tag!r} is not plain data; write the value without a tag")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._content(part, (*path, number)) for number, part in enumerate(node.value)]
        return self._value(node, path)

    def _value(self, node: yaml.Node, path: Place) -> Any:
        wrong = forbidden(node.value)
        if wrong is not None:
            self.add(path, wrong)
            return None
        if node.tag.endswith(":timestamp"):
            return node.value
        try:
            return self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self.add(path, "this value cannot be read; put it in quotes if it is text")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Place) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(_Problem(line, path, "a key is not a word; write `name:`"))
                continue
            key = str(key_node.value)
            wrong = forbidden(key)
            if wrong is not None:
                self.problems.append(_Problem(line, path, f"of a key: {wrong}"))
                continue
            place = (*path, key)
            if key in content:
                first = self.lines[place]
                self.problems.append(
                    _Problem(line, place, f"stands twice, first in line {first}; keep one of them")
                )
                continue
            self.lines[place] = line
            content[key] = self._content(value, place)
        return content


def _yaml_problem(error: yaml.YAMLError, text: str) -> tuple[int, Place, str]:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, (), "not YAML: it holds a character that YAML forbids; remove it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return 1, (), "not YAML; compare it with the example brand"
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    problem = error.problem or error.context or ""
    if "'\\t'" in problem:
        return line, (), "not YAML: a tab begins the line; indent with spaces"
    if problem == "but found another document":
        return line, (), "a second document begins; a brand file holds one"
    return line, (), f"not YAML: {problem}; mend the line"


def _validate(content: Any, marked: _Marked, queries: dict[Place, Node]) -> Brand | None:
    """Check shape and meaning; return None where the shape is wrong.

    Args:
        content: of the file.
        marked: where problems are noted.
        queries: what the queries mean that can be read is put in here, by place.
    """
    try:
        # JSON's rules: a list is a tuple, but the text "7" is no number.
        brand = Brand.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True):
            found = shape_problem(detail)
            if found is not None:
                marked.add(*found)
        brand = None
    except ValueError:  # Python writes no number of thousands of digits
        marked.add((), "a number of it is too long to be read; put it in quotes if it is text")
        brand = None
    if isinstance(content, dict):
        _check_meaning(content, marked, queries)
    if brand is not None:
        _check_care(brand, marked)
    return brand


def _check_care(brand: Brand, marked: _Marked) -> None:
    """Check what its shape alone cannot say of calendars, promises, levels and targets."""
    queues = [queue.id for queue in brand.queues]
    for path, sentence in sla_problems(brand.sla, brand.calendars, queues):
        marked.add(path, sentence)
    for place, sentence in wrong_references(brand):
        marked.add(place, sentence)


def _check_meaning(content: dict[str, Any], marked: _Marked, queries: dict[Place, Node]) -> None:
    """Check what a shape cannot say: references, repeated ids, queries."""
    queues = [queue["id"] for _, queue in _parts(content, "queues") if _is_text(queue.get("id"))]
    for key in ("queues", "dictionaries", "listening", "topics", "routing", *REPEATABLE):
        _check_repeats(content, key, ("id",), marked)
    for key in ("accounts", "channels"):
        _check_repeats(content, key, ("network", "id"), marked)
    dictionaries = _check_dictionaries(content, marked)
    for number, rule in _parts(content, "routing"):
        queue = rule.get("queue")
        if _is_text(queue) and queues and queue not in queues:
            near = get_close_matches(queue, queues, 1)
            right = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(queues[:20])}"
            marked.add(("routing", number, "queue"), f"there is no queue {shown(queue)}; {right}")
    for key, name in (
        ("routing", "when"),
        ("sla", "when"),
        ("listening", "query"),
        ("topics", "query"),
    ):
        for number, rule in _parts(content, key):
            root = _check_query(rule, (key, number, name), dictionaries, marked)
            if root is not None:
                queries[key, number, name] = root
    _check_enrichment(content, marked)


def _check_enrichment(content: dict[str, Any], marked: _Marked) -> None:
    """Check the numbers' patterns, and that no code stands for two agents."""
    found = content.get("enrichment")
    if not isinstance(found, dict):
        return
    for number, part in _parts(found, "numbers"):
        try:
            check = part.get("check")
            if isinstance(check, str | None):
                compile_number(str(part.get("kind")), str(part.get("pattern")), check)
        except NumberPatternError as error:
            path = ("enrichment", "numbers", number, "pattern")
            marked.add(path, lowered(str(error).rstrip(".")))
    _check_agents(found, marked)


def _check_agents(found: dict[str, Any], marked: _Marked) -> None:
    """Check each agent by itself, then that no code stands for two."""
    seen: dict[str, int] = {}
    for number, part in _parts(found, "agents"):
        code, name = part.get("code"), part.get("name")
        if not isinstance(code, str) or not isinstance(name, str | None):
            continue
        path: Place = ("enrichment", "agents", number)
        try:
            Agents.compile([Agent(code, (code,), (name,) if name is not None else ())])
        except ValueError as error:
            marked.add(path, lowered(str(error).rstrip(".")))
            continue
        key = signed(code)
        if key in seen:
            sentence = f"{shown(code)} stands for two agents; each needs a code of its own"
            marked.add((*path, "code"), sentence)
        seen.setdefault(key, number)


def _parts(content: dict[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    parts = content.get(key)
    if isinstance(parts, list):
        yield from ((number, part) for number, part in enumerate(parts) if isinstance(part, dict))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _check_repeats(
    content: dict[str, Any], key: str, identity: tuple[str, ...], marked: _Marked
) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for number, part in _parts(content, key):
        value = tuple(part.get(name) for name in identity)
        if not all(isinstance(each, str) for each in value):
            continue
        if value in seen:
            line = marked.line_of((key, seen[value]))
            first = f"in line {line}" if line else f"as {key}.{seen[value]}"
            marked.add(
                (key, number, identity[-1]),
                f"{shown(value[-1])} stands twice, first {first}; each needs an id of its own",
            )
        seen.setdefault(value, number)


def _check_dictionaries(content: dict[str, Any], marked: _Marked) -> Dictionaries:
    """Check the entries; return the dictionaries, one that cannot be read without its forms."""
    found: dict[str, tuple[Entry, ...]] = {}
    for number, part in _parts(content, "dictionaries"):
        entries = {
            key: _entries(part.get(key), ("dictionaries", number, key), marked)
            for key in ("words", "misspellings")
        }
        name = part.get("id")
        if not isinstance(name, str):
            continue
        try:
            found[name] = expand_entries(
                entries["words"],
                entries["misspellings"],
                umlauts=part.get("umlauts") is not False,
                typos=part.get("typos") is True,
            )
        except RuleSyntaxError as error:
            marked.add(("dictionaries", number), error.message.rstrip("."))
            found[name] = tuple(entries["words"])
        found[name] = found[name] or _PLACEHOLDER
    return found


_PLACEHOLDER = (read_entry("nothing"),)
"""Of a dictionary whose entries are all wrong: rules that refer to it are not wrong for that."""


def _entries(words: Any, path: Place, marked: _Marked) -> list[Entry]:
    entries = []
    for number, each in enumerate(words if isinstance(words, list) else ()):
        if isinstance(each, str) and each:
            try:
                entries.append(read_entry(each))
            except RuleSyntaxError as error:
                marked.add((*path, number), f"{shown(each)}: {lowered(error.message.rstrip('.'))}")
    return entries


def _check_query(
    rule: dict[str, Any], path: Place, dictionaries: Dictionaries, marked: _Marked
) -> Node | None:
    """Return what a query means; None where there is none, or what is wrong with it is noted."""
    query = rule.get(str(path[-1]))
    if not isinstance(query, str) or not query:
        return None
    try:
        parsed = parse_rule(query, dictionaries)
    except RuleSyntaxError as error:
        sentence = error.message.rstrip(".")
        marked.add(path, f"at character {error.position + 1} of the query: {sentence}")
        return None
    try:
        parse_rule(expand_rule(parsed))
    except RuleSyntaxError as error:
        marked.add(path, f"with its dictionaries written out: {lowered(error.message.rstrip('.'))}")
        return None
    return parsed.root
