"""Maximum lengths of seed documents and texts, and whether both fit into a model's context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.checks import beyond_context
from megatron_sbp.tokenization.tokenizer import TextTokenizer


@dataclass(frozen=True)
class TextLimits:
    """Lengths in tokens.

    Attributes:
        max_seed_tokens: of a seed document; the same as in tuning.
        max_new_tokens: of a text, end-of-document included.
        seed_cut: truncation side of seed documents: `tail` drops the end, `head` the beginning.
    """

    max_seed_tokens: int
    max_new_tokens: int
    seed_cut: Literal["head", "tail"] = "tail"

    @classmethod
    def of_run(cls, recipe: Recipe) -> TextLimits:
        """Those of a recipe, with what it leaves open."""
        return cls(recipe.max_seed_tokens, recipe.max_new_tokens, recipe.tuning.seed_cut)

    def check_context(self, checkpoint: Path, tokenizer: TextTokenizer) -> None:
        """Rejects lengths beyond the model's trained context (`max_position_embeddings`); in a run, the recipe checks
        them, for a separator of one token.

        Args:
            checkpoint: folder with the model's config.json.
            tokenizer: its tokenizer; a separator text may have more than one token.

        Raises:
            InputError: a seed document, what is before and after it, and a text are too long together.
        """
        file = checkpoint / CONFIG
        context = files.read_json(file).get("max_position_embeddings") if file.exists() else None
        if not isinstance(context, int):
            return
        around = len(tokenizer.before_text) + len(tokenizer.between)
        if around > 1 and self.max_seed_tokens + around + self.max_new_tokens > context:
            raise InputError(
                f"a seed of {self.max_seed_tokens}, {around} tokens before and after it (bos, separator) and "
                f"{self.max_new_tokens} new tokens do not fit into the context of {context} (max_position_embeddings "
                f"of {checkpoint})",
                key="max_new_tokens",
            )
        beyond = beyond_context(self.max_seed_tokens, self.max_new_tokens, context)
        if beyond:
            raise InputError(f"{beyond} (max_position_embeddings of {checkpoint})", key="max_new_tokens")
