"""Reads a file's documents."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.documents.raw_rows import raw_rows
from megatron_sbp.documents.reading import fields_of, parse
from megatron_sbp.recipe import Documents


def settings(**fields) -> Documents:
    return Documents(inputs=["x"], train=1, valid=1, test=1, **fields)


def read(path: Path, documents: Documents):
    return [(line, parse(raw, documents)) for line, raw in raw_rows(path, fields_of(documents), lambda _: None)]
