"""Figures as lm-eval's stage writes them, made up: two tasks with accuracies and one with a perplexity."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from megatron_sbp.recipe import Recipe, load_recipe

PEOPLE = Path(__file__).parents[2] / "examples" / "people" / "recipe.yaml"
RIGHT = {"baseline": 0.3, "sbp": 0.45, "oracle": 0.6}


def recipe(**metrics: str) -> Recipe:
    return load_recipe(PEOPLE, [f"evaluation.harness.metrics={json.dumps(metrics)}"])


def figures(values: np.ndarray, scale: str = "mean", counts: np.ndarray | None = None, higher: bool = True) -> dict:
    ratio = values.sum() / (len(values) if counts is None else counts.sum())
    value = {"mean": ratio, "perplexity": math.exp(-ratio)}[scale]
    listed = None if counts is None else counts.tolist()
    return {
        "value": float(value), "stderr": 0.01, "higher_is_better": higher, "scale": scale, "sums": values.tolist(),
        "counts": listed,
    }  # fmt: skip


def task(metrics: dict, documents: int, digest: str = "d") -> dict:
    return {"shots": 0, "version": 1.0, "samples": documents, "documents": digest, "metrics": metrics}


def measured(arm: str, seed: int = 0) -> dict:
    """Of one arm: two tasks with accuracies, of 400 and 100 questions, and a perplexity.

    Arms share what makes a question hard.
    """
    hard = np.random.default_rng(seed)
    noise = np.random.default_rng([seed, len(arm)])
    tasks = {}
    for name, number in (("large", 400), ("small", 100)):
        right = (hard.random(number) < RIGHT[arm]).astype(float)
        tasks[name] = task({"acc": figures(right), "acc_norm": figures(1 - right)}, number)
    words = hard.integers(5, 20, 50).astype(float)
    losses = -words * (3 - RIGHT[arm]) + noise.normal(0, 0.1, 50)
    tasks["prose"] = task({"word_perplexity": figures(losses, "perplexity", words, higher=False)}, 50)
    about = {"lm_eval": "0", "backend": "hf", "precision": "fp32", "device": "cpu", "limit": None}
    return {**about, "tasks": tasks}
