"""Memory of machines, not of GPUs: what a job of each stage needs at least.

The figures are those of docs/scaling.md: measured there with its settings, or the rule by which a stage bounds its
memory. Stages that take more where there is more (processes that cut shards or read D) count with one process; those
that tokenize large shards, with one for every core, as far as the memory of their job allows. The memory of CUDA, of
vLLM and of models while they are loaded was never measured: stages that use them are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.assumptions import bytes_per_token
from megatron_sbp.planning.job_limits import cpus_of, memory_limit
from megatron_sbp.planning.query_blocks import block_count_of, part_count_of
from megatron_sbp.planning.units import characters_learned, end_of, pilots, synthesizers_of
from megatron_sbp.recipe import Recipe

_MB, _GB = 1e6, 1e9
_PROCESS = 0.14 * _GB
"""A process of the data stages with small buffers: 123 to 137 MB in the table."""

TOKENIZING, IN_PROCESSES = 300 << 20, 64 << 20
"""Of a process that tokenizes, and the text from which on there are several: as tokenization/pieces.py has them."""

_LEARNING, _LEARNED = 0.352 * _GB, 200e6
"""What training a BPE on so many characters took; it grows with the square root of them."""

HELD = 64 << 20
"""As documents/shards.py has it."""

_LOOKED_AT = 40_000_000
"""Documents whose digests are compared at a time; more take several passes."""


@dataclass(frozen=True)
class HostMemory:
    """Bytes that a stage needs.

    Attributes:
        task: of a task while it works on a unit.
        last: of the last step, which the last of the tasks does; 0 where it needs no more than a task.
        source: `measured`, or `rule`: how the stage bounds its memory.
    """

    task: float
    last: float
    source: str


def plan_host_memory(recipe: Recipe, plan: JsonObject) -> dict[str, JsonObject]:
    """Bytes by stage: `task`, `last_step`, `job` (the larger of both, for which a job asks), and `from`."""
    return {
        stage: {
            "task": round(found.task),
            "last_step": round(found.last),
            "job": round(max(found.task, found.last)),
            "from": found.source,
        }
        for stage, found in (*_of_corpus(recipe, plan), *_of_synthesizers(recipe, plan), *_of_models(recipe, plan))
    }


def _of_corpus(recipe: Recipe, plan: JsonObject) -> Iterator[tuple[str, HostMemory]]:
    chosen, real = recipe.documents, plan["unique_tokens"]["real"]
    read = (plan["unique_tokens"]["oracle"]["documents"] or chosen.train) + chosen.valid + chosen.test
    text = real["tokens"] / max(1, real["documents"]) * bytes_per_token(plan["model"]["vocab_size"]["tokens"])
    shard = min(chosen.documents_per_shard, read) * text
    # 30 to 130 bytes per document; a process that writes shards holds up to 64 MB of documents, for a moment twice.
    dropping = 130 * min(read, _LOOKED_AT)
    yield "documents", HostMemory(1 * _GB, dropping + 0.2 * _GB + 2 * min(shard, HELD), "rule")
    if recipe.tokenizer.path is None:
        learned = characters_learned(recipe, plan)
        yield "tokenizer", HostMemory(_PROCESS + _LEARNING * math.sqrt(learned / _LEARNED), 0, "measured")
    yield "tokenize", _tokenizing(recipe, "tokenize", shard)
    neighbors, shards = recipe.neighbors, -(-chosen.train // chosen.documents_per_shard)
    queries = chosen.documents_per_shard * -(-shards // block_count_of(recipe, shards))
    queries, dimensions = min(queries, chosen.train), plan["embedding"]["dimensions"]
    if neighbors.engine == "exact":  # 9 kB per query at 1,024 dimensions and k = 200
        held = min(12 * _GB, queries * (6 * dimensions + 14 * neighbors.k))
    else:  # 9 GB of 2 million documents, and 5 kB per query
        held = 4.5 * dimensions * chosen.train / part_count_of(recipe, shards) + queries * 5e3
    yield "neighbors", HostMemory(_PROCESS + held, 0, "rule")
    if "index-corpus" in plan["arrays"]:
        yield "index-corpus", HostMemory(1.6 * _GB, 0, "rule")


def _of_synthesizers(recipe: Recipe, plan: JsonObject) -> Iterator[tuple[str, HostMemory]]:
    vocab, documents = plan["model"]["vocab_size"]["tokens"], plan["unique_tokens"]["real"]["documents"]
    for name, entry in synthesizers_of(recipe, plan).items():
        end, synthesis = end_of(name), entry["synthesis"]
        if entry["tuning"]:
            # With the ids of all documents, and 550 bytes per pair of a shard: five shards are in memory.
            shard = entry["tuning"]["pairs"] * min(1, recipe.documents.documents_per_shard / recipe.documents.train)
            yield "pairs" + end, HostMemory(_PROCESS, 0.15 * _GB + 100 * documents + 550 * shard, "measured")
            yield "tokenize-pairs" + end, HostMemory(0.28 * _GB, 0.06 * _GB, "measured")
        # A shard of generations is read at once: its texts, and 800 bytes of signatures for each of them.
        text = synthesis["tokens_per_generation"] * bytes_per_token(vocab)
        held = recipe.for_synthesizer(name).synthesis.generations_per_shard
        judging = HostMemory(_PROCESS + min(held, synthesis["generations"]) * (1.5 * text + 800), 0, "measured")
        if pilots(recipe, name):
            yield "judge-pilot" + end, judging
        yield "judge" + end, judging
        if recipe.for_synthesizer(name).filter.duplicates == "near":
            # 40 bytes per generation, and 800 of the signatures that are compared.
            many = synthesis["generations"]
            found = _PROCESS + min(1 * _GB, 800 * many) + min(3 * _GB, 40 * many)
            yield "deduplicate" + end, HostMemory(found, synthesis["generations"], "rule")
        yield "filter" + end, HostMemory(0.06 * _GB, 0, "measured")
        yield "tokenize-synthetic" + end, _tokenizing(recipe, "tokenize-synthetic" + end, held * text)


def _tokenizing(recipe: Recipe, stage: str, text: float) -> HostMemory:
    """Of a stage that tokenizes shards of so many bytes."""
    cores = cpus_of(recipe, stage) if text >= IN_PROCESSES else 1
    fitting = memory_limit(recipe, stage, "cpu") // TOKENIZING
    return HostMemory(TOKENIZING * max(1, min(cores, fitting)), 0.06 * _GB, "measured")


def _of_models(recipe: Recipe, plan: JsonObject) -> Iterator[tuple[str, HostMemory]]:
    launch = recipe.launch
    if launch.distributed_optimizer and not recipe.training.megatron.get(_FEW_GATHER):
        # While a checkpoint is assembled: 12 bytes per parameter of every rank on the node (docs/training.md).
        held = 12 * plan["memory"]["plain"]["parameters"] * launch.ranks_per_node
        for stage in plan["memory"]["trainings"]:
            yield stage, HostMemory(held, 0, "rule")
    # Half a gigabyte, and 0.8 MB for every text that is compared with D.
    yield "evaluate", HostMemory(0.5 * _GB + 0.8 * _MB * recipe.evaluation.quality_documents, 0, "measured")


_FEW_GATHER = "distrib-optim-fully-reshardable-mem-efficient"
