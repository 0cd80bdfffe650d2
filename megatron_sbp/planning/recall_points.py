"""Which checkpoints of an arm are measured while it trains: those of recall against tokens."""

from __future__ import annotations

from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tuning_start import keeps_best


def recall_interval(recipe: Recipe, arm: str) -> int | None:
    """Optimizer steps between two checkpoints of an arm on which recall is measured; None where it is not.

    `evaluation.recall_points` of them are evenly spaced over the training run, as far as its other checkpoints allow:
    where it saves more often anyway, a measured one is one of these.
    """
    points = recipe.evaluation.recall_points
    if not points:
        return None
    steps = ledger.train_samples(recipe) // recipe.training.global_batch_size
    every = _regular_interval(recipe, arm)
    wanted = max(1, steps // points)
    if keeps_best(recipe, arm):  # then every evaluation must find its checkpoint
        return max(1, wanted // every) * every
    return wanted if every > wanted else wanted // every * every


def save_interval(recipe: Recipe, arm: str) -> int:
    """Optimizer steps between two checkpoints of an arm."""
    every, measured = _regular_interval(recipe, arm), recall_interval(recipe, arm)
    return every if measured is None else min(every, measured)


def _regular_interval(recipe: Recipe, arm: str) -> int:
    """The same if recall is not measured."""
    return recipe.training.eval_interval if keeps_best(recipe, arm) else recipe.training.save_interval


def recall_iterations(recipe: Recipe, arm: str) -> list[int]:
    """Iterations of the checkpoints of an arm on which recall is measured.

    Excluded are the last one, which is measured anyway, and one shortly before it.
    """
    every = recall_interval(recipe, arm)
    steps = ledger.train_samples(recipe) // recipe.training.global_batch_size
    return [] if every is None else list(range(every, steps - every // 2, every))
