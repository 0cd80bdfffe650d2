"""What a rehearsal's recipe names: documents, questions, and models, in one folder that is complete or absent."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import Documents, Model, Tokenizer
from megatron_sbp.rehearsal.corpus import Corpus
from megatron_sbp.rehearsal.questions import write_questions
from megatron_sbp.rehearsal.written_corpus import write_corpus

VERSION = 1
"""Raised when the same plan gives other files."""

CORPUS, QUESTIONS, EMBEDDER, START = "corpus", "questions.jsonl", "embedder", "start"
"""Names in the folder."""


@dataclass(frozen=True)
class Materials:
    """What is to be made.

    Attributes:
        corpus: files of documents.
        documents: the rehearsal's settings of them.
        count: documents of all splits.
        seed: of all that is made up.
        asked: whether there are questions.
        questions: the recipe's own; None where they are made up.
        group_field: field of the documents that questions are asked about.
        distinct_fields: fields in which no two made-up documents have the same value.
        embedder_tokens: tokens that the embedding model reads; None where none is made.
        start: shape of the checkpoint for the tuning; None where none is made.
        tokenizer: the run's, for that checkpoint: its settings, and its folder or name; None where one is made.
    """

    corpus: Corpus
    documents: Documents
    count: int
    seed: int
    asked: bool
    questions: Path | None
    group_field: str | None
    distinct_fields: Sequence[str]
    embedder_tokens: int | None
    start: Model | None
    tokenizer: tuple[Tokenizer, Path | str | None]

    @property
    def folder_name(self) -> str:
        """`inputs-1a2b3c4d`: different for different materials."""
        sources = [file.source for file in self.corpus.files]
        return f"inputs-{files.digest([VERSION, self._told(), *map(_stamp, [*sources, self.questions])])[:8]}"

    def _told(self) -> JsonObject:
        told = {name: getattr(self, name) for name in (field.name for field in dataclasses.fields(self))}
        told["corpus"] = [self.corpus.patterns, [file.name for file in self.corpus.files], self.corpus.made_up]
        told["documents"] = self.documents.model_dump(exclude={"inputs"})
        told["start"] = self.start and self.start.model_dump()
        told["tokenizer"] = self.start and [self.tokenizer[0].model_dump(), self.tokenizer[1]]
        return told


def write_materials(materials: Materials, folder: Path) -> None:
    """Makes the folder unless it exists; a half-made one has another name.

    Raises:
        InputError: the corpus has too few documents.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if materials.embedder_tokens is None and materials.start is None:
            _make(materials, half)
        else:  # in a process of its own: the memory that torch takes would stay with this one, which waits for stages
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                process.submit(_make, materials, half).result()
        half.chmod(0o755)
        os.rename(half, folder)  # noqa: PTH104 (fails where another process was faster)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _make(materials: Materials, folder: Path) -> None:
    say("rehearse: making the documents" + (" up" if materials.corpus.made_up else ""))
    made = write_corpus(
        materials.corpus,
        folder / CORPUS,
        materials.documents,
        count=materials.count,
        seed=materials.seed,
        group_field=materials.group_field,
        distinct_fields=materials.distinct_fields,
    )
    if materials.asked:
        grouped = materials.group_field is not None
        write_questions(folder / QUESTIONS, materials.questions, made.groups, grouped)
    if materials.embedder_tokens is not None:
        from megatron_sbp.rehearsal.made_up_models import make_embedder

        say("rehearse: making a tiny embedding model")
        make_embedder(folder / EMBEDDER, made.texts, materials.embedder_tokens, materials.seed)
    if materials.start is not None:
        from megatron_sbp.rehearsal.made_up_models import make_start

        say("rehearse: making a tiny checkpoint for the tuning")
        settings, tokenizer = materials.tokenizer
        make_start(
            folder / START, materials.start, settings, texts=made.texts, tokenizer=tokenizer, seed=materials.seed
        )


def _stamp(file: Path | None) -> JsonValue:
    if file is None:
        return None
    stat = file.stat()
    return [str(file), stat.st_size, stat.st_mtime_ns]
