"""What the recipe reads: input files, questions, models, all without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hub import cached, cached_snapshot, offline
from megatron_sbp.checkpoint.initial_weights import check_start
from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.pairing.embedding_model import model_files, model_folder
from megatron_sbp.planning.numbers import format_bytes
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tokenizer_folder import local_tokenizer, tokenizer_files

_LOOKED_INTO = 3
"""Files of the corpus that are opened; each takes a tenth of a second."""


def check_models(subject: Subject) -> Iterator[Finding]:
    """The embedding model, the tokenizer, and the synthesizer's start can be read offline."""
    recipe = subject.recipe
    if recipe is None:
        return
    try:
        folder = model_folder(recipe.embedding.model, recipe.folder)
        if folder is not None:
            model_files(folder)
        yield _model("embedding model", "embedding.model", recipe.embedding.model, folder is not None, _has_weights)
    except InputError as error:
        yield fail("embedding model", error.reason, "correct embedding.model")
    try:
        path = recipe.tokenizer.path
        if path is None:
            yield ok("tokenizer", "is trained by the run")
        else:
            yield _model("tokenizer", "tokenizer.path", path, local_tokenizer(recipe) is not None, _has_tokenizer)
    except InputError as error:
        yield fail("tokenizer", error.reason, "correct tokenizer.path")
    yield from _starts(recipe)


def _model(check: str, key: str, name: str, here: bool, whole: Callable[[Path], bool]) -> Finding:
    """Whether a model is a folder, or the cache has its main branch with what is needed of it."""
    snapshot = None if here else cached_snapshot(name)
    if here or (snapshot is not None and whole(snapshot)):
        return ok(check, f"{name}, {'a local folder' if here else 'in the local hub cache'}")
    fetch = f"`hf download {name}` where there is a network, with the same HF_HOME as here"
    if offline() and cached(name):  # a download that was interrupted, or of another revision
        return fail(check, f"{name}: the local hub cache does not have all of its main branch", fetch)
    if offline():
        return fail(check, f"{name} is neither a folder nor in the local hub cache", f"{fetch}; or a folder as {key}")
    return warn(check, f"{name} would be fetched from the network (HF_HUB_OFFLINE=0)", fetch)


def _has_weights(snapshot: Path) -> bool:
    return any(path.suffix in (".safetensors", ".bin") and path.is_file() for path in snapshot.rglob("*"))


def _has_tokenizer(snapshot: Path) -> bool:
    """Vocabularies come as tokenizer.json, vocab.json, vocab.txt, and NAME.model."""
    found = [path for path in tokenizer_files(snapshot) if path.is_file()]
    return any(path.name.startswith(("tokenizer.", "vocab")) or path.suffix == ".model" for path in found)


def _starts(recipe: Recipe) -> Iterator[Finding]:
    starts = {name: recipe.for_synthesizer(name).tuning.start or "last" for name in recipe.tuned_synthesizers}
    try:
        for name in starts:
            check_start(recipe.for_synthesizer(name))
    except InputError as error:
        yield fail("tuning start", str(error), "correct tuning.start")
    else:
        if starts:
            yield ok("tuning start", ", ".join(dict.fromkeys(starts.values())))


def _looked_into(found: list[Path], recipe: Recipe, text: str) -> Finding:
    """Whether the first documents of the first few files are what the stage `documents` takes."""
    from megatron_sbp.documents.sample import look_into

    looks = [look_into(path, recipe.documents) for path in found[:_LOOKED_INTO]]
    problems = [look for look in looks if look.problem is not None]
    remedy = (
        "correct the file, documents.inputs, or the names of its fields (documents.text_field, id_field, keep_fields)"
    )
    for look in problems:
        if look.stops:
            return fail("inputs", f"{text}; {look.problem}", remedy)
    if problems:
        nothing = len(problems) == len(looks)
        return (fail if nothing else warn)("inputs", f"{text}; {problems[0].problem}", remedy)
    return ok(
        "inputs", f"{text}; read the first {sum(len(look.sizes) for look in looks):,} documents of {len(looks):,}"
    )


def check_inputs(subject: Subject) -> Iterator[Finding]:
    """The corpus is there and can be read; so are questions, judge, and lm-eval's tasks, where the recipe names
    them. An endpoint is not asked."""
    from megatron_sbp.documents.corpus_files import corpus_files
    from megatron_sbp.documents.reading import check_fields
    from megatron_sbp.evaluation.harness_tasks import check_harness
    from megatron_sbp.evaluation.judge_file import check_judge
    from megatron_sbp.evaluation.questions import read_questions
    from megatron_sbp.recipe.user_functions import check_function, predicate_place

    recipe = subject.recipe
    if recipe is None:
        return
    remedy = "correct documents.inputs, or put the files there (paths are relative to the recipe's folder)"
    try:
        check_fields(recipe.documents, recipe.source)
        found, passed_over = corpus_files(recipe.documents, recipe.folder, recipe.place_of("documents.inputs"))
        unreadable = [path for path in found if not os.access(path, os.R_OK)]
        size = sum(path.stat().st_size for path in found)
    except InputError as error:
        yield fail("inputs", str(error), remedy)
    except OSError as error:
        yield fail("inputs", f"{error.filename}: {error.strerror}", remedy)
    else:
        text = f"{len(found):,} file{'' if len(found) == 1 else 's'}, {format_bytes(size)}"
        if unreadable:
            yield fail("inputs", f"{text}; no permission to read {unreadable[0]}", "`chmod` or another copy")
        else:
            if passed_over:
                yield warn("inputs", f"{text}; passed over: {passed_over[0].path}", passed_over[0].reason)
            looked = _looked_into(found, recipe, text)
            if looked.status != "ok" or not passed_over:
                yield looked
    named = {
        "questions": recipe.evaluation.questions,
        "judge": recipe.evaluation.judge,
        "judge_endpoint": recipe.evaluation.judge_endpoint.base_url,
        "harness": ", ".join(recipe.evaluation.harness.tasks) or None,
    }
    checks = {"questions": read_questions, "harness": check_harness}
    for check, told in named.items():
        if told is None:
            continue
        try:
            checks.get(check, check_judge)(recipe)
        except InputError as error:
            yield fail(check, str(error), f"correct evaluation.{check}")
        else:
            yield ok(check, told)
    predicates = {name: recipe.for_synthesizer(name) for name in recipe.used_synthesizers}
    for told in dict.fromkeys(own.filter.predicate for own in predicates.values()):
        own = next(own for own in predicates.values() if own.filter.predicate == told)
        if told is None:
            continue
        try:
            check_function(own, predicate_place(own))
        except InputError as error:
            yield fail("predicate", str(error), "correct filter.predicate")
        else:
            yield ok("predicate", told)
