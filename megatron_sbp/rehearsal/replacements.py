"""Replacements for what is missing where a rehearsal runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hub import cached, offline
from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.evaluation.harness_tasks import defined_tasks, task_folder
from megatron_sbp.evaluation.judge_file import judge_place
from megatron_sbp.pairing.embedding_model import model_folder
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tokenizer_folder import local_tokenizer
from megatron_sbp.recipe.tuning_start import WORDS
from megatron_sbp.rehearsal.changes import REMOVED, Draft, Key
from megatron_sbp.rehearsal.made_up_documents import SIMILARITY
from megatron_sbp.rehearsal.site import Site

LEARNING_RATE = 1e-2
"""At least. With less, models still write random bytes, not text, after so few steps; a filter drops them."""
MARGIN = 3.0
"""Generations are planned for at least this many times the tokens: how many the filters drop is random here."""
MARGIN_AFTER_PILOT = 1.5
"""The same where a pilot has measured how many they drop."""

TASK_DOCUMENTS = 8
"""Documents of each of lm-eval's tasks."""

RANDOM_SIMILARITY = 0.8
"""Neighbors are more similar than this to an embedding model with random weights."""

_NOT_ON_CPU = {
    "sequence-parallel": "needs Transformer Engine",
    "fp8": "needs Transformer Engine on a GPU",
    "fp8-format": "needs Transformer Engine on a GPU",
    "fp16": "has no CPU kernels",
    "use-megatron-fsdp": "needs CUDA streams",
    "cuda-graph-impl": "needs CUDA",
    "overlap-p2p-comm-warmup-flush": "needs CUDA streams",
}
"""Megatron flags that training/megatron/cpu.py refuses."""


def replace_engines(draft: Draft, recipe: Recipe, site: Site) -> None:
    """Devices and engines that are missing."""
    if not site.slurm and not site.gpus and recipe.launch.device == "cuda":
        # Not `cpu`: submitted to Slurm, the same recipe requests the GPUs that the real one requests.
        draft.set(("launch", "device"), "auto", "replaced", "no CUDA device here: runs on the CPU")
    for section, usual in (("synthesis", "transformers"), ("embedding", "sentence_transformers")):
        python = (section, "vllm", "python")
        if draft.get(*python) is not None:
            # Not resolved: the link that is called `python` tells the interpreter which environment it is in.
            place = str(recipe.folder / draft.get(*python))
            draft.set(python, place, "own", "the same program, as it is called from here")
        for key in _places(draft, section, "engine"):
            installed = "vllm" in site.packages or draft.get(*python) is not None
            if draft.get(*key) == "vllm" and not (site.on_gpu(recipe) and installed):
                why = "vLLM is not installed here" if site.on_gpu(recipe) else "vLLM needs a GPU, and none is here"
                draft.set(key, usual, "replaced", why)
    if recipe.neighbors.engine == "scann" and "scann" not in site.packages:
        draft.set(("neighbors", "engine"), "exact", "replaced", "ScaNN is not installed here")
    if not site.on_gpu(recipe):
        if recipe.embedding.precision == "fp16":
            draft.set(("embedding", "precision"), "fp32", "replaced", "fp16 has no CPU kernels worth using")
        for path, flags in _megatron_flags(recipe):
            for flag in flags:
                refused = _NOT_ON_CPU.get(flag.replace("_", "-"))
                if refused:
                    draft.set((*path, flag), REMOVED, "replaced", f"{refused}: left out")
    for path, flags in _megatron_flags(recipe):
        for flag in ("recompute-num-layers", "recompute_num_layers"):
            layers = flags.get(flag)
            if isinstance(layers, int):
                draft.set((*path, flag), min(layers, draft.get("model", "num_layers")), "size")


def _megatron_flags(recipe: Recipe) -> Iterator[tuple[Key, Mapping[str, JsonValue]]]:
    """`training.megatron`, and what arms have in its place."""
    yield ("training", "megatron"), recipe.training.megatron
    for name, arm in recipe.arms.items():
        if "megatron" in arm.training:
            yield ("arms", name, "training", "megatron"), arm.training["megatron"]


