"""The files of a rehearsal's corpus: the beginnings of the run's, or made-up documents in files of the same kinds."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megatron_sbp.documents.corpus_files import SUFFIXES, corpus_files, find_files
from megatron_sbp.documents.patterns import names_matching
from megatron_sbp.recipe import Recipe

_FILES = 2
"""Files for each pattern of the recipe."""

_FURTHER = 256
"""Further files in all, where those have too few documents: a document for every split fits into as many."""


@dataclass(frozen=True)
class CorpusFile:
    """A file that will be written.

    Attributes:
        name: relative to the corpus's folder.
        source: the file whose beginning it gets; None for made-up documents.
    """

    name: str
    source: Path | None


@dataclass(frozen=True)
class Corpus:
    """What will be written.

    Attributes:
        patterns: `documents.inputs`, relative to the corpus's folder.
        files: that they match.
        made_up: whether the documents are.
        further: files that are written too where `files` have too few documents.
    """

    patterns: list[str]
    files: list[CorpusFile]
    made_up: bool
    further: list[CorpusFile] = field(default_factory=list)


def plan_corpus(recipe: Recipe) -> Corpus:
    """Which files a rehearsal reads.

    Raises:
        InputError: some of the patterns match files and others do not, or a match cannot be read.
    """
    patterns = recipe.documents.inputs
    made_up = not any(names_matching(pattern, recipe.folder, recursive=True) for pattern in patterns)
    if not made_up:
        corpus_files(recipe.documents, recipe.folder, recipe.source)  # rejects what the real run would reject
    planned, files, further, taken = [], [], list[CorpusFile](), set[Path]()
    for place, pattern in enumerate(patterns):
        sources: Sequence[Path | None] = [None] * (_FILES if glob.has_magic(pattern) else 1)
        found: list[Path] = []
        if not made_up:
            matching, _ = find_files([pattern], recipe.folder, recipe.source, "documents.inputs")
            found = [path for path in matching if path not in taken]
            sources = [found[0], found[-1]][: min(len(found), _FILES)] if found else []
            taken.update(path for path in sources if path is not None)
        if not sources:
            continue
        suffixes = [_suffix(path.name if path else pattern) for path in sources]
        names = [f"{place}/{number:05d}{suffix}" for number, suffix in enumerate(suffixes)]
        ending = suffixes[0] if len(set(suffixes)) == 1 else ""
        planned.append(f"{place}/*{ending}" if glob.has_magic(pattern) else names[0])
        files += [CorpusFile(name, source) for name, source in zip(names, sources, strict=True)]
        others = [path for path in found[1:-1] if path.name.endswith(ending)]
        further += [
            CorpusFile(f"{place}/{number:05d}{_suffix(path.name)}", path)
            for number, path in enumerate(others[:_FURTHER], start=len(names))
        ]
    return Corpus(planned, files, made_up, [file for file in further if file.source not in taken][:_FURTHER])


def _suffix(name: str) -> str:
    return next((suffix for suffix in reversed(SUFFIXES) if name.endswith(suffix)), ".jsonl")
