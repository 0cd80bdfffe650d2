"""Names for values whose type is not known before the program runs, and why.

Signatures use one of these names, never `Any`; if none fits, the line has a comment `# Any: REASON`.
"""

from __future__ import annotations

from typing import Any

type JsonValue = Any
"""A value parsed from JSON, YAML, or Parquet, or about to be written to such a file. A union of all JSON types would
have to be narrowed at each step of `audit["pairs"]["kept"] + 1`, although the file's writer determines the types."""

type JsonObject = dict[str, JsonValue]
"""A row of a JSON-like file, or all of it: recipes as dictionaries, plans, audits, manifests, results, documents."""
