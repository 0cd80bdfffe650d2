"""The training stages: the three arms and the tuning of the synthesizer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.checkpoint import seals, tracker
from megatron_sbp.checkpoint.start import prepare_start, remove_start, start_files, start_model
from megatron_sbp.executor.manifests import Damage
from megatron_sbp.executor.replacement import move_aside
from megatron_sbp.executor.runner import Stage
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import settings
from megatron_sbp.recipe.tuning_start import keeps_best, start_word
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.training.fingerprint import arm_settings, tuning_settings
from megatron_sbp.training.flags import evaluation_batches, megatron_arguments


class TrainStage(Stage):
    """Trains one arm from scratch, or tunes the synthesizer from the baseline or `tuning.start`."""

    device = "training"

    def __init__(self, name: str, training: str, title: str):
        self.name, self.training, self.title = name, training, title

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        tokenizer = {"tokenizer": ("tokenizer/*",)}
        if self.training == "synthesizer":
            start: dict[str, tuple[str, ...]] = {}
            if start_word(run.recipe) in ("last", "best"):
                start = {"train-baseline": ("models/baseline/iter_*",)}
            if start_word(run.recipe) == "best":  # it says which checkpoint is the best
                start["train-baseline"] += ("models/baseline/consumed.json",)
            return {**tokenizer, **start, "tokenize-pairs": ("tokens/pairs.*", "tokens/valid_pairs.*")}
        names = list(ledger.arm_samples(run.recipe, self.training))
        reads = {**tokenizer, "tokenize": (*(f"tokens/{name}.*" for name in names), "tokens/valid.*")}
        if "synthetic" in names:
            reads["tokenize-synthetic"] = ("tokens/synthetic.*",)
        return reads

    def external(self, run: Run) -> list[Path]:
        return start_files(run.recipe) if self.training == "synthesizer" else []

    def settings(self, run: Run) -> dict[str, Any]:
        recipe = run.recipe
        wanted = {"seed": recipe.seed, "model": settings(recipe.model)}
        if self.training == "synthesizer":
            wanted["training"] = tuning_settings(recipe)  # a folder counts by its contents, see `external`
            if start_word(recipe) in ("best", "scratch"):
                wanted["start"] = start_word(recipe)
            return wanted
        wanted |= {"training": arm_settings(recipe), "samples": ledger.arm_samples(recipe, self.training)}
        if keeps_best(recipe, self.training):  # then the evaluations decide which checkpoint that is
            wanted["keeps_best"] = [recipe.training.eval_interval, recipe.training.eval_sequences]
        return wanted

    def owns(self, run: Run) -> tuple[str, ...]:
        return (f"models/{self.training}", *(("models/start",) if self.training == "synthesizer" else ()))

    def spent(self, run: Run) -> float:
        from megatron_sbp.training.metrics import read_metrics

        rows = read_metrics(run.model(self.training) / "metrics.jsonl")
        return sum(row["seconds"] for row in rows if row["kind"] == "train")

    def unfinished_damage(self, run: Run) -> list[Damage]:
        """The checkpoint that the training would go on from, where it is not as it was written."""
        folder = run.model(self.training)
        if (folder / "stopped.txt").exists():
            return []
        iteration = tracker.read(folder)
        wrong = None if iteration is None else seals.broken(folder, iteration)
        return [] if wrong is None else [Damage(run.relative(wrong[0]), wrong[1], gone=not wrong[0].exists())]

    def check_damage(self, run: Run, found: list[Damage], repair: bool, discard: bool) -> None:
        intact = self._intact_checkpoint(run, found)
        if discard or (repair and intact is not None):
            return
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        if intact is None:
            advice = f"no intact checkpoint is left to go on from; --discard {self.name} moves all of it to aside/ and "
            advice += "trains again"
        else:
            advice = f"--repair {self.name} goes back to its checkpoint of iteration {intact} and trains on from there"
        raise InputError(f"the training is damaged: {found[0]}{more}; {advice}", file=run.at(found[0].path))

    def repair(self, run: Run, found: list[Damage]) -> None:
        """Sets the training back to its last intact checkpoint, or moves all of it aside where there is none."""
        folder, intact = run.model(self.training), self._intact_checkpoint(run, found)
        aside = move_aside(run, f"{self.name}-damaged")
        if intact is None:
            folder.replace(aside / folder.name)
            return
        for number in tracker.complete(folder):
            if number > intact:
                checkpoint = folder / f"iter_{number:07d}"
                checkpoint.replace(aside / checkpoint.name)
        files.write_text(folder / tracker.NAME, str(intact))
        if (folder / "stopped.txt").exists():
            (folder / "stopped.txt").replace(aside / "stopped.txt")
        say(f"{self.name}: going back to iteration {intact}; what comes after it is kept as {run.relative(aside)}")

    def _intact_checkpoint(self, run: Run, found: list[Damage]) -> int | None:
        """The last checkpoint without damage; None where there is none, or where its history is damaged."""
        folder = run.model(self.training)
        base = run.relative(folder)
        if any(item.path in (f"{base}/{name}" for name in ("metrics.jsonl", "data.json")) for item in found):
            return None
        damaged = {item.path.split("/")[2] for item in found}
        good = [
            number
            for number in tracker.complete(folder)
            if f"iter_{number:07d}" not in damaged and seals.broken(folder, number) is None
        ]
        return good[-1] if good else None

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.training.launch import train

        folder = run.model(self.training)
        folder.mkdir(parents=True, exist_ok=True)
        if run.work is not None and not (run.work / "tokens").exists():
            # data.json names datasets by their place relative to the training; that must hold before and after the
            # training takes the place of a former one.
            (run.work / "tokens").symlink_to(os.path.relpath(run.root / "tokens", run.work))
        self._check_precision(run)
        samples = self._write_data_file(run)
        stopped = folder / "stopped.txt"
        if not stopped.exists() and not self._ended(run, samples):
            if self.training == "synthesizer":
                prepare_start(run)
            arguments = megatron_arguments(run, self.training, samples)
            train(run, self.name, self.training, arguments, samples, os.environ.get("SBP_LAUNCHER", "local"))
        return self._close_training(run, samples, stopped.read_text())

    def _check_precision(self, run: Run) -> None:
        """A training is resumed in the precision that it began with: its checkpoints hold other tensors in another."""
        file, precision = run.model(self.training) / "precision.txt", run.recipe.training.precision
        if not file.exists():
            files.write_text(file, precision)
            return
        began = file.read_text().strip()
        if began != precision and not (run.model(self.training) / "stopped.txt").exists():
            raise InputError(
                f"this training began in {began} and the recipe says {precision}; go on with training.precision="
                f"{began}, or move {run.model(self.training)} away to train again",
                file=run.model(self.training),
                key="training.precision",
            )

    def _ended(self, run: Run, samples: int) -> bool:
        """Whether the last checkpoint is the end already: the training was killed after it and before it said so.

        Megatron cannot start with no sample left. Where the last evaluation is missing, too, the training is set back
        by one checkpoint, and its last steps are done again with the same result.
        """
        from megatron_sbp.training.early_stopping import END_OF_PLAN, exhausted, reason
        from megatron_sbp.training.metrics import read_metrics

        folder = run.model(self.training)
        iteration = tracker.read(folder)
        if iteration is None:
            return False
        section = run.recipe.tuning if self.training == "synthesizer" else run.recipe.training
        rows = [row for row in read_metrics(folder / "metrics.jsonl") if row["iteration"] <= iteration]
        patience = run.recipe.tuning.patience if self.training == "synthesizer" else 0
        if patience and exhausted(rows, patience):
            files.write_text(folder / "stopped.txt", reason(patience))
            return True
        if iteration * section.global_batch_size < samples:
            return False
        if any(row["kind"] == "valid" and row["iteration"] == iteration for row in rows):
            files.write_text(folder / "stopped.txt", END_OF_PLAN)
            return True
        earlier = [number for number in tracker.complete(folder) if number < iteration]
        if earlier:
            files.write_text(folder / tracker.NAME, str(earlier[-1]))
        else:
            (folder / tracker.NAME).unlink()
        return False

    def _write_data_file(self, run: Run) -> int:
        """Writes models/NAME/data.json; returns the training sequences planned."""
        from megatron_sbp.tokenization.tokenizer import load_tokenizer
        from megatron_sbp.training.data.data_file import DataFile, Source

        recipe, tokenizer = run.recipe, load_tokenizer(run.tokenizer)
        pairs = self.training == "synthesizer"
        section = recipe.tuning if pairs else recipe.training
        held_out = evaluation_batches(section) * section.global_batch_size
        if pairs:
            counts = {"pairs": self._pair_samples(run)}
        else:
            counts = {name: count for name, count in ledger.arm_samples(recipe, self.training).items() if count}
        DataFile(
            kind="pairs" if pairs else "documents",
            train=[Source(name, self._beside(run, name), count, name == "synthetic") for name, count in counts.items()],
            valid=Source(
                "valid_pairs" if pairs else "valid",
                self._beside(run, "valid_pairs" if pairs else "valid"),
                held_out,
            ),
            sequence_length=recipe.tuning_sequence_length if pairs else recipe.model.sequence_length,
            seed=recipe.seed,
            epochs=recipe.training.epochs,
            end_of_document=tokenizer.end_of_document,
            padding=tokenizer.padding,
            separator=tokenizer.separator,
        ).write(run.model(self.training) / "data.json")
        return sum(counts.values())

    def _beside(self, run: Run, dataset: str) -> str:
        """A dataset as data.json names it: relative to the training's folder."""
        return os.path.relpath(run.relative(run.tokens(dataset)), run.relative(run.model(self.training)))

    def _pair_samples(self, run: Run) -> int:
        """Packed sequences of the tuning: `tuning.max_epochs` passes, rounded up to whole global batches.

        The packing stays in the training's cache, where its ranks find it.
        """
        from megatron_sbp.tokenization.indexed import open_lengths
        from megatron_sbp.training.data.index_cache import IndexCache
        from megatron_sbp.training.data.packing import shared_packing
        from megatron_sbp.training.data.pair_lengths import pair_lengths

        prefix = run.tokens("pairs")
        lengths = pair_lengths(open_lengths(prefix))
        cache = IndexCache(run.model(self.training) / "cache")
        try:
            packing = shared_packing(lengths, run.recipe.tuning_sequence_length, run.recipe.seed, prefix.name, cache)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(str(error), file=prefix, key="pairs") from error
        sequences = len(packing)
        batch = run.recipe.tuning.global_batch_size
        return -(-int(sequences * run.recipe.tuning.max_epochs) // batch) * batch

    def _close_training(self, run: Run, samples: int, stopped: str) -> list[Path]:
        """Checks what was consumed against the plan, and writes consumed.json."""
        from megatron_sbp.tokenization.indexed import open_lengths
        from megatron_sbp.training import consumption
        from megatron_sbp.training.data.data_file import DataFile
        from megatron_sbp.training.early_stopping import best
        from megatron_sbp.training.metrics import read_metrics

        folder = run.model(self.training)
        data = DataFile.read(folder / "data.json")
        rows = read_metrics(folder / "metrics.jsonl")
        steps = [row for row in rows if row["kind"] == "train"]
        section = run.recipe.tuning if self.training == "synthesizer" else run.recipe.training
        iterations = int((folder / tracker.NAME).read_text())
        complete = iterations * section.global_batch_size == samples
        assert complete or self.training == "synthesizer", (iterations, samples)
        found = consumption.check(folder / "consumed", data, iterations, section.global_batch_size, complete)
        length = data.sequence_length
        datasets = {}
        for source in data.train:
            tokens = int(open_lengths((folder / source.prefix).resolve()).sum(dtype="int64"))
            used = found[source.name] * length
            datasets[source.name] = {
                "samples": found[source.name],
                "tokens": used,
                "dataset_tokens": tokens,
                "unique_tokens": min(used, tokens),
                "epochs": used / tokens,
            }
        seconds = sum(row["seconds"] for row in steps)
        consumed_samples = sum(found.values())
        result = {
            "training": self.training,
            "stopped": stopped,
            "iterations": iterations,
            "train_samples": consumed_samples,
            "train_tokens": consumed_samples * length,
            "seconds": seconds,
            "tokens_per_second": consumed_samples * length / seconds,
            "datasets": datasets,
            "export_iteration": iterations,
            "precision": (folder / "precision.txt").read_text().strip(),
        }
        kept = False
        if self.training == "synthesizer":
            chosen = best(rows)
            before = next(row["loss"] for row in rows if row["kind"] == "valid" and row["iteration"] == 0)
            result |= {
                "export_iteration": chosen["iteration"],
                "best_valid_loss": chosen["loss"],
                "valid_loss_before": before,
            }
        else:
            chosen = best(rows)
            kept = keeps_best(run.recipe, self.training)
            result["best"] = {"iteration": chosen["iteration"], "valid_loss": chosen["loss"], "kept": kept}
        files.write_json(folder / "consumed.json", result)
        numbers = {result["export_iteration"]} | ({result["best"]["iteration"]} if kept else set())
        chosen_folders = [folder / f"iter_{number:07d}" for number in sorted(numbers)]
        for old in folder.glob("iter_*"):
            if old not in (*chosen_folders, folder / f"iter_{iterations:07d}"):
                shutil.rmtree(old)
        shutil.rmtree(folder / "cache", ignore_errors=True)  # orders and packings, of no use any more
        described = [folder / name for name in ("consumed.json", "data.json", "blend.lock.json", "metrics.jsonl")]
        if self.training == "synthesizer" and start_model(run) == run.model("start"):
            described.append(folder / "start.json")
            remove_start(run)
        chosen_folders = {*chosen_folders, folder / f"iter_{iterations:07d}"}
        kept_files = {path for chosen in chosen_folders for path in chosen.rglob("*") if path.is_file()}
        return [*described, *sorted(kept_files)]
