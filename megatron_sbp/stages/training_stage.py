"""What `sbp train-ARM` and `sbp tune` share: a training run by Megatron, resumed after any interruption."""

from __future__ import annotations

import copy
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.one_file_system import check_one_file_system
from megatron_sbp.base.progress import duration, say
from megatron_sbp.checkpoint.initial_weights import start_model
from megatron_sbp.checkpoint.model_folder import DATA, METRICS
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tuning_start import keeps_best
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage, Stage
from megatron_sbp.training.damage import damaged_checkpoint, go_back, last_intact
from megatron_sbp.training.flags import megatron_arguments


def arguments_of(run: Run, training: str, samples: int | None = None) -> list[str]:
    """Megatron's flags for training one model of a run; see `megatron_arguments`."""
    start = start_model(run.recipe, arm=run.model(run.recipe.tuning.start_arm), prepared=run.model("start"))
    folder, tokenizer = run.model(training), run.tokenizer
    return megatron_arguments(
        run.recipe,
        training,
        folder=folder,
        tokenizer=tokenizer,
        start=start,
        samples=samples,
        save_file=run.save_file,
    )


class TrainingStage(Stage, ABC):
    """A training run by Megatron, of one unit.

    Args:
        name: the stage's name.
        training: an arm, or "synthesizer".
        title: one line for --help.
        srun: the words that make Slurm start the ranks (`executor.slurm_launch.srun_words`); None starts them on this
            machine.
    """

    device = "training"
    checks_own_work = True
    keeps_all: ClassVar[bool]
    """Whether checkpoints are kept while it trains: `kept_iterations` may be among them."""

    def __init__(self, name: str, training: str, title: str, srun: Sequence[str] | None = None):
        self.name, self.training, self.title, self.srun = name, training, title, srun

    def under(self, srun: Sequence[str]) -> TrainingStage:
        """The same stage, whose ranks Slurm starts."""
        stage = copy.copy(self)
        stage.srun = srun
        return stage

    @abstractmethod
    def batch(self, recipe: Recipe) -> int:
        """Sequences of a step."""

    @abstractmethod
    def patience(self, recipe: Recipe) -> int:
        """Evaluations without a better loss before training stops; 0 never stops it."""

    @abstractmethod
    def planned_samples(self, recipe: Recipe) -> int | None:
        """Samples of the whole training run; None if they are not known before it, or it may stop early."""

    @abstractmethod
    def kept_iterations(self, recipe: Recipe) -> Sequence[int]:
        """Iterations whose checkpoints stay."""

    @abstractmethod
    def dataset_names(self, recipe: Recipe) -> list[str]:
        """The datasets that are trained and validated on."""

    def prepare(self, run: Run) -> None:
        """Prepares what the training run starts from; called unless it has ended already."""

    def conclude(self, run: Run) -> list[Path]:
        """Called at the end; returns further outputs."""
        return []

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.model(self.training),)

    def saves(self, run: Run) -> tuple[str, ...]:
        return (usual.metadata(self.training),)  # not what is logged until a step is saved

    def spent(self, run: Run) -> float:
        from megatron_sbp.training.metrics import read_metrics

        rows = read_metrics(run.model(self.training) / METRICS)
        return sum(row["seconds"] for row in rows if row["kind"] == "train")

    def spent_on(self, run: Run, unit: str) -> float:
        try:
            return self.spent(run)
        except InputError:  # a damaged record, which training itself deals with
            return 0.0

    def progress(self, run: Run) -> str:
        from megatron_sbp.training.metrics import last_train_row

        file = run.model(self.training) / METRICS
        row = last_train_row(file)
        if row is None:
            return ""
        told = f"step {row['iteration']:,}"
        rate, age = row["tokens_per_second"], max(0.0, time.time() - file.stat().st_mtime)
        planned = self.planned_samples(run.recipe)
        if planned is not None:
            left = (planned - row["samples"]) * run.recipe.model.sequence_length / rate
            share = f"{row['samples']:,} of {planned:,} samples ({row['samples'] / planned:.0%})"
            told += f", {share}, {duration(left)} left"
        return f"{told}, loss {row['loss']:.3f}, {rate:,.0f} tokens/s; written {duration(age)} ago"

    def unfinished_damage(self, run: Run) -> list[Damage]:
        found = damaged_checkpoint(run.model(self.training))
        return [] if found is None else [Damage(run.relative(found[0]), found[1], gone=not found[0].exists())]

    def check_damage(self, run: Run, found: list[Damage], repair: bool, discard: bool) -> None:
        from megatron_sbp.training.running import refuse_second

        refuse_second(run.model(self.training))  # whose checkpoint may be half written just now
        intact = self._last_intact(run, found)
        if discard or (repair and intact is not None):
            return
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        if intact is None:
            advice = (
                f"no intact checkpoint is left to continue from; --discard {self.name} moves all of it to aside/ and "
            )
            advice += "trains again"
        else:
            advice = f"--repair {self.name} goes back to its checkpoint of iteration {intact} and continues from there"
        raise InputError(f"the training run is damaged: {found[0]}{more}; {advice}", file=run.at(found[0].path))

    def _refuse_damage(self, run: Run) -> None:
        found = self.unfinished_damage(run)
        if found:
            self.check_damage(run, found, repair=False, discard=False)

    def repair(self, run: Run, found: list[Damage]) -> None:
        folder = run.model(self.training)
        check_one_file_system(run.root, [folder, run.aside])
        intact, aside = self._last_intact(run, found), run.new_aside(f"{self.name}-damaged")
        go_back(folder, intact, aside, [run.at(item.path) for item in found])
        if intact is not None:
            say(f"{self.name}: going back to iteration {intact}; what comes after it is kept as {run.relative(aside)}")

    def _last_intact(self, run: Run, found: list[Damage]) -> int | None:
        return last_intact(run.model(self.training), [run.at(item.path) for item in found])

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.training.data.data_file import lock
        from megatron_sbp.training.data.planned import write_data_file
        from megatron_sbp.training.finalize import finalize
        from megatron_sbp.training.launch import train
        from megatron_sbp.training.resume import already_ended, check_precision, check_settings

        recipe, folder = run.recipe, run.model(self.training)
        folder.mkdir(parents=True, exist_ok=True)
        check_precision(folder, recipe.training.precision)
        check_settings(folder, json.loads(json.dumps(self.settings(run))))
        samples = write_data_file(
            recipe,
            self.training,
            folder=folder,
            datasets=_datasets(run, self.dataset_names(recipe)),
            tokenizer=run.tokenizer,
        )
        batch, patience = self.batch(recipe), self.patience(recipe)
        if already_ended(folder, samples=samples, global_batch_size=batch, patience=patience):
            lock(folder / DATA, resumed=True)
        else:
            self.prepare(run)
            train(
                arguments_of(run, self.training, samples),
                launch=recipe.launch,
                folder=folder,
                samples=samples,
                stage=self.name,
                log=run.log(self.name, "training"),
                srun=self.srun,
                stop=run.stop_file,
                save=run.save_file,
                keep_all=self.keeps_all,
            )
        outputs = finalize(
            folder,
            self.training,
            samples=samples,
            global_batch_size=batch,
            keep_best=keeps_best(recipe, self.training),
            keep=self.kept_iterations(recipe),
            refuse_damage=lambda: self._refuse_damage(run),
        )
        return [*outputs, *self.conclude(run)]


def _datasets(run: Run, names: Sequence[str]) -> dict[str, Path]:
    """Prefixes of datasets, by name.

    data.json names datasets relative to its own folder. That must hold both in a work folder and after the training run
    has moved to its final place, so a work folder gets links.
    """
    found = {name: run.tokens(name) for name in names}
    if run.work is None:
        return found
    for name, prefix in found.items():
        folder = run.work / run.relative(prefix.parent)
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(os.path.relpath(prefix.parent, folder.parent))
        found[name] = folder / prefix.name
    return found
