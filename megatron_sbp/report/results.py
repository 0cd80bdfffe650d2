"""results.json: every figure of a run in one place, collected from what the stages wrote, checked against the plan.

Pure reading and arithmetic: no torch. A stage that has not run leaves null behind; a figure that contradicts the plan
is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.environment import environment
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.statistics import grouped_stderr, ratio_stderr
from megatron_sbp.planning import ledger
from megatron_sbp.stages.run_folder import ARMS, Run
from megatron_sbp.training.metrics import read_metrics

PAIRED = (("baseline", "sbp"), ("baseline", "oracle"), ("sbp", "oracle"))
"""Arms that are compared question by question and sequence by sequence."""


def collect_results(run: Run) -> dict[str, Any]:
    """Collects the results of a run.

    Returns:
        JSON-able, without NaN:
        `arms.{baseline,sbp,oracle}` (tokens, epochs, losses, accuracy, speed; null where nothing was measured),
        `comparisons` (differences between arms with paired standard errors),
        `gap_closed` = (baseline - sbp) / (baseline - oracle) on the test loss, null with `gap_closed_reason` when the
        oracle is not ahead of the baseline by two standard errors; `gap_closed_accuracy` the same on the accuracy;
        `pairs`, `tuning`, `synthetic`, `stages.<name>.seconds`, `engines`, `environment`, `recipe`.

    Raises:
        InputError: an arm consumed something else than planned, or the arms differ in training tokens; names both
            values.
    """
    evaluations = {arm: _read(run.evaluation(arm)) for arm in ARMS}
    arms = {arm: _arm(run, arm, evaluations[arm]) for arm in ARMS}
    _check_equal_tokens(run, arms)
    comparisons = {
        f"{first}-{second}": _comparison(evaluations[first], evaluations[second]) for first, second in PAIRED
    }
    results: dict[str, Any] = {
        "name": run.recipe.name,
        "arms": arms,
        "comparisons": comparisons,
        **_gap_closed(evaluations, arms),
        "pairs": _pairs(run),
        "tuning": _tuning(run),
        "synthetic": _synthetic(run),
        "quality": _read(run.evaluation("quality")),
        "stages": stage_seconds(run),
        "engines": _engines(run, evaluations),
        "environment": environment(),
        "recipe": run.recipe.to_dict(),
    }
    return results


def check_consumed(run: Run, arm: str, consumed: dict[str, Any]) -> None:
    """Compares what an arm consumed with the ledger.

    Raises:
        InputError: a dataset gave another number of samples than planned, or the tokens are not those of the samples.
    """
    file = run.model(arm) / "consumed.json"
    planned = {name: samples for name, samples in ledger.arm_samples(run.recipe, arm).items() if samples}
    found = {name: entry["samples"] for name, entry in consumed["datasets"].items() if entry["samples"]}
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name, 0) != found.get(name, 0):
            raise InputError(
                f"{found.get(name, 0)} samples of '{name}' were consumed, planned were {planned.get(name, 0)}",
                file=file,
                key=f"datasets.{name}.samples",
            )
    length = run.recipe.model.sequence_length
    wanted = sum(planned.values()) * length
    if consumed["train_tokens"] != wanted:
        raise InputError(
            f"says {consumed['train_tokens']}, but {sum(planned.values())} samples of {length} tokens are {wanted}",
            file=file,
            key="train_tokens",
        )
    for name, entry in consumed["datasets"].items():
        if entry["tokens"] != entry["samples"] * length:
            raise InputError(
                f"says {entry['tokens']}, but {entry['samples']} samples of {length} tokens are "
                f"{entry['samples'] * length}",
                file=file,
                key=f"datasets.{name}.tokens",
            )


def _arm(run: Run, arm: str, evaluation: dict[str, Any] | None) -> dict[str, Any]:
    planned = ledger.arm_samples(run.recipe, arm)
    result: dict[str, Any] = {
        "planned_tokens": sum(planned.values()) * run.recipe.model.sequence_length,
        "planned_samples": planned,
        "train_tokens": None,
        "consumed_samples": None,
        "unique_real_tokens": None,
        "synthetic_tokens": None,
        "real_epochs": None,
        "tokens_per_second": None,
        "seconds": None,
        "best_valid": None,
    }
    consumed = _read(run.model(arm) / "consumed.json")
    if consumed:
        check_consumed(run, arm, consumed)
        datasets = consumed["datasets"]
        real = datasets.get("oracle" if arm == "oracle" else "real", {"unique_tokens": 0, "epochs": 0.0})
        result |= {
            "train_tokens": consumed["train_tokens"],
            "consumed_samples": {name: entry["samples"] for name, entry in datasets.items()},
            "unique_real_tokens": real["unique_tokens"],
            "synthetic_tokens": datasets.get("synthetic", {"tokens": 0})["tokens"],
            "real_epochs": real["epochs"],
            "tokens_per_second": consumed["tokens_per_second"],
            "seconds": consumed["seconds"],
            "best_valid": _best_valid(run.model(arm) / "metrics.jsonl"),
        }
    for split in ("valid", "test"):
        figures = evaluation[split] if evaluation else {}
        for name in ("loss", "loss_stderr", "perplexity", "bits_per_byte", "bits_per_byte_stderr", "tokens"):
            result[f"{split}_{name}"] = figures.get(name)
    choice = evaluation["choice"] if evaluation else {}
    result |= {
        "choice_accuracy": choice.get("accuracy"),
        "choice_stderr": choice.get("stderr"),
        "choice_chance": choice.get("chance"),
        "choice_questions": choice.get("questions"),
        "choice_reason": choice.get("reason"),
    }
    recall = (evaluation or {}).get("recall") or {}
    result |= {
        "recall": recall.get("recall"),
        "recall_stderr": recall.get("stderr"),
        "recall_chance": recall.get("chance"),
        "recall_questions": recall.get("questions"),
        "recall_by_documents": recall.get("by_documents"),
        "recall_by_tag": recall.get("by_tag"),
    }
    return result


def _best_valid(file: Path) -> dict[str, Any] | None:
    """The lowest held-out loss seen while training, and where."""
    rows = [row for row in read_metrics(file) if row["kind"] == "valid" and _finite(row["loss"])]
    if not rows:
        return None
    best = min(rows, key=lambda row: row["loss"])
    last = rows[-1]
    return {
        "loss": best["loss"],
        "tokens": best["tokens"],
        "last_loss": last["loss"],
        "last_tokens": last["tokens"],
    }


def _check_equal_tokens(run: Run, arms: dict[str, Any]) -> None:
    known = {arm: figures["train_tokens"] for arm, figures in arms.items() if figures["train_tokens"] is not None}
    for arm, tokens in known.items():
        first = next(iter(known))
        if tokens != known[first]:
            raise InputError(
                f"'{arm}' was trained on {tokens} tokens, '{first}' on {known[first]}: the arms are not comparable",
                file=run.model(arm) / "consumed.json",
                key="train_tokens",
            )


def _comparison(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the second arm gained over the first: positive is better for the second.

    Standard errors are those of paired differences over test sequences and questions: the noise of the test set alone,
    not that of another training seed.
    """
    if not first or not second:
        return None
    counts = np.array(first["test"]["sequence_tokens"], np.float64)
    if first["test"]["sequence_tokens"] != second["test"]["sequence_tokens"]:
        raise InputError("the arms were evaluated on different test sequences", key="evaluation")
    gained = _nats(first) - _nats(second)
    result: dict[str, Any] = {
        "test_loss": float(gained.sum() / counts.sum()),
        "test_loss_stderr": ratio_stderr(gained, counts),
        "choice_accuracy": None,
        "choice_stderr": None,
        **_recall_comparison(first.get("recall"), second.get("recall")),
    }
    if first["choice"].get("credits") and second["choice"].get("credits"):
        difference = np.array(second["choice"]["credits"]) - np.array(first["choice"]["credits"])
        result |= {
            "choice_accuracy": float(difference.mean()),
            "choice_stderr": grouped_stderr(difference, first["choice"]["group_size"]),
        }
    return result