def replace_rules(draft: Draft, recipe: Recipe, made_up: bool, embedder_made: bool) -> None:
    """Relaxes rules that would drop all of so few documents, written by a model after so few steps.

    Args:
        draft: is changed.
        recipe: the real one.
        made_up: whether the documents are made up.
        embedder_made: whether the embedding model is one with random weights.
    """
    for key in _places(draft, "pairs", "alpha"):
        if made_up:
            lower = min(float(draft.get(*key)), RANDOM_SIMILARITY if embedder_made else SIMILARITY)
            draft.set(key, lower, "replaced", "made-up documents on one topic are that similar")
        else:
            draft.set(key, -1.0, "replaced", "so few documents may have no neighbors this near: all neighbors are kept")
    for key in _places(draft, "pairs", "max_similarity"):
        if draft.get(*key) is not None and (embedder_made or not made_up):
            draft.set(key, None, "replaced", "similarities differ here")
    for key in _places(draft, "filter", "unfinished"):
        why = f"after so few steps a model finishes hardly any text, and {draft.get(*key)} would leave none"
        draft.set(key, "keep", "replaced", why)
    _raise_learning_rates(draft)
    piloted = all(draft.get(*key) for key in _places(draft, "synthesis", "pilot"))
    for key in _places(draft, "synthesis", "margin"):
        why = "how many texts the filters drop is random here"
        least = MARGIN_AFTER_PILOT if piloted else MARGIN
        draft.set(key, max(float(draft.get(*key)), least), "replaced", why)


def _raise_learning_rates(draft: Draft) -> None:
    why = "a model must learn to write whole characters in so few steps"
    keys: list[Key] = [("training", "learning_rate")]
    keys += [
        ("arms", name, "training", "learning_rate")
        for name, arm in draft.get("arms").items()
        if "learning_rate" in arm["training"]
    ]
    starts = [draft.get(*key) for key in _places(draft, "tuning", "start")]
    if any(start not in (None, "last", "best") for start in starts):  # new weights
        keys += _places(draft, "tuning", "learning_rate")
    for key in keys:
        draft.set(key, max(float(draft.get(*key)), LEARNING_RATE), "replaced", why)


def _places(draft: Draft, section: str, name: str) -> Iterator[Key]:
    """A key of a section, and the same key wherever a synthesizer overrides it."""
    yield section, name
    for synthesizer, about in draft.get("synthesizers").items():
        if name in about.get(section, {}):
            yield "synthesizers", synthesizer, section, name


def replace_embedder(draft: Draft, recipe: Recipe, made: str) -> bool:
    """Whether an embedding model must be made, in the folder `made`, relative to the rehearsal's recipe."""
    why = _missing(recipe, recipe.embedding.model, lambda: model_folder(recipe.embedding.model, recipe.folder))
    if why is None:
        _name_from_here(draft, recipe, ("embedding", "model"))
        return False
    draft.set(("embedding", "model"), made, "replaced", f"{why}: a tiny BERT with random weights")
    return True


def replace_judge(draft: Draft, recipe: Recipe, made_up: bool) -> None:
    """A judge that is a function knows real documents: made-up ones have none. An endpoint is never asked.

    Args:
        draft: is changed.
        recipe: the real one.
        made_up: whether the documents are made up.
    """
    if recipe.evaluation.judge_endpoint.base_url is not None:
        why = "a rehearsal asks no endpoint: no text leaves this machine, and nothing is paid for"
        for name in ("base_url", "model"):
            draft.set(("evaluation", "judge_endpoint", name), None, "replaced", why)
    key, place = ("evaluation", "judge"), judge_place(recipe)
    if place is None:
        return
    if made_up:
        draft.set(key, None, "replaced", "the judge knows nothing about made-up documents")
    else:
        draft.set(key, f"{place.file.resolve()}:{place.name}", "own", "the same file, as it is called from here")


