"""All stages of a run, in the order in which they run."""

from __future__ import annotations

from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.export import ExportStage
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.neighbors import NeighborsStage
from megatron_sbp.stages.pairs import PairsStage
from megatron_sbp.stages.report import ReportStage
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenize_pairs import TokenizePairsStage
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.stages.train import TrainStage


def all_stages() -> list[Stage]:
    """Every stage, each after those that it reads from."""
    return [
        DocumentsStage(),
        TokenizerStage(),
        TokenizeStage(),
        EmbedStage(),
        NeighborsStage(),
        PairsStage(),
        TokenizePairsStage(),
        TrainStage("train-baseline", "baseline", "train the repetition baseline: D until the budget is spent"),
        TrainStage("tune", "synthesizer", "tune the synthesizer p(target | seed document) from the baseline"),
        ExportStage("export-synthesizer", ("synthesizer",)),
        SynthesizeStage(),
        FilterStage(),
        TokenizeSyntheticStage(),
        TrainStage("train-sbp", "sbp", "train SBP: synthetic documents once, D for the rest of the same budget"),
        TrainStage("train-oracle", "oracle", "train the oracle: unique documents up to the same budget"),
        ExportStage("export-arms", ("baseline", "sbp", "oracle")),
        EvaluateStage(),
        ReportStage(),
    ]
