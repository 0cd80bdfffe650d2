"""Files of numbered documents, and a recipe that reads them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents, Recipe


def recipe(folder: Path, *inputs: str, **more) -> Recipe:
    documents = Documents(inputs=[str(folder / each) for each in inputs], train=10, valid=2, test=2, **more)
    return small_recipe(folder / "run", documents)


def fill(path: Path, first: int, count: int, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"text": f"document {n} " + "word " * 10, **more}) + "\n" for n in range(first, first + count)]
    path.write_bytes(gzip.compress("".join(rows).encode()) if path.suffix == ".gz" else "".join(rows).encode())
    return path


def numbers(path: Path) -> list[int]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [int(json.loads(line)["text"].split()[1]) for line in data.splitlines()]
