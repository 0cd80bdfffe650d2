"""`sbp tune`: the tuning of a synthesizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.initial_weights import needs_preparation, prepare_start, remove_start, start_files
from megatron_sbp.checkpoint.model_folder import STARTED_FROM
from megatron_sbp.recipe import Recipe, settings
from megatron_sbp.recipe.tuning_start import start_word
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.training_stage import TrainingStage
from megatron_sbp.training.fingerprint import tuning_settings


class TuneStage(TrainingStage):
    """Tunes the synthesizer from what `tuning.start` says."""

    keeps_all = False

    def __init__(self) -> None:
        super().__init__("tune", "synthesizer", "tune the synthesizer p(target | seed document) on pairs")

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        start: dict[str, tuple[str, ...]] = {}
        arm = run.recipe.tuning.start_arm
        if start_word(run.recipe) in ("last", "best"):
            start = {f"train-{arm}": (usual.checkpoints(arm),)}
        if start_word(run.recipe) == "best":  # it says which checkpoint is the best
            start[f"train-{arm}"] += (usual.consumed(arm),)
        tokenizer = {"tokenizer": (usual.inside(usual.TOKENIZER),)}
        return {**tokenizer, **start, "tokenize-pairs": (usual.tokens("pairs"), usual.tokens("valid_pairs"))}

    def external(self, run: Run) -> list[Path]:
        return start_files(run.recipe)

    def settings(self, run: Run) -> JsonObject:
        recipe = run.recipe
        wanted = {"seed": recipe.seed, "model": settings(recipe.model)}
        wanted["training"] = tuning_settings(recipe)  # a folder counts by its contents, see `external`
        if start_word(recipe) in ("best", "scratch"):
            wanted["start"] = start_word(recipe)
        if recipe.tuning.start_arm != "baseline":
            wanted["start_arm"] = recipe.tuning.start_arm
        return wanted

    def owns(self, run: Run) -> tuple[str, ...]:
        return (*super().owns(run), usual.model("start"))

    def batch(self, recipe: Recipe) -> int:
        return recipe.tuning.global_batch_size

    def patience(self, recipe: Recipe) -> int:
        return recipe.tuning.patience

    def planned_samples(self, recipe: Recipe) -> int | None:
        return None  # it follows from the pairs, and the tuning may stop early

    def kept_iterations(self, recipe: Recipe) -> Sequence[int]:
        return ()

    def dataset_names(self, recipe: Recipe) -> list[str]:
        return ["pairs", "valid_pairs"]

    def prepare(self, run: Run) -> None:
        recipe, prepared = run.recipe, run.model("start")
        arm, tuning = run.model(recipe.tuning.start_arm), run.model(self.training)
        prepare_start(recipe, arm=arm, tokenizer=run.tokenizer, tuning=tuning, prepared=prepared)

    def conclude(self, run: Run) -> list[Path]:
        if not needs_preparation(run.recipe):
            return []
        remove_start(run.model("start"))
        return [run.model(self.training) / STARTED_FROM]
