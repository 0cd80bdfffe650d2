"""Samples the first documents of a corpus before a run reads it: their length, and whether they are usable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.corpus_files import file_problem
from megatron_sbp.documents.one_file import is_usable, rows_of_file
from megatron_sbp.documents.patterns import names_matching
from megatron_sbp.documents.reading import BadDocument
from megatron_sbp.recipe import Documents

MOST_DOCUMENTS, MOST_BYTES = 1000, 2_000_000
_LONGEST_READ = 64 << 20
"""Maximum bytes to read from a file, so that one without line feeds is not read completely."""


class Sample(TypedDict):
    """The sampled documents."""

    file: str
    """Its name."""
    documents: int
    bytes: float
    """Mean bytes of a document's text in UTF-8."""
    corpus: int | None
    """Usable documents of the whole corpus, if all of it was sampled."""


@dataclass(frozen=True)
class Look:
    """The beginning of a file."""

    sizes: list[int]
    """Bytes of text of every usable document."""
    whole: bool
    """Whether the whole file was read."""
    problem: InputError | None
    """The problem, if any."""
    stops: bool = True
    """Whether a run would stop at the problem; otherwise it skips all sampled rows."""


class _Enough(Exception):
    """The read limit was exceeded."""


def look_into(file: Path, documents: Documents) -> Look:
    """Reads the first 1,000 rows of a file as the stage does, at most 2 MB of text."""
    sizes: list[int] = []
    read = 0
    first_bad: str | None = None
    left = _LONGEST_READ

    def on_bytes(count: int) -> None:
        nonlocal left
        left -= count
        if left < 0:
            raise _Enough

    try:
        for line, found in rows_of_file(file, documents, on_bytes):
            read += 1
            if isinstance(found, BadDocument):
                place = f"'{found.key}': " if found.key else ""
                first_bad = first_bad or f"{place}{found.reason} (row {line})"
            elif is_usable(found, documents):
                sizes.append(len(found.text.encode()))
            if read == MOST_DOCUMENTS or sum(sizes) > MOST_BYTES:
                return _looked(file, sizes, False, read, first_bad)
    except _Enough:
        reason = f"no document in its first {_LONGEST_READ >> 20} MB: is it JSON lines?"
        return Look(sizes, False, None if sizes else InputError(reason, file=file))
    except InputError as error:
        return Look(sizes, False, error)
    return _looked(file, sizes, True, read, first_bad)


def _looked(file: Path, sizes: list[int], whole: bool, read: int, first_bad: str | None) -> Look:
    if sizes:
        return Look(sizes, whole, None)
    what = "its first document" if read == 1 else f"none of its first {read:,} documents"
    why = f"the first bad one: {first_bad}" if first_bad else "empty, or shorter than documents.min_characters"
    reason = f"{what} is {'not ' * (read == 1)}usable: {why}" if read else "holds no document"
    return Look(sizes, whole, InputError(reason, file=file), stops=False)


def sample_of(documents: Documents, folder: Path) -> tuple[Sample | None, str | None]:
    """Samples the first file of the corpus.

    Args:
        documents: inputs, fields, min_characters, and bad_documents.
        folder: inputs are relative to it.

    Returns:
        The sample, or None without a usable document; and the problem with the file. Both are None if there is no file
        yet.
    """
    names = [name for pattern in documents.inputs[:1] for name in names_matching(pattern, folder, recursive=False)]
    if documents.bad_documents == "skip":  # matches that are not files are skipped
        names = [name for name in names if (folder / name).is_file()]
    if not names:
        return None, None
    file = folder / min(names)
    problem = file_problem(file)
    if problem is not None:
        return None, f"the run will be refused: {InputError(problem, file=file)}"
    look = look_into(file, documents)
    wrong = None
    if look.problem is not None:
        wrong = f"the run will be refused: {look.problem}" if look.stops else str(look.problem)
    number = len(look.sizes)
    if not number:
        return None, wrong
    all_of_it = look.whole and len(names) == len(documents.inputs) == 1
    mean = sum(look.sizes) / number
    return Sample(file=file.name, documents=number, bytes=mean, corpus=number if all_of_it else None), wrong
