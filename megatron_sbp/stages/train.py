"""`sbp train-ARM`: one arm's training run."""

from __future__ import annotations

from collections.abc import Sequence

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning import ledger
from megatron_sbp.planning.recall_points import recall_iterations
from megatron_sbp.recipe import Recipe, settings
from megatron_sbp.recipe.tuning_start import keeps_best
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.training_stage import TrainingStage
from megatron_sbp.training.fingerprint import arm_settings


class TrainStage(TrainingStage):
    """Trains one arm from scratch."""

    keeps_all = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        names = ledger.arm_samples(run.recipe, self.training).keys()
        real = (usual.tokens(name) for name in names - {"synthetic"})
        synthetic = {"tokenize-synthetic": (usual.tokens("synthetic"),)} if "synthetic" in names else {}
        tokenizer = {"tokenizer": (usual.inside(usual.TOKENIZER),)}
        return {**tokenizer, "tokenize": (*real, usual.tokens("valid")), **synthetic}

    def settings(self, run: Run) -> JsonObject:
        recipe = run.recipe
        wanted = {"seed": recipe.seed, "model": settings(recipe.model)}
        wanted |= {"training": arm_settings(recipe), "samples": ledger.arm_samples(recipe, self.training)}
        if recipe.arms[self.training].order != "mixed":
            wanted["order"] = recipe.arms[self.training].order
        if keeps_best(recipe, self.training):  # then the evaluations decide which checkpoint that is
            wanted["keeps_best"] = [recipe.training.eval_interval, recipe.training.eval_sequences]
        return wanted

    def batch(self, recipe: Recipe) -> int:
        return recipe.training.global_batch_size

    def patience(self, recipe: Recipe) -> int:
        return 0

    def planned_samples(self, recipe: Recipe) -> int | None:
        return sum(ledger.arm_samples(recipe, self.training).values())

    def kept_iterations(self, recipe: Recipe) -> Sequence[int]:
        return recall_iterations(recipe, self.training)

    def dataset_names(self, recipe: Recipe) -> list[str]:
        return [*ledger.arm_samples(recipe, self.training), "valid"]
