"""Checks before a run begins: an error in the recipe's own inputs should not take hours to appear."""

from __future__ import annotations

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import free_bytes
from megatron_sbp.base.hub import cached, check_available, offline
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.initial_weights import check_start
from megatron_sbp.documents.corpus_files import corpus_files
from megatron_sbp.documents.sample import sample_of
from megatron_sbp.evaluation.harness_tasks import check_harness
from megatron_sbp.executor.measured import read_measured
from megatron_sbp.pairing.embedding_model import model_folder
from megatron_sbp.planning.hardware import Hardware
from megatron_sbp.planning.numbers import format_bytes
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tokenizer_folder import local_tokenizer
from megatron_sbp.stages.run_folder import Run


def check_inputs(recipe: Recipe) -> None:
    """Checks the synthesizer's start, names on the hub, the questions, where the judge is, lm-eval's tasks, and that
    the corpus is there.

    Raises:
        InputError: one of them would stop a later stage.
    """
    from megatron_sbp.evaluation.judge_file import check_judge
    from megatron_sbp.evaluation.questions import read_questions

    for name in recipe.tuned_synthesizers:
        check_start(recipe.for_synthesizer(name))
    read_questions(recipe)
    check_judge(recipe)
    check_harness(recipe)
    for key, name in hub_names(recipe).items():
        try:
            check_available(name, key)
        except InputError as error:
            raise recipe.error(key, error.reason) from None
    missing = missing_corpus(recipe)
    if missing is not None:
        raise missing


def missing_corpus(recipe: Recipe) -> InputError | None:
    """Why `documents` would fail before it reads anything, such as a pattern that matches no file."""
    try:
        corpus_files(recipe.documents, recipe.folder, recipe.place_of("documents.inputs"))
    except InputError as error:
        return error
    return None


def plan_run(run: Run, hardware: Hardware | None = None) -> JsonObject:
    """The plan of a run (`make_plan`), with the measurements of its folder; its warnings include what would stop it."""
    sample, wrong = sample_of(run.recipe.documents, run.recipe.folder)
    plan = make_plan(run.recipe, read_measured(run), hardware, sample)
    missing = missing_corpus(run.recipe) if wrong is None else None
    if missing is not None:
        wrong = f"the run will be refused: {missing.reason}"
    of_inputs = [] if wrong is None else [f"documents.inputs: {wrong}"]
    plan["warnings"] += [*of_inputs, *_refusals(run.recipe), *_disk_space(run, plan["disk"]["total"])]
    return plan


def hub_names(recipe: Recipe) -> dict[str, str]:
    """Names on the hub by recipe key. Raises InputError for a folder that does not exist."""
    found = {}
    if recipe.tokenizer.path is not None and local_tokenizer(recipe) is None:
        found["tokenizer.path"] = recipe.tokenizer.path
    if model_folder(recipe.embedding.model, recipe.folder) is None:
        found["embedding.model"] = recipe.embedding.model
    return found


def _refusals(recipe: Recipe) -> list[str]:
    found = []
    try:
        for name in recipe.tuned_synthesizers:
            check_start(recipe.for_synthesizer(name))
    except InputError as error:
        found.append(f"tuning.start: the tuning will be refused: {error}")
    try:
        missing = {key: name for key, name in hub_names(recipe).items() if offline() and not cached(name)}
        found += [f"{key}: not in the local hub cache: `hf download {name}` first" for key, name in missing.items()]
    except InputError as error:
        found.append(f"{error.key}: the run will be refused: {error.reason}")
    try:
        check_harness(recipe)
    except InputError as error:
        found.append(f"evaluation.harness: the run will be refused: {error}")
    return found


def _disk_space(run: Run, needed: int) -> list[str]:
    free = free_bytes(run.root)
    if needed <= free:
        return []
    there = " (what the run folder holds already counts)" if run.root.exists() else ""
    return [f"the run needs about {format_bytes(needed)} on disk{there}, and {run.root} has {format_bytes(free)} free"]