def replace_further_rules(draft: Draft) -> None:
    """Further filters: what a model writes after so few steps would not pass a user's function; copies are counted, and
    none is dropped."""
    for key in _places(draft, "filter", "predicate"):
        if draft.get(*key) is not None:
            draft.set(key, None, "replaced", "what a model writes after so few steps is not worth judging")
    for key in _places(draft, "filter", "contaminated"):
        if draft.get(*key) is not None:
            draft.set(key, "keep", "replaced", "so few documents may be alike: contaminated texts are only counted")
    for key in _places(draft, "filter", "max_corpus_copying"):
        if draft.get(*key) is not None:
            draft.set(key, 1.0, "replaced", "a model may write nothing new after so few steps: copies are only counted")
    for key in _places(draft, "filter", "min_similarity"):
        if draft.get(*key) is not None:
            draft.set(key, -1.0, "replaced", "a model ignores its seed after so few steps: similarity is only measured")


def replace_harness(draft: Draft, recipe: Recipe, site: Site) -> None:
    """lm-eval's tasks: some documents of each, or none where task files or lm-eval are not here."""
    key: Key = ("evaluation", "harness")
    harness, folder = recipe.evaluation.harness, task_folder(recipe)
    if folder is None:
        return
    why = None if harness.python or "lm_eval" in site.packages else "lm-eval is not installed here"
    if not folder.is_dir():
        why = "the folder of its task files is not here"
    if why:
        for name in ("tasks", "shots", "metrics"):
            if getattr(harness, name):
                draft.set((*key, name), [] if name == "tasks" else {}, "replaced", f"{why}: no benchmark tasks")
        return
    known = defined_tasks(folder)
    there = [name for name in harness.tasks if name in known]
    if len(there) < len(harness.tasks):
        why = f"not in the folder of task files: {', '.join(name for name in harness.tasks if name not in known)}"
        draft.set((*key, "tasks"), there, "replaced", why)
        for name in ("shots", "metrics"):
            chosen = getattr(harness, name)
            if not chosen.keys() <= set(there):
                draft.set((*key, name), {task: chosen[task] for task in chosen if task in there}, "replaced", why)
    draft.set((*key, "task_folder"), str(folder.resolve()), "own", "the same folder, as it is called from here")
    draft.set((*key, "limit"), min(TASK_DOCUMENTS, harness.limit or TASK_DOCUMENTS), "size")
    if harness.backend == "vllm" and not (site.on_gpu(recipe) and (harness.python or "vllm" in site.packages)):
        draft.set((*key, "backend"), "hf", "replaced", "vLLM or a GPU is missing here")
    if harness.python is not None:
        # Not resolved, see synthesis.vllm.python.
        place = str(recipe.folder / harness.python)
        draft.set((*key, "python"), place, "own", "the same program, as it is called from here")


def replace_tokenizer(draft: Draft, recipe: Recipe, start: str) -> bool:
    """Whether a Hugging Face checkpoint for the tuning must be made, in the folder `start`: its shape is the model's.

    Args:
        draft: is changed.
        recipe: the real one.
        start: folder, relative to the rehearsal's recipe. It gets the tokenizer of the run, or one of its own.
    """
    starts = [key for key in _places(draft, "tuning", "start") if draft.get(*key) not in (None, *WORDS)]
    for key in starts:
        draft.set(key, start, "replaced", "its shape is not the small model's: a tiny one with random weights")
    path = recipe.tokenizer.path
    why = None if path is None else _missing(recipe, path, lambda: local_tokenizer(recipe))
    if starts and (why or path is None):
        why = why or "the checkpoint for the tuning differs"
        draft.set(("tokenizer", "path"), start, "replaced", f"{why}: a byte-level BPE, trained on some documents")
    elif why:
        draft.set(("tokenizer", "path"), None, "replaced", f"{why}: a byte-level BPE is trained on D")
    elif path is not None:
        _name_from_here(draft, recipe, ("tokenizer", "path"))
    return bool(starts)


def _missing(recipe: Recipe, name: str, folder_of: Callable[[], Path | None]) -> str | None:
    """Why a folder or a name on the hub is not here; None when it is."""
    try:
        folder = folder_of()
    except InputError as error:
        return error.reason
    return f"{name} is not in the local cache" if folder is None and offline() and not cached(name) else None


def _name_from_here(draft: Draft, recipe: Recipe, key: Key) -> None:
    """A folder that the real recipe names relative to its own place gets its full name."""
    value = draft.get(*key)
    if (recipe.folder / value).is_dir():
        draft.set(key, str((recipe.folder / value).resolve()), "own", "the same folder, as it is called from here")
