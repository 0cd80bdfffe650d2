"""Warnings about the jobs of a plan: memory, layout, arrays, time limits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.cost_text import span
from megatron_sbp.planning.job_limits import cpus_of, kind_of, memory_limit, time_limit
from megatron_sbp.planning.numbers import format_bytes, format_hours
from megatron_sbp.planning.units import end_of, synthesizers_of
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.names import MOST_SHARDS
from megatron_sbp.recipe.time_limit import minutes_of

USUAL_ARRAY = 1000
"""Array tasks that Slurm allows by default: MaxArraySize 1001, counted from 0."""

LONG_LAST_STEP = 0.5
"""Hours that the last step of `documents`, which is one task, should take at most."""

LONG = 1.0
"""GPU-hours of a stage below which it does not matter how many tasks share it."""


def job_warnings(recipe: Recipe, plan: JsonObject) -> Iterator[str]:
    """One sentence per warning; see `plan_warnings`."""
    launch, hardware = recipe.launch, plan["hardware"]
    if launch.device != "cpu":
        yield from _memory(plan)
        if launch.ranks_per_node % launch.tensor_parallel:
            yield (
                f"launch.tensor_parallel {launch.tensor_parallel} does not divide the {launch.ranks_per_node} ranks of "
                "a node: some of its groups span nodes, and every layer waits for the network between them"
            )
        yield from _ranks_on_a_node(recipe)
    if launch.device == "cuda":
        yield from _precisions(recipe)
    if recipe.slurm.array_size > USUAL_ARRAY:
        yield (
            f"slurm.array_size {recipe.slurm.array_size:,} is more than the {USUAL_ARRAY:,} tasks that Slurm allows by "
            "default (MaxArraySize); `sbp submit` takes as many as the site allows"
        )
    yield from _shards(recipe, plan)
    yield from _host_memory(recipe, plan)
    yield from _cpu_times(recipe, plan)
    if hardware["gpus"] is not None:
        for stage, unit, hours in _gpu_arrays(recipe, plan):
            yield from _about_array(recipe, stage, unit, plan["arrays"][stage]["units"], hours)


def _precisions(recipe: Recipe) -> Iterator[str]:
    for name, section in (
        ("training", recipe.training),
        ("embedding", recipe.embedding),
        ("synthesis", recipe.synthesis),
    ):
        if section.precision == "fp32":
            yield (
                f"{name}.precision is fp32: the hours here are those of bf16, of which a GPU does several times as much"
            )


def _shards(recipe: Recipe, plan: JsonObject) -> Iterator[str]:
    for name, entry in synthesizers_of(recipe, plan).items():
        stage = "synthesize" + end_of(name)
        if (units := plan["arrays"][stage]["units"]) > MOST_SHARDS:
            yield (
                f"{stage}: the run will be refused: {entry['synthesis']['generations']:,} generations are {units:,} "
                f"shards, and at most {MOST_SHARDS:,} are allowed: synthesis.generations_per_shard must be at least "
                f"{-(-entry['synthesis']['generations'] // MOST_SHARDS):,}"
            )


def _ranks_on_a_node(recipe: Recipe) -> Iterator[str]:
    training, ranks = recipe.slurm.stages.get("training"), recipe.launch.ranks_per_node
    gpus = (training and training.gpus_per_node) or recipe.slurm.gpus_per_node
    if recipe.launch.device != "cuda" or gpus is None or gpus == ranks:
        return
    what = "`sbp submit` will refuse that" if ranks > gpus else f"{gpus - ranks} of them would be idle"
    yield (
        f"slurm.gpus_per_node {gpus}, launch.ranks_per_node {ranks}: a training run has a rank for every GPU of its "
        f"nodes; {what}"
    )


def _memory(plan: JsonObject) -> Iterator[str]:
    hardware = plan["hardware"]
    sizes = {stage: entry["total"] for stage, entry in plan["memory"]["trainings"].items()}
    large = {stage: size for stage, size in sizes.items() if size > hardware["device_bytes"]}
    if large:
        yield (
            f"a rank needs about {format_bytes(max(large.values()))} ({', '.join(large)}), more than the "
            f"{format_bytes(hardware['device_bytes'])} of an {hardware['gpu']}; launch.distributed_optimizer, "
            "tensor_parallel or a smaller micro_batch_size reduce it"
        )


def _gpu_arrays(recipe: Recipe, plan: JsonObject) -> Iterator[tuple[str, str, float]]:
    """Arrays that use GPUs: the stage, the recipe key that sizes a unit, and GPU-hours of all units."""
    shard = "documents.documents_per_shard"
    yield "embed", shard, plan["embedding"]["gpu_hours"]
    if recipe.neighbors.engine == "exact":
        yield "neighbors", shard, plan["neighbors"]["exact_gpu_hours"]
    for name, entry in synthesizers_of(recipe, plan).items():
        yield "synthesize" + end_of(name), "synthesis.generations_per_shard", entry["synthesis"]["gpu_hours"]
        if "compare" + end_of(name) in plan["arrays"]:
            yield "compare" + end_of(name), "synthesis.generations_per_shard", entry["synthesis"]["compare_gpu_hours"]


def _about_array(recipe: Recipe, stage: str, key: str, units: int, hours: float) -> Iterator[str]:
    # Few tasks of the exact search are by design: each of them reads all vectors (query_blocks.py).
    if hours > LONG and 2 * units <= recipe.slurm.array_size and stage != "neighbors":
        yield (
            f"{stage}: {units:,} units for up to {recipe.slurm.array_size:,} array tasks: most would have nothing to "
            f"do; a smaller {key} makes more units"
        )
    limit = time_limit(recipe, stage)
    if hours / units > minutes_of(limit) / 60:
        yield (
            f"{stage}: a unit takes about {format_hours(hours / units)} hours of a GPU and must end within the time "
            f"limit of {limit}: choose a smaller {key} or more time (slurm.stages)"
        )


def _cpu_times(recipe: Recipe, plan: JsonObject) -> Iterator[str]:
    """Stages on CPUs of which a unit, or the last step, does not end within the time limit."""
    for stage, entry in plan["cpu"].items():
        limit = time_limit(recipe, stage, "cpu")
        cores = f"on {cpus_of(recipe, stage)} cores"
        if (entry["unit_hours"] or 0) > minutes_of(limit) / 60:
            key = _SIZED_BY.get(stage.partition(".")[0], "synthesis.generations_per_shard")
            yield (
                f"{stage}: a unit takes about {span(entry['unit_hours'])} {cores} and must end within "
                f"the time limit of {limit}: choose {f'a smaller {key} or ' if key else ''}more time (slurm.stages)"
            )
        if stage == "documents" and entry["last_step_hours"] > LONG_LAST_STEP:
            enough = 8 * math.ceil(entry["last_step_hours"] * cpus_of(recipe, stage) / LONG_LAST_STEP / 8)
            yield (
                f"documents: its last step takes about {span(entry['last_step_hours'])} {cores}; with {enough} cores "
                f"less than {span(LONG_LAST_STEP)} (slurm.stages: {{documents: {{cpus_per_task: {enough}}}}})"
            )
        if entry["last_step_hours"] > minutes_of(limit) / 60:
            what, cure = "its last step takes", "more cores"
            if stage == "tokenizer":
                what, cure = "it takes", "a smaller tokenizer.train_characters"
            yield (
                f"{stage}: {what} about {span(entry['last_step_hours'])} {cores} and must "
                f"end within the time limit of {limit}: choose {cure} or more time (slurm.stages)"
            )


_SIZED_BY = {
    "tokenize": "documents.documents_per_shard",
    "pairs": "documents.documents_per_shard",
    "tokenize-pairs": "",
    "deduplicate": "",
}
"""Keys that size a unit; none where its size is fixed."""


def _host_memory(recipe: Recipe, plan: JsonObject) -> Iterator[str]:
    """Stages that need more than their jobs ask for."""
    for stage, entry in plan["host_memory"].items():
        limit = memory_limit(recipe, stage, kind_of(recipe, stage))
        if entry["job"] > limit:
            step = " in its last step" if entry["last_step"] > entry["task"] else ""
            yield (
                f"{stage}: a job needs at least {format_bytes(entry['job'])} of memory{step}, and slurm.memory gives "
                f"it {format_bytes(limit)}: ask for more (slurm.stages)"
            )
