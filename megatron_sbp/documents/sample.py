"""The first documents of a corpus, for the plan: how long they are, before anything was read."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TypedDict

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.reading import BadDocument, raw_rows, row_of, text_of
from megatron_sbp.recipe import Documents

MOST_DOCUMENTS, MOST_BYTES = 1000, 2_000_000


class Sample(TypedDict):
    """What was looked at."""

    file: str
    """Its name."""
    documents: int
    bytes: float
    """Of a document's text in UTF-8, in the mean."""


def sample_of(documents: Documents, folder: Path) -> Sample | None:
    """Looks at the first 1,000 documents of the first file, at most 2 MB of text.

    Args:
        documents: inputs, text_field and min_characters.
        folder: inputs are relative to it.

    Returns:
        None where there is no file yet, or no document in it; errors are for the stage that reads them.
    """
    names = glob.glob(documents.inputs[0], root_dir=folder) if documents.inputs else []  # noqa: PTH207 (may be absolute)
    file = folder / min(names, default="")
    if not file.is_file():
        return None
    sizes: list[int] = []
    try:
        for _, raw in raw_rows(file, [documents.text_field], lambda read: None):
            text = _text(raw, documents.text_field)
            if len(text.strip()) >= max(1, documents.min_characters):
                sizes.append(len(text.encode()))
            if len(sizes) == MOST_DOCUMENTS or sum(sizes) > MOST_BYTES:
                break
    except (InputError, OSError):
        pass  # what could be read counts
    return Sample(file=file.name, documents=len(sizes), bytes=sum(sizes) / len(sizes)) if sizes else None


def _text(raw: object, field: str) -> str:
    try:
        return text_of(row_of(raw), field)
    except BadDocument:
        return ""
