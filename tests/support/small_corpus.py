"""Files of a small corpus, and what the stage `documents` makes of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import zstandard

from megatron_sbp.base import files
from megatron_sbp.documents import input_groups
from megatron_sbp.stages.run_folder import Run


def rows(run: Run, split: str) -> list[dict]:
    return [row for shard in run.document_shards(split) for row in files.read_jsonl_zst(shard)]


def contents(run: Run) -> dict[str, bytes]:
    folder = run.root / "documents"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(path: Path, numbers: range, **more) -> None:
    lines = "".join(json.dumps({"id": f"d{n}", "text": f"document {n}", **more}) + "\n" for n in numbers).encode()
    if path.suffix == ".gz":
        lines = gzip.compress(lines)
    if path.suffix == ".zst":
        lines = zstandard.compress(lines[: len(lines) // 2]) + zstandard.compress(lines[len(lines) // 2 :])
    path.write_bytes(lines)


def at_most(groups: int, monkeypatch) -> None:
    monkeypatch.setattr(input_groups, "ALONE", groups)
    monkeypatch.setattr(input_groups, "MOST", groups)


def various(folder: Path) -> None:
    """Fifteen files of several formats: one is empty, ids and texts occur twice, and some rows are bad or short."""
    for number in range(12):
        write(folder / f"{number:02d}.jsonl{('', '.gz', '.zst')[number % 3]}", range(9 * number, 9 * number + 12))
    (folder / "04b.jsonl").touch()
    again = "".join(f'{{"id": "d{n}", "text": "again {n}"}}\n\n' for n in (3, 70, 2))
    (folder / "07b.jsonl").write_text(f'\n{{"id": "e", "text": " "}}\nbroken\n{again}{{"id": "f", "text": "f"}}\n\n')
    table = pyarrow.table({"id": [f"p{n}" for n in range(9)] + ["d1"], "text": [f"row {n}" for n in range(10)]})
    pyarrow.parquet.write_table(table, folder / "08b.parquet")
