"""Training samples of every arm: the arithmetic that makes the arms equal. One sample is one training sequence."""

from __future__ import annotations

from megatron_sbp.recipe import Recipe


def train_samples(recipe: Recipe) -> int:
    """Training sequences of every arm: `training.train_tokens`, rounded up to whole global batches."""
    step_tokens = recipe.training.global_batch_size * recipe.model.sequence_length
    return -(-recipe.training.train_tokens // step_tokens) * recipe.training.global_batch_size


def synthetic_samples(recipe: Recipe) -> int:
    """Synthetic sequences of an arm: `synthesis.tokens` rounded down to whole sequences.

    Args:
        recipe: that of the arm's synthesizer (`Recipe.for_synthesizer`).
    """
    return recipe.synthesis.tokens // recipe.model.sequence_length


def arm_samples(recipe: Recipe, arm: str) -> dict[str, int]:
    """Training sequences of an arm by dataset: real, oracle or synthetic.

    An arm with a synthesizer uses every synthetic sequence once and real documents for the rest (PAPER: S once, never
    repeated).

    Raises:
        InputError: the arm's `synthetic_share` is less than one sequence, or more than its synthesizer writes.
    """
    if arm not in recipe.arms:
        raise ValueError(f"unknown arm {arm!r}")
    chosen, total = recipe.arms[arm], train_samples(recipe)
    real = "real" if chosen.documents == "train" else "oracle"
    if chosen.synthetic is None:
        return {real: total}
    written = synthetic = synthetic_samples(recipe.for_synthesizer(chosen.synthetic))
    if chosen.synthetic_share is not None:
        synthetic = int(chosen.synthetic_share * total)
        if not 1 <= synthetic <= written:
            length = recipe.model.sequence_length
            raise recipe.error(
                f"arms.{arm}.synthetic_share",
                f"{chosen.synthetic_share} of the budget is {synthetic * length:,} synthetic tokens, but it must be at "
                f"least one sequence, {length} tokens, and at most what the synthesizer '{chosen.synthetic}' writes, "
                f"{written * length:,} (synthesis.tokens): none is used twice",
            )
    return {real: total - synthetic, "synthetic": synthetic}