def _recall_comparison(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, float | None]:
    """Gain in closed-book recall; its error is over the groups of questions."""
    if not first or not second:
        return {"recall": None, "recall_stderr": None}
    if first["group_questions"] != second["group_questions"]:
        raise InputError("the arms were asked different questions", key="evaluation.questions")
    counts = np.array(first["group_questions"], np.float64)
    gained = np.array(second["group_credits"]) - np.array(first["group_credits"])
    return {"recall": float(gained.sum() / counts.sum()), "recall_stderr": ratio_stderr(gained, counts)}


def _nats(evaluation: dict[str, Any]) -> np.ndarray:
    test = evaluation["test"]
    return np.array(test["sequence_losses"], np.float64) * np.array(test["sequence_tokens"], np.float64)


def _gap_closed(evaluations: dict[str, Any], arms: dict[str, Any]) -> dict[str, Any]:
    """Share of the oracle's gain that SBP reaches; its error by linearisation over test sequences."""
    loss = {arm: arms[arm]["test_loss"] for arm in ARMS}
    accuracy = {arm: arms[arm]["choice_accuracy"] for arm in ARMS}
    lead = _comparison(evaluations["baseline"], evaluations["oracle"]) or {}
    value, reason = gap_closed(loss, lower_is_better=True, what="test loss", noise=lead.get("test_loss_stderr"))
    stderr = None
    if value is not None:
        nats = {arm: _nats(evaluations[arm]) for arm in ARMS}
        stderr = ratio_stderr(nats["baseline"] - nats["sbp"], nats["baseline"] - nats["oracle"])
    value_accuracy, reason_accuracy = gap_closed(
        accuracy, lower_is_better=False, what="choice accuracy", noise=lead.get("choice_stderr")
    )
    return {
        "gap_closed": value,
        "gap_closed_stderr": stderr,
        "gap_closed_reason": reason,
        "gap_closed_accuracy": value_accuracy,
        "gap_closed_accuracy_reason": reason_accuracy,
    }


