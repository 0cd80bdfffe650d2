"""Every name for a value whose type is not known before the program runs, and why it is not.

A signature says one of these names, never `Any`; where none fits, a comment `# Any: REASON` is on its line.
"""

from __future__ import annotations

from typing import Any

type JsonValue = Any
"""A value that was parsed from JSON, YAML or Parquet, or is going to be written to such a file. As a union of
everything that JSON can hold, it would have to be narrowed at each step of `audit["pairs"]["kept"] + 1`, although what
the keys hold is decided by the file's writer."""

type JsonObject = dict[str, JsonValue]
"""A row of such a file, or all of it: recipes as dictionaries, plans, audits, manifests, results, documents."""
