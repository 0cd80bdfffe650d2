#!/usr/bin/env python3
"""Writes docs/files.md: every file of the package with the first sentence of its docstring. `--check` compares only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from generated_page import write_or_check

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "docs" / "files.md"

HEAD = """# Every file of the package

Written by `python scripts/file_map.py` from the first sentence of every docstring; a test checks it. Layers and their
order: [architecture.md](architecture.md).
"""

ORDER = (
    "", "recipe", "base", "planning", "documents", "overlap", "tokenization", "pairing", "checkpoint", "training",
    "synthesis", "evaluation", "report", "publishing", "rehearsal", "stages", "executor", "doctor", "cli",
)  # fmt: skip
"""Packages in the order of the data, then those that run stages."""


def main() -> int:
    return write_or_check(__doc__, TARGET, file_map())


def file_map() -> str:
    """The text of docs/files.md."""
    package = REPOSITORY / "megatron_sbp"
    by_folder: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        by_folder.setdefault(path.parent.relative_to(package).as_posix().removeprefix("."), []).append(path)
    assert {folder.split("/")[0] for folder in by_folder} == set(ORDER), "a package is missing in ORDER"
    lines = [HEAD]
    for folder in sorted(by_folder, key=lambda name: (ORDER.index(name.split("/")[0]), name)):
        lines.append(f"## megatron_sbp/{folder}\n".replace("/\n", "\n"))
        for path in by_folder[folder]:
            told = first_sentence(path)
            if path.name != "__init__.py" or told:
                lines.append(f"- [{path.name}](../{path.relative_to(REPOSITORY).as_posix()}): {told}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    paragraph = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    told = re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]
    assert not told or told.endswith("."), f"{path}: the docstring must begin with a sentence: {told}"
    return told


if __name__ == "__main__":
    raise SystemExit(main())
