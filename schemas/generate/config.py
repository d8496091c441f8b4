"""The schema of brand files from their models, for editors: `schemas/config/brand.schema.json`."""

import json
from pathlib import Path

from klingel.config.brand import Brand


def generate(_root: Path) -> dict[str, str]:
    """Return {path below root: content} of the schema."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:klingel:brand-file",
        **Brand.model_json_schema(),
    }
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return {"schemas/config/brand.schema.json": text}
