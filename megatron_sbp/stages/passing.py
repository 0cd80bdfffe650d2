"""How many shards of generations are needed, from the share that passes the filters so far: `synthesis.stop`."""

from __future__ import annotations

import math
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.counts import named_counts
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.user_functions import predicate_place
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.extending import needed_synthetic_tokens
from megatron_sbp.stages.judge import JudgeStage, further_sources
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis.extension import LEAST_PASSING
from megatron_sbp.synthesis.passing import Passing, as_counts, drop_passing, read_passing, shards_needed, write_passing

_OF_TEXTS = ("tokenizer", "tokenize")
"""Stages whose outputs also decide the texts."""

_NOT_ALONE = ("min_similarity", "signatures")
"""Settings of `judge` for rules that need more than one text and its seed document."""


def settings_alone(run: Run) -> JsonObject:
    """The settings of `judge` without those of rules that need all generations, or a stage of their own."""
    return {key: value for key, value in JudgeStage().settings(run).items() if key not in _NOT_ALONE}


def stages_to_count(run: Run) -> list[str]:
    """Stages that must be finished so that the filters can look at a text."""
    return [name for name in JudgeStage().reads(run) if name not in ("synthesize", "compare")]


def target_tokens(recipe: Recipe) -> int:
    """Tokens that must pass the filters that look at one text alone."""
    wanted = math.ceil(recipe.synthesis.tokens * recipe.synthesis.margin)
    return max(wanted, needed_synthetic_tokens(recipe))


def rules_digest(run: Run) -> str:
    """Digest of the filters, and of all their inputs except the texts and their seed documents."""
    place = predicate_place(run.recipe)
    read = JudgeStage().external(run)
    made = (run.manifests / records.manifest(name) for name in stages_to_count(run) if name not in _OF_TEXTS)
    return files.digest(
        {
            "settings": settings_alone(run),
            "files": {file.name: files.sha256(file) if file.is_file() else None for file in read},
            "predicate": place and place.name,
            "stages": {file.stem: files.read_json(file)["key"] if file.exists() else None for file in made},
        }
    )


def filter_alone(run: Run, shards: list[Path]) -> JsonObject:
    """The part of shards of generations that passes the rules for single texts: see `filter_pilot`."""
    from megatron_sbp.synthesis.pilot import filter_pilot
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    return filter_pilot(
        shards,
        tokenizer=load_tokenizer(run.tokenizer),
        tokens=run.tokens("real"),
        rules=run.recipe.filter,
        length=run.recipe.pairs.shingle_tokens,
        sources=further_sources(run),
    )


def count_shard(run: Run, unit: str) -> None:
    """Counts what passes of a finished shard, unless it was counted before.

    Raises:
        InputError: a tenth or less of the tokens counted so far pass.
    """
    rules = rules_digest(run)
    if int(unit) in counted(run, rules):
        return
    shard = run.generation_shard(unit)
    found = filter_alone(run, [shard])
    count = found["generations"]
    written = round(found["written_per_generation"] * count)
    write_passing(shard, rules, Passing(count, found["passed"], found["tokens"], written))
    every = counted(run, rules).values()
    kept, texts = sum(each.tokens for each in every), sum(each.written for each in every)
    if kept <= LEAST_PASSING * texts:
        raise InputError(
            f"{sum(each.passed for each in every):,} of {sum(each.generations for each in every):,} generations pass, "
            f"with {kept / texts:.1%} of the tokens (shard {unit}: {named_counts(found['dropped'])}): most of the work "
            f"would go into text that is dropped. They are in {run.relative(shard.parent)}; "
            "synthesis.stop=planned writes as many as are planned, whatever passes",
            key="filter",
        )


def counted(run: Run, rules: str) -> dict[int, Passing]:
    """The counts of shards under these rules, by their numbers."""
    return {**_summed(run, rules), **read_passing(run.generations, rules)}


def needed_shards(run: Run, expected: float) -> int:
    """How many shards are needed, as far as that is known.

    Args:
        run: the run.
        expected: tokens of a shard, for as long as none is counted.
    """
    known = {number: found.tokens for number, found in counted(run, rules_digest(run)).items()}
    return shards_needed(known, target_tokens(run.recipe), expected)


def progress(run: Run) -> str:
    """How much has passed, for `sbp status`."""
    tokens = sum(found.tokens for found in counted(run, rules_digest(run)).values())
    return f"{tokens:,} of {target_tokens(run.recipe):,} tokens passed"


def acceptance(run: Run) -> tuple[int, int]:
    """Generations that passed, and all generations, of the shards that are counted."""
    found = counted(run, rules_digest(run)).values()
    return sum(each.passed for each in found), sum(each.generations for each in found)


def summary(run: Run, shards: int) -> JsonObject:
    """The entries of generated.json besides the number of shards: what passed of each."""
    rules = rules_digest(run)
    known = counted(run, rules)
    return {"rules": rules, "passing": [list(known[number]) for number in range(shards)]}


def drop_counts(run: Run, units: list[str]) -> None:
    """Removes the counts of shards that generated.json has."""
    for unit in units:
        drop_passing(run.generation_shard(unit))


def _summed(run: Run, rules: str) -> dict[int, Passing]:
    try:
        value: JsonValue = files.read_json(run.generated) if run.generated.exists() else {}
    except InputError:
        return {}
    if not isinstance(value, dict) or value.get("rules") != rules or not isinstance(value.get("passing"), list):
        return {}
    found = {number: as_counts(counts) for number, counts in enumerate(value["passing"])}
    return {number: counts for number, counts in found.items() if counts is not None}
