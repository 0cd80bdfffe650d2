"""Units of the sharded stages, the array tasks that share them, and the files of the run."""

from __future__ import annotations

import math

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.assumptions import bytes_per_token
from megatron_sbp.planning.index_layout import IndexPlan, layout
from megatron_sbp.planning.query_blocks import block_count_of
from megatron_sbp.planning.recall_points import recall_iterations, save_interval
from megatron_sbp.recipe import Filter, Recipe
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.sections import Synthesis

_OF_A_CHECKPOINT = 4
"""Files of a torch_dist checkpoint besides one or two per rank: metadata twice, what all ranks share, the seal."""

_OF_A_TUNING = 4
"""Checkpoints of a running tuning at most: those that training/retention.py keeps, and the one that is written."""

_OF_A_STAGE, _STAGES = 5, 10
"""Files in stages/ for any stage; stages of a synthesizer."""

PAIRS_PER_UNIT = 1_000_000
"""Pairs of a unit of `tokenize-pairs`: minutes of one core, 16 MB of row numbers."""

SEARCHES = {"keep": 1, "exact": 1, "near": 33}
"""Units of `deduplicate` by `filter.duplicates`: equal texts, and 32 bands of signatures."""

MEASURED = {"tuned": ("quality", "reading"), "samples": ("quality",), "replacement": ("quality",)}
"""Units of `evaluate` for a synthesizer, by its method."""

_SHARED = ("tokenize", "embed", "neighbors", "index-corpus", "pairs", "tokenize-pairs")
"""Stages that all replicates share."""


