"""msgspec Structs from `schemas/events/*.schema.json`, through datamodel-code-generator.

One module per schema. Four things are changed in its output: an optional field is None when absent
(readers take null for absent, writers omit it; `Raw` goes without the union, of which msgspec would
read null alone); a schema's top-level `anyOf` is left to `klingel.contracts.codec`, since a Struct
cannot express it; a `pattern` stands where msgspec does not enforce it, since
`klingel.contracts.patterns` does so at a fraction of the cost; and of the hashes in a case, 500 in
a full one, the length alone is checked: only `care` writes them, and what others send of them is
checked where it is read (`klingel.domain.merging`).
"""

import json
import re
import tempfile
from pathlib import Path

from datamodel_code_generator import DataModelType, InputFileType, LiteralType, PythonVersion
from datamodel_code_generator import generate as generate_model
from datamodel_code_generator.format import DatetimeClassType, Formatter

STRUCT = "frozen=True, gc=False, omit_defaults=True, kw_only=True"
OPTIONAL_RAW = re.compile(r"\(\s*Annotated\[Raw, (Meta\([^)]*\))\]\s*\| None\s*\) = None")
HASH, HASH_LENGTH = "pattern='^[0-9a-f]{16}$'", "min_length=16, max_length=16"
PATTERN = re.compile(r"\bpattern=('(?:[^'\\]|\\.)*')")
ASIDE = r"extra_json_schema={'pattern': \1}"
HEADER = '"""{title}: generated from schemas/events/{name}; never edited."""\n'


def generate(root: Path) -> dict[str, str]:
    """Return {path below root: content} of every generated model module."""
    files = {}
    exports = []
    for path in sorted((root / "schemas/events").glob("*.schema.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        name = path.name.removesuffix(".v1.schema.json").replace("-", "_")
        files[f"core/src/klingel/model/{name}.py"] = _module(schema, path.name)
        exports.append((name, schema["title"]))
    lines = ['"""Message shapes, generated from `schemas/events/`; never edited."""', ""]
    lines += [f"from klingel.model.{name} import {title}" for name, title in exports]
    lines += (
        ["", "__all__ = ["]
        + [f'    "{title}",' for _, title in sorted(exports, key=lambda e: e[1])]
        + ["]", ""]
    )
    files["core/src/klingel/model/__init__.py"] = "\n".join(lines)
    return files


def _module(schema: dict[str, object], name: str) -> str:
    schema = {key: value for key, value in schema.items() if key not in {"anyOf", "$id"}}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.py"
        generate_model(
            json.dumps(schema),
            input_filename=name,
            input_file_type=InputFileType.JsonSchema,
            output=target,
            output_model_type=DataModelType.MsgspecStruct,
            output_datetime_class=DatetimeClassType.Datetime,
            target_python_version=PythonVersion.PY_311,
            base_class="klingel.model.base.Record",
            enum_field_as_literal=LiteralType.All,
            field_constraints=True,
            use_annotated=True,
            use_union_operator=True,
            use_schema_description=True,
            use_standard_collections=True,
            collapse_root_models=True,
            disable_timestamp=True,
            formatters=[Formatter.BUILTIN],
        )
        code = target.read_text(encoding="utf-8")
    code = code.replace("UnsetType", "None").replace("= UNSET", "= None").replace("(UNSET)", "None")
    code = re.sub(r"\(\s*UNSET\s*\)", "None", code)
    code = re.sub(r"default=UNSET", "default=None", code)
    code, optional_raws = OPTIONAL_RAW.subn(r"Annotated[OptionalRaw, \1] = None", code)
    if optional_raws:
        code = code.replace("import Record", "import OptionalRaw, Record")
    # A time without a zone says nothing: it is refused like any other wrong shape.
    code = re.sub(r"Annotated\[\s*datetime,\s*Meta\(", r"Annotated[datetime, Meta(tz=True, ", code)
    code = code.replace("(Record):", f"(Record, {STRUCT}):")
    code = re.sub(r"from msgspec import (.*)", _imports, code)
    if not re.search(r"\bRaw[],]", code):
        code = code.replace("import Meta, Raw", "import Meta")
    if schema["title"] == "Case":
        code = code.replace(HASH, HASH_LENGTH)
    code = PATTERN.sub(ASIDE, code)
    code = re.sub(r"\A(#.*\n)+", "", code).lstrip()
    return HEADER.format(title=schema["title"], name=name) + "\n" + code


def _imports(found: "re.Match[str]") -> str:
    names = [name.strip() for name in found[1].split(",")]
    kept = [name for name in names if name not in {"UNSET", "None"}]
    return f"from msgspec import {', '.join(kept)}" if kept else ""
