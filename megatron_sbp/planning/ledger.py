"""Training samples of every arm: the arithmetic that makes the arms equal. One sample is one training sequence."""

from __future__ import annotations

from megatron_sbp.recipe import Recipe


def train_samples(recipe: Recipe) -> int:
    """Training sequences of every arm: `training.train_tokens`, rounded up to whole global batches."""
    step_tokens = recipe.training.global_batch_size * recipe.model.sequence_length
    return -(-recipe.training.train_tokens // step_tokens) * recipe.training.global_batch_size


def synthetic_samples(recipe: Recipe) -> int:
    """Synthetic sequences of the SBP arm: `synthesis.tokens` rounded down to whole sequences."""
    return recipe.synthesis.tokens // recipe.model.sequence_length


def arm_samples(recipe: Recipe, arm: str) -> dict[str, int]:
    """Training sequences of an arm by dataset: the names are those of tokens/NAME.{bin,idx}.

    The SBP arm uses every synthetic sequence once and the real documents for the rest (PAPER: S once, never repeated).
    """
    total = train_samples(recipe)
    if arm == "baseline":
        return {"real": total}
    if arm == "oracle":
        return {"oracle": total}
    if arm == "sbp":
        synthetic = synthetic_samples(recipe)
        return {"real": total - synthetic, "synthetic": synthetic}
    raise ValueError(f"unknown arm {arm!r}")
