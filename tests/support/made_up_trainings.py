"""What the training runs of a made-up run would have left: losses by formula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.planning import ledger
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.training.metrics import Metrics


def write_trainings(run: Run, shifts: dict[str, float], random: np.random.Generator) -> None:
    length = run.recipe.model.sequence_length
    audit = files.read_json(run.tokens("audit").with_suffix(".json"))
    for arm in run.recipe.arms:
        samples = ledger.arm_samples(run.recipe, arm)
        total = sum(samples.values())
        datasets = {}
        for name, count in samples.items():
            unique = count * length if name == "synthetic" else audit[name]["tokens"]
            datasets[name] = {
                "samples": count,
                "tokens": count * length,
                "dataset_tokens": unique,
                "unique_tokens": min(unique, count * length),
                "epochs": count * length / unique,
            }
        consumed = {
            "training": arm,
            "stopped": "budget",
            "train_samples": total,
            "train_tokens": total * length,
            "iterations": total // 8,
            "seconds": 131.5,
            "tokens_per_second": total * length / 131.5,
            "datasets": datasets,
            "export_iteration": total // 8,
            "precision": "fp32",
            "best": {"iteration": total // 8, "valid_loss": 3.3 + shifts[arm], "kept": False},
        }
        files.write_json(run.model(arm) / "consumed.json", consumed)
        rows: list[dict[str, Any]] = []
        for step in range(0, total // 8 + 1):
            share = step * 8 / total
            base = 3.0 + 3.5 * math.exp(-7 * share) + shifts[arm] * share
            place = {"iteration": step, "samples": step * 8, "tokens": step * 8 * length}
            if step % 20 == 0:
                overfit = 0.5 * max(0.0, share - 0.6) if arm == "baseline" else 0.0
                by_source = {name: {"loss": base, "tokens": 20 * 8 * length} for name in samples}
                row = {"kind": "valid", **place, "loss": base + 0.3 + overfit, "train_loss_by_source": by_source}
                rows.append(row)
            if step:
                noisy = base - 0.8 * share * (arm == "baseline") + float(random.normal(0, 0.05))
                rows.append({"kind": "train", **place, "loss": noisy, "learning_rate": 1e-3})
        _write_metrics(run.model(arm) / "metrics.jsonl", rows)
    write_tuning(run)


def _write_metrics(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as training runs write them, with checksums, those of training with the figures of every step."""
    step = {"grad_norm": 0.4, "tokens_per_second": 1550.5, "tflops_per_rank": 0.002, "mfu": None, "seconds": 0.66}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    for row in rows:
        Metrics(file).append({**row, **(step if row["kind"] == "train" else {})})


def write_tuning(run: Run) -> None:
    def place(step: int) -> dict[str, int]:
        return {"iteration": step, "samples": 8 * step, "tokens": 1024 * step}

    losses = [3.9, 3.6, 3.45, 3.41, 3.44, 3.52]
    rows = [{"kind": "valid", **place(20 * k), "loss": loss} for k, loss in enumerate(losses)]
    rows += [
        {
            "kind": "train",
            "iteration": k,
            "samples": 8 * k,
            "tokens": 1024 * k,
            "loss": 3.2 - 0.004 * k,
            "learning_rate": 1e-3,
        }
        for k in range(1, 101)
    ]
    _write_metrics(run.model("synthesizer") / "metrics.jsonl", rows)
    consumed = {
        "training": "synthesizer",
        "stopped": "the loss on held-out pairs did not improve for 2 validations",
        "iterations": 100,
        "train_samples": 800,
        "train_tokens": 102400,
        "seconds": 58.0,
        "tokens_per_second": 1765.5,
        "datasets": {
            "pairs": {
                "samples": 800,
                "tokens": 102400,
                "dataset_tokens": 70000,
                "unique_tokens": 70000,
                "epochs": 1.46,
            }
        },
        "export_iteration": 60,
        "precision": "fp32",
        "best_valid_loss": 3.41,
        "valid_loss_before": 3.9,
    }
    files.write_json(run.model("synthesizer") / "consumed.json", consumed)
