"""`tuning.start` in the recipe: what the synthesizer is initialized from.

null or `last`   the last checkpoint of `tuning.start_arm`, which is the baseline, as in the paper
`best`           its checkpoint with the lowest held-out loss
`scratch`        new weights
anything else    the folder of a Hugging Face checkpoint
"""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.recipe.sections import Recipe

KEY = "tuning.start"

WORDS = ("last", "best", "scratch")
"""Values that are not folders; a folder of such a name is written ./last."""


def start_word(recipe: Recipe) -> str | None:
    """One of WORDS (null is `last`), or None when `tuning.start` is a folder."""
    start = recipe.tuning.start or "last"
    return start if start in WORDS else None


def start_folder(recipe: Recipe) -> Path | None:
    """The folder that `tuning.start` names; None when it is one of WORDS."""
    if recipe.tuning.start is None or start_word(recipe):
        return None
    return recipe.folder / files.home_expanded(recipe.tuning.start)


def keeps_best(recipe: Recipe, training: str) -> bool:
    """Whether a training run saves at every evaluation and keeps its best checkpoint, because a synthesizer starts from
    it.

    Args:
        recipe: the recipe.
        training: an arm, or "synthesizer".
    """
    return any(
        recipe.start_arm_of(name) == training and start_word(recipe.for_synthesizer(name)) == "best"
        for name in recipe.tuned_synthesizers
    )
