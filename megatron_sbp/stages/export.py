"""`sbp export-MODEL`: exports trained models to Hugging Face checkpoints."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import CONSUMED
from megatron_sbp.checkpoint.tracker import checkpoint_folder
from megatron_sbp.recipe import settings
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage


def trained_by(model: str) -> str:
    """The stage that trains an arm or the synthesizer."""
    return "tune" if model == "synthesizer" else f"train-{model}"


class ExportStage(Stage):
    """Writes export/MODEL/: a Hugging Face checkpoint with its tokenizer and provenance.json.

    Args:
        name: the stage's name.
        models: arms, or the synthesizer.
        trained: the training run whose checkpoint becomes the synthesizer, where it is not tuned.
    """

    def __init__(self, name: str, models: tuple[str, ...], trained: str | None = None):
        self.name, self.models, self._trained = name, models, trained
        one = len(models) == 1
        exported = "the synthesizer" if models == ("synthesizer",) else ", ".join(models)
        self.title = f"export {exported} as {'a ' if one else ''}Hugging Face checkpoint{'' if one else 's'}"
        if trained:
            self.title = f"export the arm {trained} as the {models[0]}"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        # An arm is a unit, so that a further one is exported alone; a synthesizer's files have places of their own.
        model = self._training("synthesizer") if self.models == ("synthesizer",) else UNIT
        patterns = (usual.checkpoints(model), usual.consumed(model))
        return {
            "tokenizer": (usual.inside(usual.TOKENIZER),),
            **{trained_by(self._training(unit)): patterns for unit in self.models},
        }

    def settings(self, run: Run) -> JsonObject:
        return settings(run.recipe.model)

    def units(self, run: Run) -> list[str]:
        return list(self.models)

    def owns(self, run: Run) -> tuple[str, ...]:
        return tuple(usual.export(model) for model in self.models)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.checkpoint.hugging_face import export

        model = run.model(self._training(unit))
        iteration = files.read_json(model / CONSUMED)["export_iteration"]
        folder = checkpoint_folder(model, iteration)
        written = export(folder, run.recipe.model, run.tokenizer, run.export(unit))
        say(f"{self.name}: {unit}, {written['parameters']:,} parameters as {written['architecture']}")
        return [path for path in run.export(unit).iterdir() if path.is_file()]

    def _training(self, model: str) -> str:
        return self._trained or model