def plan_arrays(recipe: Recipe, plan: JsonObject) -> dict[str, dict[str, int]]:
    """Units and array tasks of the sharded stages whose units follow from the sizes of the recipe."""
    chosen = recipe.documents
    oracle = plan["unique_tokens"]["oracle"]["documents"]
    further = 0 if oracle is None else max(0, oracle - plan["unique_tokens"]["real"]["documents"])

    def shards(*sizes: int) -> int:
        return sum(-(-size // chosen.documents_per_shard) for size in sizes)

    mined = (chosen.train, chosen.valid)

    units = {
        "tokenize": shards(chosen.train, further, chosen.valid, chosen.test),
        "embed": shards(chosen.train, chosen.valid, chosen.test),
        "neighbors": sum(block_count_of(recipe, shards(size)) for size in mined),
    }
    index = plan_index(recipe, plan)
    if index is not None:
        units["index-corpus"] = index.parts
    for name in recipe.tuned_synthesizers:
        units["pairs" + end_of(name)] = shards(*mined)
        pairs = synthesizers_of(recipe, plan)[name]["tuning"]["pairs"]
        units["tokenize-pairs" + end_of(name)] = sum(
            max(1, math.ceil(pairs * size / chosen.train / PAIRS_PER_UNIT)) for size in mined
        )
    for name in recipe.used_synthesizers:
        synthesis = recipe.for_synthesizer(name).synthesis
        size = synthesis.generations_per_shard
        written = -(-synthesizers_of(recipe, plan)[name]["synthesis"]["generations"] // size)
        if pilots(recipe, name):
            units["pilot" + end_of(name)] = -(-synthesis.pilot // size)
        compare = ("compare",) if compares(recipe, name) else ()
        for stage in ("synthesize", *compare, "judge", "filter", "tokenize-synthetic"):
            units[stage + end_of(name)] = written
        own = recipe.for_synthesizer(name)
        units["deduplicate" + end_of(name)] = SEARCHES[own.filter.duplicates]
        units["scan-corpus" + end_of(name)] = scan_parts(own, shards(chosen.train), written)
    measured = sum(len(MEASURED[recipe.synthesizers[name].method]) for name in recipe.used_synthesizers)
    units["evaluate"] = len(recipe.arms) + measured
    if recipe.evaluation.harness.tasks:
        units["harness"] = len(recipe.arms)
    return {stage: {"units": count, "tasks": min(count, recipe.slurm.array_size)} for stage, count in units.items()}


_SCANNED, _PARTS = 500_000, 512
"""Documents in a part that `scan-corpus` reads, about a quarter of an hour of one core; parts of a kind at most."""


def scanned_shards(recipe: Recipe, kind: str, shards: int) -> int:
    """Shards in a part that `scan-corpus` reads.

    Args:
        recipe: says how many documents a shard has.
        kind: `real` for shards of D; else they are of synthetic text.
        shards: of this kind.
    """
    size = recipe.documents.documents_per_shard if kind == "real" else recipe.synthesis.generations_per_shard
    return max(1, _SCANNED // size, -(-shards // _PARTS))


def scan_parts(recipe: Recipe, real: int, generations: int) -> int:
    """Units of `scan-corpus` for so many shards; `recipe` is that of the synthesizer."""
    kinds = {"real": real}
    if recipe.filter.contaminated is not None:
        kinds |= {"synthetic": generations, "generations": generations}
    return sum(-(-shards // scanned_shards(recipe, kind, shards)) for kind, shards in kinds.items())


def plan_index(recipe: Recipe, plan: JsonObject) -> IndexPlan | None:
    """The index of the shingles of D; None where nothing is looked up in it."""
    if not wants_index(recipe):
        return None
    real, shingle = plan["unique_tokens"]["real"], recipe.pairs.shingle_tokens
    shingles = max(real["documents"], round(real["tokens"]) - real["documents"] * shingle)
    return layout(shingles, int(recipe.filter.corpus_index_gb * (1 << 30)))


def wants_index(recipe: Recipe) -> bool:
    """Whether the text of any synthesizer is looked up in D."""
    return any(rules.max_corpus_copying is not None for rules in _filters(recipe))


def wants_task_items(recipe: Recipe) -> bool:
    """Whether the items of lm-eval's tasks are looked for in the text of any synthesizer."""
    return any(has_task_items(recipe.for_synthesizer(name)) for name in recipe.used_synthesizers)


def has_task_items(recipe: Recipe) -> bool:
    """The same, from the recipe of one synthesizer."""
    return recipe.filter.contaminated is not None and bool(recipe.evaluation.harness.tasks)


def wants_measures(recipe: Recipe) -> bool:
    """Whether a recipe uses rules whose measures are kept."""
    return any(value is not None for rules in _filters(recipe) for value in rules.further)


def pilots(recipe: Recipe, synthesizer: str) -> bool:
    """Whether the first generations of a synthesizer are filtered before the others are planned."""
    return has_pilot(recipe.for_synthesizer(synthesizer).synthesis, recipe.synthesizers[synthesizer].method)


def has_pilot(chosen: Synthesis, method: str) -> bool:
    """The same, from a synthesizer's own section and its method: replaced tokens need no pilot."""
    return chosen.pilot > 0 and method != "replacement"


def compares(recipe: Recipe, synthesizer: str) -> bool:
    """Whether the texts of a synthesizer are compared with their seed documents."""
    return recipe.for_synthesizer(synthesizer).filter.min_similarity is not None


def _filters(recipe: Recipe) -> list[Filter]:
    return [recipe.for_synthesizer(name).filter for name in recipe.used_synthesizers]


def plan_files(recipe: Recipe, plan: JsonObject) -> dict[str, int]:
    """Files of the run folder at its peak, by kind; logs and the few small ones are not counted."""
    arrays, replicates = plan["arrays"], plan["replicates"]
    written = sum(arrays["synthesize" + end_of(name)]["units"] for name in recipe.used_synthesizers)
    compared, scanned = (
        sum(entry["units"] for stage, entry in arrays.items() if stage.partition(".")[0] == each)
        for each in ("compare", "scan-corpus")
    )
    written_by = 1 + len(recipe.used_synthesizers)
    trainings = (len(recipe.arms) + len(recipe.tuned_synthesizers)) * replicates
    checkpoints = saved_checkpoints(recipe, plan)
    found = {
        "documents": 2 * arrays["tokenize"]["units"],  # the documents and their ids
        "embeddings": arrays["embed"]["units"],
        "neighbors": arrays["embed"]["units"] - -(-recipe.documents.test // recipe.documents.documents_per_shard),
        # The generations, what is judged of them (four or five files a shard), repeats, an audit, and those kept.
        # The overlap of the compared texts with D.
        "synthetic": written * replicates * (9 if wants_measures(recipe) else 8) + (compared + scanned) * replicates,
        **({"corpus_index": 1 + 2 * arrays["index-corpus"]["units"]} if "index-corpus" in arrays else {}),
        "checkpoints": checkpoints * (2 * plan["memory"]["ranks"] + _OF_A_CHECKPOINT),
        "exports": 7 * (len(recipe.arms) + len(recipe.used_synthesizers)) * replicates,
        "consumed": trainings * plan["memory"]["data_parallel"],
        # A manifest and a lock for every unit, and a few files for every stage.
        "manifests": 2
        * sum(
            entry["units"] * (1 if stage.partition(".")[0] in _SHARED else replicates)
            for stage, entry in arrays.items()
        )
        + replicates * _OF_A_STAGE * (_STAGES * written_by + trainings),
    }
    return {**found, "total": sum(found.values())}


def characters_learned(recipe: Recipe, plan: JsonObject) -> float:
    """Characters on which the tokenizer is trained: about as many as bytes."""
    of_corpus = plan["unique_tokens"]["real"]["tokens"] * bytes_per_token(plan["model"]["vocab_size"]["tokens"])
    return min(of_corpus, recipe.tokenizer.train_characters or math.inf)


def saved_checkpoints(recipe: Recipe, plan: JsonObject) -> int:
    """Checkpoints on disk at its peak.

    The training run of an arm keeps all its checkpoints until it ends, then the last; the oracle may run beside the
    baseline, and beside all tunings.
    """
    steps = max(arm["steps"] for arm in plan["arms"].values())
    models = len(plan["arms"]) + len(synthesizers_of(recipe, plan))
    first = max(-(-steps // save_interval(recipe, "baseline")), _of_tunings(recipe, plan))
    saves = first + -(-steps // recipe.training.save_interval) + models * plan["replicates"] - 2
    return saves + plan["replicates"] * sum(len(recall_iterations(recipe, arm)) for arm in recipe.arms)


def _of_tunings(recipe: Recipe, plan: JsonObject) -> int:
    """Checkpoints of all tunings while they run, at most; one is saved at every evaluation."""
    return sum(
        min(-(-entry["tuning"]["max_steps"] // recipe.for_synthesizer(name).tuning.eval_interval), _OF_A_TUNING)
        for name, entry in synthesizers_of(recipe, plan).items()
        if entry["tuning"]
    )


def synthesizers_of(recipe: Recipe, plan: JsonObject) -> dict[str, JsonObject]:
    """`tuning` and `synthesis` of every synthesizer by name; the plan has those of the first apart."""
    if not plan["synthesis"]:
        return {}
    first = {"tuning": plan["tuning"], "synthesis": plan["synthesis"]}
    return {recipe.used_synthesizers[0]: first, **plan["synthesizers"]}


def end_of(synthesizer: str) -> str:
    """The end of the names of a synthesizer's stages."""
    return "" if synthesizer == RELATED else f".{synthesizer}"
