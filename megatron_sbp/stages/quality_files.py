"""What a quality sheet reads of a run: by the stages `evaluate` and `scan-corpus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_sbp.evaluation.compared import QualityFiles
from megatron_sbp.stages.evaluation_items import evaluation_items
from megatron_sbp.stages.run_folder import Run


def quality_files(
    run: Run,
    *,
    pairs: Path | None = None,
    checkpoints: Mapping[str, Path] | None = None,
    answers: Path | None = None,
    retokenized: Mapping[str, int] | None = None,
    findings: Sequence[Path] | None = None,
) -> QualityFiles:
    """The files of the sheet on a synthesizer's texts.

    Args:
        run: The run as that synthesizer sees it (`synthesizer_run`).
        others: Inputs of the figures of the sheet that the choice of its texts does not need; see `QualityFiles`.
    """
    return QualityFiles(
        tokenizer=run.tokenizer,
        documents={split: run.document_shards(split) for split in ("train", "valid")},
        tokens={"train": run.tokens("real"), "valid": run.tokens("valid")},
        synthetic=run.synthetic_shards(),
        generations=run.generation_shards(),
        pairs=pairs,
        embeddings=run.embeddings("train"),
        checkpoints=checkpoints or {},
        answers=answers,
        items=None if run.recipe.filter.contaminated is None else evaluation_items(run),
        retokenized=retokenized,
        findings=findings,
    )
