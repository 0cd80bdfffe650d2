"""The stages that export trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


def trained_by(model: str) -> str:
    """The stage that trains an arm or the synthesizer."""
    return "tune" if model == "synthesizer" else f"train-{model}"


class ExportStage(Stage):
    """Writes export/MODEL/: a Hugging Face checkpoint with its tokenizer and provenance.json."""

    def __init__(self, name: str, models: tuple[str, ...]):
        self.name, self.models = name, models
        self.title = f"export {', '.join(models)} as Hugging Face checkpoint{'s' if len(models) > 1 else ''}"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        trained = {
            trained_by(model): (f"models/{model}/iter_*", f"models/{model}/consumed.json") for model in self.models
        }
        return {"tokenizer": ("tokenizer/*",), **trained}

    def settings(self, run: Run) -> dict[str, Any]:
        return settings(run.recipe.model)

    def units(self, run: Run) -> list[str]:
        return list(self.models)

    def owns(self, run: Run) -> tuple[str, ...]:
        return tuple(f"export/{model}" for model in self.models)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.checkpoint.hugging_face import export

        iteration = files.read_json(run.model(unit) / "consumed.json")["export_iteration"]
        folder = run.model(unit) / f"iter_{iteration:07d}"
        written = export(folder, run.recipe.model, run.tokenizer, run.export(unit))
        say(f"{self.name}: {unit}, {written['parameters']:,} parameters as {written['architecture']}")
        return [path for path in run.export(unit).iterdir() if path.is_file()]
