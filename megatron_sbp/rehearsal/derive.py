"""From a recipe to its rehearsal: sizes cut, and what is missing replaced, with a list of both."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.questions import question_file, question_files, read_questions
from megatron_sbp.recipe import Recipe, dump_recipe, load_recipe
from megatron_sbp.recipe.tokenizer_folder import local_tokenizer
from megatron_sbp.rehearsal.changes import Change, Draft
from megatron_sbp.rehearsal.corpus import Corpus, plan_corpus
from megatron_sbp.rehearsal.layout import cut_layout
from megatron_sbp.rehearsal.materials import CORPUS, EMBEDDER, QUESTIONS, START, Materials, write_materials
from megatron_sbp.rehearsal.replacements import (
    replace_embedder,
    replace_engines,
    replace_further_rules,
    replace_harness,
    replace_judge,
    replace_rules,
    replace_tokenizer,
)
from megatron_sbp.rehearsal.site import Site
from megatron_sbp.rehearsal.sizes import cut_sizes, scale_of

RECIPE = "recipe.yaml"

_HEADER = """# A rehearsal of {name}, written by `sbp rehearse`: `sbp run` and `sbp submit` take it like any recipe.
# To change it, copy it to another name in this folder.
# {digest}
"""

_INPUTS = "INPUTS"
"""Placeholder for the folder of materials until its name is known."""


@dataclass(frozen=True)
class Rehearsal:
    """A small recipe, and what differs in it.

    Attributes:
        recipe: the small one; its source is `file`.
        real: the recipe that it is a rehearsal of.
        file: where it is written.
        changes: all that differs.
        materials: what the recipe names.
    """

    recipe: Recipe
    real: Recipe
    file: Path
    changes: list[Change]
    materials: Materials


def derive(recipe: Recipe, folder: Path, site: Site) -> Rehearsal:
    """Makes a rehearsal of a recipe; writes nothing.

    Args:
        recipe: the real one.
        folder: where the rehearsal's recipe, its inputs, and its run folder will be.
        site: where it will run.

    Raises:
        InputError: the recipe's own inputs are there and cannot be used.
    """
    draft, folder = Draft(recipe), folder.resolve()
    launch = cut_layout(draft, recipe, site)
    cut_sizes(draft, recipe, scale_of(recipe, launch))
    replace_engines(draft, recipe, site)
    corpus = plan_corpus(recipe)
    why = "the corpus is not here: made-up documents" if corpus.made_up else "the beginnings of some files"
    inputs = [f"{_INPUTS}/{CORPUS}/{pattern}" for pattern in corpus.patterns]
    draft.set(("documents", "inputs"), inputs, "replaced" if corpus.made_up else "size", why)
    made_embedder = replace_embedder(draft, recipe, f"{_INPUTS}/{EMBEDDER}")
    made_start = replace_tokenizer(draft, recipe, f"{_INPUTS}/{START}")
    replace_rules(draft, recipe, corpus.made_up, made_embedder)
    replace_further_rules(draft)
    replace_judge(draft, recipe, corpus.made_up)
    replace_harness(draft, recipe, site)
    questions = _questions(draft, recipe, corpus)
    _own_names(draft, recipe, folder)
    materials = _materials(draft, recipe, corpus, questions=questions, embedder=made_embedder, start=made_start)
    draft.replace_text(_INPUTS, materials.folder_name)
    file = folder / RECIPE
    return Rehearsal(_checked(draft, file), recipe, file, draft.changes, materials)


def write(rehearsal: Rehearsal) -> Path:
    """Writes a rehearsal's recipe and what it names; returns the recipe's file.

    Raises:
        InputError: the file was changed since it was written; the corpus has too few documents.
    """
    file = rehearsal.file
    if file.exists() and not _is_ours(file):
        raise InputError(
            "was changed, or was not written by `sbp rehearse`, and is not replaced: `sbp run` takes it as it is; move "
            "it away to have it written again",
            file=file,
        )
    write_materials(rehearsal.materials, file.parent / rehearsal.materials.folder_name)
    text = _text(rehearsal)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        files.write_text(file, text)
    return file


def _text(rehearsal: Rehearsal) -> str:
    body = dump_recipe(rehearsal.recipe)
    return _HEADER.format(name=rehearsal.real.name, digest=files.digest(body)) + body


def _is_ours(file: Path) -> bool:
    """Whether a recipe is as `write` wrote it."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    head, body = lines[: _HEADER.count("\n")], lines[_HEADER.count("\n") :]
    return len(head) == _HEADER.count("\n") and head[-1].strip() == f"# {files.digest(''.join(body))}"


def _questions(draft: Draft, recipe: Recipe, corpus: Corpus) -> Path | None:
    """The recipe's own questions, where they can be asked about the documents; otherwise plans made-up ones."""
    file, field = question_file(recipe), recipe.evaluation.question_group_field
    if file is None:
        return None
    key = ("evaluation", "questions")
    if field is not None and recipe.documents.oracle:  # a question's group must be in some split
        draft.set(("documents", "oracle"), None, "size", "all that are left")
    if file.is_file() and not (corpus.made_up and field is not None):
        read_questions(recipe)
        why = "some of them" if field is None else "those about these documents; made-up ones if none is"
        draft.set(key, f"{_INPUTS}/{QUESTIONS}", "size", why)
        return file
    why = "they are about the corpus, which is not here" if file.is_file() else "the file is not here"
    if not file.is_file() and any(one.is_file() for one in question_files(recipe)):
        why = "they are in a folder, or in files of a pattern"
    draft.set(key, f"{_INPUTS}/{QUESTIONS}", "replaced", f"{why}: made-up questions")
    return None


def _own_names(draft: Draft, recipe: Recipe, folder: Path) -> None:
    draft.set(("name",), f"{recipe.name[:90]}-rehearsal", "own", "tells its jobs from the real ones")
    draft.set(("run_folder",), str(folder / "run"), "own", "its own run folder")
    draft.set(("note",), f"A rehearsal of {recipe.name}: its figures mean nothing.", "own", "for readers of the report")
    draft.set(("marks",), {}, "own", "no value here is the paper's")


def _materials(
    draft: Draft, recipe: Recipe, corpus: Corpus, *, questions: Path | None, embedder: bool, start: bool
) -> Materials:
    small = Recipe.model_validate(draft.values)
    documents, path = small.documents, small.tokenizer.path
    tokenizer = None if path is None or path.startswith(_INPUTS) else local_tokenizer(recipe) or path
    return Materials(
        corpus=corpus,
        documents=documents,
        count=documents.train + documents.valid + documents.test + min(recipe.documents.oracle or 32, 64),
        seed=recipe.seed,
        asked=recipe.evaluation.questions is not None,
        questions=questions,
        group_field=recipe.evaluation.question_group_field,
        distinct_fields=small.pairs.different_fields,
        embedder_tokens=small.embedding.max_tokens if embedder else None,
        start=small.model if start else None,
        tokenizer=(small.tokenizer, tokenizer),
    )


def _checked(draft: Draft, file: Path) -> Recipe:
    """The small recipe, checked as any recipe is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECIPE
        path.write_text(yaml.safe_dump(draft.values, sort_keys=False, allow_unicode=True), encoding="utf-8")
        recipe = load_recipe(path)
    recipe.source = file
    return recipe
