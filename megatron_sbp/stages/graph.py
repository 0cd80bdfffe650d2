"""All stages of a run, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from megatron_sbp.planning.units import compares, pilots, wants_index, wants_task_items
from megatron_sbp.recipe import Arm, Recipe
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.sections import CLASSIC_ARMS, Synthesizer
from megatron_sbp.stages.compare import CompareStage
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.export import ExportStage
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.harness import HarnessStage
from megatron_sbp.stages.index_corpus import IndexCorpusStage
from megatron_sbp.stages.job_names import check_job_names
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.judge_pilot import JudgePilotStage
from megatron_sbp.stages.neighbors import NeighborsStage
from megatron_sbp.stages.pairs import PairsStage
from megatron_sbp.stages.pilot import PilotStage
from megatron_sbp.stages.report import ReportStage
from megatron_sbp.stages.scan_corpus import ScanCorpusStage
from megatron_sbp.stages.scopes import ScopedStage, suffix
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.task_items import TaskItemsStage
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenize_pairs import TokenizePairsStage
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.stages.train import TrainStage
from megatron_sbp.stages.tune import TuneStage


def all_stages(recipe: Recipe | None = None) -> list[Stage]:
    """Every stage of a recipe, each after those that it reads from; without one, those of the paper's three arms.

    Shared stages run once: the stages up to `neighbors`, `index-corpus`, and `task-items` for all, pairs for all
    replicates of a synthesizer, a synthesizer for all arms that take its text.

    Raises:
        InputError: `slurm.stages` names a job that none of them has.
    """
    stages: list[Stage] = [DocumentsStage(), TokenizerStage(), TokenizeStage(), EmbedStage(), NeighborsStage()]
    if recipe is not None and wants_index(recipe):
        stages.append(IndexCorpusStage())
    if recipe is not None and wants_task_items(recipe):
        stages.append(TaskItemsStage())
    arms = CLASSIC_ARMS if recipe is None else recipe.arms
    synthesizers = _writers(recipe)
    for name, writer in synthesizers.items():
        if writer.about.method == "tuned":
            for stage in (PairsStage(), TokenizePairsStage()):
                stages.append(ScopedStage(stage, stage.name + suffix(name), synthesizer=name))
    for replicate in range(1, 1 + (1 if recipe is None else recipe.replicates)):
        stages += _replicate(arms, synthesizers, replicate)
        if recipe is not None and recipe.evaluation.harness.tasks:
            name = f"harness{suffix(replicate=replicate)}"
            stages.append(ScopedStage(HarnessStage(), name, replicate))
    stages.append(ReportStage([stage.name for stage in stages]))
    if recipe is not None:
        check_job_names(recipe, stages)
    return stages


@dataclass(frozen=True)
class _Writer:
    """What the graph must know about a synthesizer."""

    about: Synthesizer
    start_arm: str | None
    round: int
    pilots: bool
    compares: bool


def _writers(recipe: Recipe | None) -> dict[str, _Writer]:
    if recipe is None:
        return {RELATED: _Writer(Synthesizer(), "baseline", 1, False, False)}
    return {
        name: _Writer(
            recipe.synthesizers[name],
            recipe.start_arm_of(name),
            recipe.round_of(name),
            pilots(recipe, name),
            compares(recipe, name),
        )
        for name in recipe.used_synthesizers
    }


def _of_synthesizer(name: str, writer: _Writer) -> list[Stage]:
    """The stages that a replicate of a synthesizer takes."""
    made: dict[str, list[Stage]] = {
        "tuned": [
            TuneStage(),
            ExportStage("export-synthesizer", ("synthesizer",)),
        ],
        "samples": [ExportStage("export-synthesizer", ("synthesizer",), trained="baseline")],
        "replacement": [],
    }
    pilot = [PilotStage(writer.about, writer.round), JudgePilotStage()] if writer.pilots else []
    written: list[Stage] = [*pilot, SynthesizeStage(writer.about, writer.round)]
    if writer.compares:
        written.append(CompareStage())
    written += [JudgeStage(), DeduplicateStage(), FilterStage(), TokenizeSyntheticStage()]
    written.append(ScanCorpusStage(f"quality{suffix(name)}"))
    return [*made[writer.about.method], *written]


def _replicate(arms: Mapping[str, Arm], synthesizers: Mapping[str, _Writer], number: int) -> list[Stage]:
    """A replicate's stages: a synthesizer after the arm that it starts from, an arm after its synthesizer."""
    stages: list[Stage] = []
    made: set[tuple[str, str]] = set()

    def train(arm: str) -> None:
        if ("arm", arm) not in made:
            made.add(("arm", arm))
            writer = arms[arm].synthetic
            if writer is not None:
                write(writer)
            stages.append(_training(arm, arms[arm], number))

    def write(name: str) -> None:
        if ("synthesizer", name) not in made:
            made.add(("synthesizer", name))
            writer = synthesizers[name]
            if writer.start_arm is not None:
                train(writer.start_arm)
            for stage in _of_synthesizer(name, writer):
                stages.append(ScopedStage(stage, stage.name + suffix(name, number), number, synthesizer=name))

    if "baseline" in arms:
        train("baseline")
    for name in synthesizers:
        write(name)
    for arm in arms:
        train(arm)
    end = suffix(replicate=number)
    stages.append(ScopedStage(ExportStage("export-arms", tuple(arms)), f"export-arms{end}", number))
    stages.append(ScopedStage(EvaluateStage(), f"evaluate{end}", number))
    return stages


def _training(arm: str, about: Arm, replicate: int) -> Stage:
    synthetic = about.synthetic
    real = "the train documents" if about.documents == "train" else "the train and oracle documents"
    data = f"{real} until the token budget is spent"
    if synthetic is not None:
        data = f"synthetic text ({synthetic}) once, {real} for the rest"
    stage = TrainStage(f"train-{arm}", arm, f"train the arm {arm}: {data}")
    return ScopedStage(stage, stage.name + suffix(replicate=replicate), replicate, synthesizer=synthetic, arm=arm)
