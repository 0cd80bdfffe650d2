"""All stages of a run, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping

from megatron_sbp.recipe import Arm, Recipe
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.sections import CLASSIC_ARMS, Synthesizer
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.export import ExportStage
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.neighbors import NeighborsStage
from megatron_sbp.stages.pairs import PairsStage
from megatron_sbp.stages.report import ReportStage
from megatron_sbp.stages.scopes import ScopedStage, suffix
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenize_pairs import TokenizePairsStage
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.stages.train import TrainStage


def all_stages(recipe: Recipe | None = None) -> list[Stage]:
    """Every stage of a recipe, each after those that it reads from; without one, those of the paper's three arms.

    What arms share is made once: the stages up to `neighbors` for all, pairs for all replicates of a synthesizer,
    a synthesizer for all arms that take its text.
    """
    stages: list[Stage] = [DocumentsStage(), TokenizerStage(), TokenizeStage(), EmbedStage(), NeighborsStage()]
    arms = CLASSIC_ARMS if recipe is None else recipe.arms
    synthesizers = (RELATED,) if recipe is None else recipe.used_synthesizers
    about = {name: Synthesizer() if recipe is None else recipe.synthesizers[name] for name in synthesizers}
    for synthesizer in synthesizers:
        if about[synthesizer].method != "tuned":
            continue
        for stage in (PairsStage(), TokenizePairsStage()):
            stages.append(ScopedStage(stage, stage.name + suffix(synthesizer), synthesizer=synthesizer))
    for replicate in range(1, 1 + (1 if recipe is None else recipe.replicates)):
        stages += _replicate(arms, about, replicate)
    return [*stages, ReportStage()]


def _of_synthesizer(about: Synthesizer) -> list[Stage]:
    """The stages that a replicate of a synthesizer takes."""
    made: dict[str, list[Stage]] = {
        "tuned": [
            TrainStage("tune", "synthesizer", "tune the synthesizer p(target | seed document) on pairs"),
            ExportStage("export-synthesizer", ("synthesizer",)),
        ],
        "samples": [ExportStage("export-synthesizer", ("synthesizer",), trained="baseline")],
        "replacement": [],
    }
    return [*made[about.method], SynthesizeStage(about), FilterStage(), TokenizeSyntheticStage()]


def _replicate(arms: Mapping[str, Arm], synthesizers: Mapping[str, Synthesizer], number: int) -> list[Stage]:
    first = [arm for arm in arms if arm == "baseline"]  # synthesizers may start from it
    stages = [_training(arm, arms[arm], number) for arm in first]
    for synthesizer, about in synthesizers.items():
        for stage in _of_synthesizer(about):
            name = stage.name + suffix(synthesizer, number)
            stages.append(ScopedStage(stage, name, number, synthesizer=synthesizer))
    stages += [_training(arm, about, number) for arm, about in arms.items() if arm not in first]
    end = suffix(replicate=number)
    stages.append(ScopedStage(ExportStage("export-arms", tuple(arms)), f"export-arms{end}", number))
    stages.append(ScopedStage(EvaluateStage(), f"evaluate{end}", number))
    return stages


def _training(arm: str, about: Arm, replicate: int) -> Stage:
    synthetic = about.synthetic
    real = "D" if about.documents == "train" else "D and the oracle's documents"
    data = f"{real} until the budget is spent" if synthetic is None else f"synthetic text ({synthetic}) once, {real}"
    stage = TrainStage(f"train-{arm}", arm, f"train the arm {arm}: {data}")
    return ScopedStage(stage, stage.name + suffix(replicate=replicate), replicate, synthesizer=synthetic, arm=arm)
