"""Core-hours of the stages that run on CPUs, and how long one unit and the last step of each take.

The seconds per document are those of the table in docs/scaling.md: one core of an AMD EPYC with nothing else running
(November 29, 2026), documents of 3,100 tokens, 50 neighbors each. Machines with other work on them have taken two or
three times as long. Tokenizing and judging scale with tokens, pairs with neighbors. Stages that were not measured are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.job_limits import cpus_of
from megatron_sbp.planning.units import PAIRS_PER_UNIT, characters_learned, end_of, synthesizers_of
from megatron_sbp.recipe import Recipe

_TOKENS, _NEIGHBORS = 3_100, 50
"""Of a document in the measurement."""

READING, CUTTING, TOKENIZING, JOINING = 0.050e-3, 0.087e-3, 0.629e-3, 0.015e-3
PAIRING, JOINING_PAIRS = 0.242e-3, 0.004e-3
"""Seconds of a core per document."""

JUDGING, DEDUPLICATING, FILTERING = 1.226e-3, 0.008e-3, 0.088e-3
"""Seconds of a core per generation."""

WITHOUT_WORDS = 3.46e-3
"""Instead of `TOKENIZING`, with a tokenizer from elsewhere, which may look up no words: one core of an Intel Xeon on
November 27, 2026."""

LEARNING = 0.238e-6
"""Seconds of a core per character on which a BPE is trained."""

WRITING_PAIRS = 0.5
"""Share of the time to join pairs that the one writing thread takes. The other cores read shards and look up ids."""

PAIR = 15.4e-6
"""Seconds of a core to look up a pair's tokens and cut them."""


@dataclass(frozen=True)
class CpuTime:
    """Seconds of a core.

    Attributes:
        units: how many there are; 0 where the plan cannot know.
        each: of a unit.
        last: of the last step.
        spread: whether a unit uses all cores of its task.
        last_spread: whether the last step does.
        last_alone: of the last step, what one thread does while the others do the rest.
    """

    units: int
    each: float
    last: float
    spread: bool = False
    last_spread: bool = False
    last_alone: float = 0


def plan_cpu_time(recipe: Recipe, plan: JsonObject) -> dict[str, JsonObject]:
    """By stage: `core_hours` in all, `unit_hours` and `last_step_hours` of wall time, `task_hours` of the task that has
    the most units and the last step."""
    found: dict[str, JsonObject] = {}
    for stage, time in _stages(recipe, plan):
        tasks = min(max(1, time.units), recipe.slurm.array_size)
        cores = cpus_of(recipe, stage)
        unit = time.each / (cores if time.spread else 1) / 3600
        last = max(time.last / (cores if time.last_spread else 1), time.last_alone) / 3600
        found[stage] = {
            "core_hours": (time.units * time.each + time.last) / 3600,
            "unit_hours": unit if time.units else None,
            "last_step_hours": last,
            "task_hours": -(-time.units // tasks) * unit + last if time.units else None,
            "from": "estimated",
        }
    # Its units are files of the corpus, which the plan does not look at.
    found["documents"]["core_hours"] += READING * _read(recipe, plan) / 3600
    return found


def _read(recipe: Recipe, plan: JsonObject) -> int:
    chosen = recipe.documents
    corpus = plan["sample"] and plan["sample"]["corpus"]
    return corpus or (plan["unique_tokens"]["oracle"]["documents"] or chosen.train) + chosen.valid + chosen.test


def _stages(recipe: Recipe, plan: JsonObject) -> Iterator[tuple[str, CpuTime]]:
    chosen, arrays, real = recipe.documents, plan["arrays"], plan["unique_tokens"]["real"]
    read = _read(recipe, plan)
    tokens = real["tokens"] / max(1, real["documents"])
    shard = min(chosen.documents_per_shard, read)
    yield "documents", CpuTime(0, 0, CUTTING * read, last_spread=True)
    each = WITHOUT_WORDS
    if recipe.tokenizer.path is None:
        each = TOKENIZING
        yield "tokenizer", CpuTime(0, 0, LEARNING * characters_learned(recipe, plan))
    tokenizing = each * tokens / _TOKENS
    yield "tokenize", CpuTime(arrays["tokenize"]["units"], tokenizing * shard, JOINING * read, True, True)
    pairing, judging = PAIRING * recipe.neighbors.k / _NEIGHBORS, JUDGING + each - TOKENIZING  # it tokenizes too
    for name, entry in synthesizers_of(recipe, plan).items():
        end, synthesis, own = end_of(name), entry["synthesis"], recipe.for_synthesizer(name)
        if entry["tuning"]:
            shard = min(chosen.documents_per_shard, chosen.train)
            last = JOINING_PAIRS * chosen.train
            units = arrays["pairs" + end]["units"]
            yield (
                "pairs" + end,
                CpuTime(units, pairing * shard, last, last_spread=True, last_alone=WRITING_PAIRS * last),
            )
            pairs = entry["tuning"]["pairs"]
            units = arrays["tokenize-pairs" + end]["units"]
            last = JOINING * chosen.train
            yield "tokenize-pairs" + end, CpuTime(units, PAIR * min(pairs, PAIRS_PER_UNIT), last, last_spread=True)
        generations, units = synthesis["generations"], arrays["judge" + end]["units"]
        held, length = generations / units, synthesis["tokens_per_generation"] / _TOKENS
        yield "judge" + end, CpuTime(units, judging * length * held, 0)
        if own.filter.duplicates == "near":
            searches = arrays["deduplicate" + end]["units"]
            yield "deduplicate" + end, CpuTime(searches, DEDUPLICATING * generations / searches, 0)
        yield "filter" + end, CpuTime(units, FILTERING * held, 0)
        tokenizing = each * length
        yield "tokenize-synthetic" + end, CpuTime(units, tokenizing * held, JOINING * generations, True, True)
