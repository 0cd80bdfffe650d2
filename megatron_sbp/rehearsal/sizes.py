"""Sizes of a rehearsal: small enough for minutes on two cores, large enough to keep several shards, workers, and ranks.

Several shards, several optimizer steps between evaluations, several epochs over D, several sequences per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.planning.ledger import train_samples
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.sections import Launch
from megatron_sbp.recipe.time_limit import minutes_of
from megatron_sbp.rehearsal.changes import Draft
from megatron_sbp.rehearsal.layout import data_parallel

STEPS = 24
"""Optimizer steps of an arm."""
SEQUENCE = 128
"""Tokens of a sequence."""
MINUTES = 30
"""Time limit of a job."""

_HEAD = 16
"""Channels of an attention head."""

AT_MOST: dict[str, int | float] = {
    "documents.train": 64,
    "documents.valid": 32,
    "documents.test": 32,
    "documents.oracle": 64,
    "documents.min_characters": 40,
    "documents.documents_per_shard": 24,
    "tokenizer.vocab_size": 1024,
    "tokenizer.train_characters": 20_000,
    "training.micro_batch_size": 2,
    "training.eval_sequences": 8,
    "training.log_interval": 2,
    "tuning.max_epochs": 1.0,
    "tuning.micro_batch_size": 2,
    "tuning.eval_interval": 4,
    "tuning.eval_sequences": 8,
    "embedding.max_tokens": 64,
    "embedding.batch_size": 16,
    "embedding.batch_tokens": 1024,
    "neighbors.k": 8,
    "neighbors.leaves": 8,
    "neighbors.leaves_to_search": 4,
    "neighbors.reorder": 64,
    "neighbors.recall_sample": 16,
    "pairs.max_targets_per_seed": 2,
    "pairs.max_seeds_per_target": 4,
    "pairs.min_target_tokens": 8,
    "synthesis.pilot": 48,
    "synthesis.generations_per_shard": 48,
    "synthesis.batch_size": 16,
    "filter.min_tokens": 8,
    "filter.corpus_index_gb": 0.01,
    "evaluation.batch_size": 8,
    "evaluation.choice_questions": 32,
    "evaluation.choice_context": 32,
    "evaluation.choice_continuation": 16,
    "evaluation.quality_documents": 32,
    "evaluation.duplicate_pairs": 1000,
    "evaluation.recall_points": 2,
    "launch.threads_per_rank": 2,
    "launch.workers": 2,
    "slurm.array_size": 3,
}
"""Values above these are lowered to them; null stays."""


@dataclass(frozen=True)
class Scale:
    """What the sizes of one recipe shrink by.

    Attributes:
        length: the rehearsal's tokens of a sequence / the recipe's.
        data_parallel: data-parallel ranks, of the recipe and here.
        steps: optimizer steps of an arm, of the recipe and here.
        samples: training sequences of an arm here.
        budget: training tokens of an arm of the recipe.
        context: tokens of a sequence here.
        model: keys of `model` and their values here.
    """

    length: float
    data_parallel: tuple[int, int]
    steps: tuple[int, int]
    samples: int
    budget: int
    context: int
    model: Mapping[str, int]


def scale_of(recipe: Recipe, launch: Launch) -> Scale:
    """The scale of a recipe whose rehearsal has the given layout."""
    context = min(recipe.model.sequence_length, SEQUENCE)
    ranks = data_parallel(recipe.launch), data_parallel(launch)
    real_steps = train_samples(recipe) // recipe.training.global_batch_size
    steps = min(real_steps, STEPS)
    return Scale(
        length=context / recipe.model.sequence_length,
        data_parallel=ranks,
        steps=(real_steps, steps),
        samples=steps * _global_batch(recipe.training.global_batch_size, *ranks),
        budget=recipe.training.train_tokens,
        context=context,
        model=_model(recipe, launch),
    )


def cut_sizes(draft: Draft, recipe: Recipe, scale: Scale) -> None:
    """Lowers every size of a recipe, those in `arms` and `synthesizers` too."""
    for name, section in recipe:
        if hasattr(section, "model_dump"):
            _cut_section(draft, (name,), name, section.model_dump(), scale)
    for name, synthesizer in recipe.synthesizers.items():
        for section, values in synthesizer:
            if isinstance(values, dict):
                _cut_section(draft, ("synthesizers", name, section), section, values, scale)
    for name, arm in recipe.arms.items():
        _cut_section(draft, ("arms", name, "training"), "training", arm.training, scale)
        if arm.synthetic_share is not None:  # a share of so few sequences must be at least one
            share = max(arm.synthetic_share, 1.01 / scale.samples)
            draft.set(("arms", name, "synthetic_share"), share, "size")
    _let_short_texts_pass(draft, scale)
    if recipe.documents.train > recipe.neighbors.documents_per_index:  # several indexes stay several
        size = min(recipe.neighbors.documents_per_index, AT_MOST["documents.train"] // 2)
        draft.set(("neighbors", "documents_per_index"), size, "size")
    for path in (("slurm",), *(("slurm", "stages", name) for name in recipe.slurm.stages)):
        limit = draft.get(*path)["time"]
        if limit is not None and minutes_of(limit) > MINUTES:
            draft.set((*path, "time"), f"00:{MINUTES}:00", "size")


def _let_short_texts_pass(draft: Draft, scale: Scale) -> None:
    """Of generations that are a few tokens long here, `filter.min_tokens` would leave none."""
    if scale.length == 1:
        return
    here = Recipe.model_validate(draft.values)
    written = [here, *map(here.for_synthesizer, here.synthesizers)]
    longest = min(one.max_new_tokens for one in written) // 2
    for path in (("filter",), *(("synthesizers", name, "filter") for name in here.synthesizers)):
        if "min_tokens" in draft.get(*path) and float(draft.get(*path, "min_tokens")) > longest:
            draft.set((*path, "min_tokens"), longest, "size")


def _cut_section(draft: Draft, path: tuple[str, ...], name: str, values: Mapping[str, JsonValue], scale: Scale) -> None:
    for key, value in values.items():
        smaller = _smaller(f"{name}.{key}", value, scale)
        if smaller is not None:
            draft.set((*path, key), smaller, "size")


def _smaller(key: str, value: JsonValue, scale: Scale) -> int | float | None:
    """The value here; None for a key that is not a size, and for null."""
    if value is None:
        return None
    if key in AT_MOST:
        # An override of a synthesizer or an arm may be written as text: 1e3.
        return value if float(value) <= AT_MOST[key] else AT_MOST[key]
    if key in _RULES:
        return _RULES[key](type(AT_MOST.get(key, 0))(float(value)) if isinstance(value, str) else value, scale)
    section, _, name = key.partition(".")
    return scale.model.get(name) if section == "model" else None


def _global_batch(size: int, real_ranks: int, ranks: int) -> int:
    """Sequences of a step: at most four per data-parallel rank (two micro-batches)."""
    each = size // real_ranks
    return ranks * (each if each <= 2 else 4)


def _interval(steps: int, real: int, scale: Scale) -> int:
    """Optimizer steps between two events of an arm; an event that never happens before the end still never does."""
    return real if real >= scale.steps[0] else min(real, max(1, scale.steps[1] // steps))


def _synthetic_tokens(tokens: int, scale: Scale) -> int:
    """The same part of the budget, in whole sequences: at least one, and at most one less than all."""
    samples = round(scale.samples * tokens / scale.budget)
    return scale.context * min(max(samples, 1), scale.samples - 1)


def _length(value: float, scale: Scale, less: int = 0) -> int:
    return value if scale.length == 1 else max(1, math.floor(value * scale.length) - less)  # type: ignore[return-value]


# Seed, target, and special tokens must fit whatever was rounded, so some lose one or two tokens more.
_RULES: dict[str, Callable[[JsonValue, Scale], int | float]] = {
    "training.train_tokens": lambda _, scale: scale.samples * scale.context,
    "training.global_batch_size": lambda size, scale: _global_batch(size, *scale.data_parallel),
    "training.eval_interval": lambda steps, scale: _interval(3, steps, scale),
    "training.save_interval": lambda steps, scale: _interval(2, steps, scale),
    "tuning.global_batch_size": lambda size, scale: _global_batch(size, *scale.data_parallel),
    "tuning.sequence_length": lambda tokens, scale: math.ceil(tokens * scale.length),
    "tuning.max_seed_tokens": lambda tokens, scale: _length(tokens, scale),
    "tuning.max_target_tokens": lambda tokens, scale: _length(tokens, scale, less=2),
    "synthesis.tokens": _synthetic_tokens,
    "synthesis.max_new_tokens": lambda tokens, scale: _length(tokens, scale, less=1),
    "synthesis.tokens_per_generation": lambda tokens, scale: max(1.0, float(tokens) * scale.length),
}
"""Sizes that depend on others."""


def _model(recipe: Recipe, launch: Launch) -> dict[str, int]:
    """A model of the same kind: grouped-query attention stays, and so do heads that are not hidden_size / heads."""
    real, tensor = recipe.model, launch.tensor_parallel
    layers = min(real.num_layers, max(2, launch.pipeline_parallel))
    small = {"num_layers": layers, "sequence_length": min(real.sequence_length, SEQUENCE)}
    grouped = real.num_query_groups < real.num_attention_heads
    heads = 4 * tensor if tensor > 1 else 4
    groups = heads // 2 if grouped else heads
    if heads * _HEAD >= real.hidden_size or heads > real.num_attention_heads or groups > real.num_query_groups:
        return small  # it is already small
    small |= {"num_attention_heads": heads, "num_query_groups": groups, "hidden_size": heads * _HEAD}
    small["ffn_hidden_size"] = min(real.ffn_hidden_size, 2 * heads * _HEAD)
    if real.kv_channels is not None:
        usual = real.kv_channels * real.num_attention_heads == real.hidden_size
        small["kv_channels"] = _HEAD if usual else 2 * _HEAD
    return small
