"""What writes a run's synthetic text: its synthesizer, or a control."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages.run_folder import Run

if TYPE_CHECKING:
    from megatron_sbp.synthesis.synthesizer import Synthesizer as ModelSynthesizer
    from megatron_sbp.synthesis.synthesizer import Writer


def writer_of(run: Run, about: Synthesizer, round: int) -> Writer:
    """The writer of a run's synthetic text, loaded.

    Args:
        run: of which the models and tokens are.
        about: the synthesizer's section of the recipe; its method and share of replaced tokens are used.
        round: of synthesis.
    """
    if about.method == "replacement":
        from megatron_sbp.synthesis.controls import TokenReplacement
        from megatron_sbp.tokenization.indexed import open_indexed
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        tokens = open_indexed(run.tokens("real")).tokens
        tokenizer, share = load_tokenizer(run.tokenizer), about.replaced
        return TokenReplacement(tokenizer, tokens, replaced=share, seed=run.recipe.seed)
    return synthesizer_of(run, about.method, round)


def synthesizer_of(run: Run, method: str = "tuned", round: int = 1) -> ModelSynthesizer:
    """The synthesizer of a run, loaded."""
    from megatron_sbp.synthesis.controls import UnconditionalSampler
    from megatron_sbp.synthesis.synthesizer import Synthesizer as ModelSynthesizer
    from megatron_sbp.synthesis.text_limits import TextLimits
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    recipe = run.recipe
    kind = UnconditionalSampler if method == "samples" else ModelSynthesizer
    return kind(
        run.export("synthesizer"),
        load_tokenizer(run.tokenizer),
        recipe.synthesis,
        TextLimits.of_run(recipe),
        seed=recipe.seed,
        device=recipe.launch.device,
        round=round,
        pairs=_pairs_file(run) if method == "tuned" else None,
    )


def _pairs_file(run: Run) -> tuple[str, str] | None:
    """The file of pairs that the synthesizer was tuned on, below the run folder, and its SHA-256, for the rows; None if
    it no longer exists."""
    file = run.pairs("train")
    return (run.relative(file), _sha256(file, file.stat().st_mtime_ns)) if file.exists() else None


@lru_cache(maxsize=8)
def _sha256(file: Path, changed: int) -> str:
    """Digest of a file, some GB, once for all shards that a process writes."""
    return files.sha256(file)