def gap_closed(
    values: dict[str, float | None], *, lower_is_better: bool, what: str, noise: float | None = None
) -> tuple[float | None, str | None]:
    """(baseline - sbp) / (baseline - oracle): 1 when SBP reaches the oracle, 0 when it gains nothing, below 0 when it
    loses.

    Args:
        values: by arm.
        lower_is_better: of the values.
        what: they are.
        noise: standard error of the oracle's gain; below two of them there is nothing to take a share of.

    Returns:
        The share and None, or None and the reason when there is no gain of the oracle to share in.
    """
    missing = [arm for arm in ARMS if values[arm] is None]
    if missing:
        return None, f"no {what} of {', '.join(missing)}"
    baseline, sbp, oracle = (float(values[arm]) for arm in ARMS)  # type: ignore[arg-type]
    gain = baseline - oracle if lower_is_better else oracle - baseline
    if gain <= 0:
        return None, f"the oracle is not ahead of the baseline: {what} {oracle:.4f} against {baseline:.4f}"
    if noise is not None and gain < 2 * noise:
        return None, f"the oracle's gain in {what}, {gain:.4f}, is within its noise (standard error {noise:.4f})"
    return (baseline - sbp if lower_is_better else sbp - baseline) / gain, None


def _pairs(run: Run) -> dict[str, Any] | None:
    audit = _read(run.audit_pairs)
    if audit is None:
        return None
    neighbors = _read(run.audit_neighbors) or {}
    return {
        **_without_histogram(audit["train"]),
        "recall_at_k": neighbors.get("recall_at_k"),
        "recall_sample": neighbors.get("recall_sample"),
        "valid": _without_histogram(audit["valid"]),
    }


def _without_histogram(audit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in audit.items() if key != "score_histogram"}


def _tuning(run: Run) -> dict[str, Any] | None:
    consumed = _read(run.model("synthesizer") / "consumed.json")
    if consumed is None:
        return None
    names = (
        "iterations train_samples train_tokens seconds tokens_per_second stopped best_valid_loss valid_loss_before "
        "export_iteration"
    ).split()
    audit = _read(run.tokens("pairs_audit").with_suffix(".json")) or {}
    reading = _read(run.evaluation("reading"))
    return {**{name: consumed.get(name) for name in names}, **audit, "reading": reading}


def _synthetic(run: Run) -> dict[str, Any] | None:
    audit = _read(run.audit_synthetic)
    quality = _read(run.evaluation("quality"))
    if audit is None and quality is None:
        return None
    tokens = _read(run.tokens("synthetic_audit").with_suffix(".json")) or {}
    kept = quality["groups"]["synthetic"] if quality else {}
    drafts = quality["groups"]["drafts"] if quality else {}
    similarity = quality["similarity"] if quality else {}
    figures = ("repetition", "duplicate", "copying", "corpus_copying", "novel_ngrams")
    return {
        "documents": (audit or {}).get("kept", kept.get("population")),
        "tokens": tokens.get("tokens"),
        "dropped": (audit or {}).get("dropped"),
        **{name: kept.get(name) for name in figures},
        "similarity_to_seed": similarity.get("to_seed"),
        "similarity_random_pairs": similarity.get("random_pairs"),
        "before_filters": {"documents": drafts.get("population"), **{name: drafts.get(name) for name in figures}},
        "audit": audit,
    }


def stage_seconds(run: Run) -> dict[str, dict[str, Any]]:
    """Seconds of every finished stage, in the order in which they began."""
    found = []
    for file in run.manifests.glob("*.json"):
        manifest = files.read_json(file)
        if "seconds" in manifest and "stage" in manifest:
            found.append((manifest.get("started", 0.0), manifest["stage"], manifest))
    return {
        name: {"seconds": manifest["seconds"], "units": manifest.get("units")}
        for _, name, manifest in sorted(found, key=lambda entry: entry[:2])
    }


def _engines(run: Run, evaluations: dict[str, Any]) -> dict[str, Any]:
    recipe = run.recipe
    devices = sorted({evaluation["device"] for evaluation in evaluations.values() if evaluation})
    return {
        "training": "megatron-core",
        "training_precision": _precision(run),
        "embedding": recipe.embedding.model,
        "neighbors": recipe.neighbors.engine,
        "synthesis": recipe.synthesis.engine,
        "evaluation": f"transformers, fp32, {', '.join(devices)}" if devices else None,
    }


def _precision(run: Run) -> str:
    """What the arms were trained in: not always what the recipe says today."""
    consumed = [_read(run.model(arm) / "consumed.json") or {} for arm in ARMS]
    found = sorted({entry.get("precision", run.recipe.training.precision) for entry in consumed})
    return " and ".join(found)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _read(file: Path) -> Any:
    return files.read_json(file) if file.exists() else None
