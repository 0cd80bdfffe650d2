"""The figures of one arm, and their comparison with the plan: equal tokens, as planned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe
from megatron_sbp.report.intervals import mean_over_replicates, rate_interval
from megatron_sbp.report.sources import Trained, read_if_present
from megatron_sbp.training.metrics import read_metrics


def check_consumed(consumed: JsonObject, recipe: Recipe, arm: str, file: Path) -> None:
    """Compares what an arm consumed with the ledger.

    Args:
        consumed: contents of consumed.json.
        recipe: the recipe.
        arm: its name.
        file: where `consumed` is from, for errors.

    Raises:
        InputError: a dataset gave another number of samples than planned, or the tokens are not those of the samples.
    """
    planned = {name: samples for name, samples in ledger.arm_samples(recipe, arm).items() if samples}
    found = {name: entry["samples"] for name, entry in consumed["datasets"].items() if entry["samples"]}
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name, 0) != found.get(name, 0):
            raise InputError(
                f"{found.get(name, 0)} samples of '{name}' were consumed, but {planned.get(name, 0)} were planned",
                file=file,
                key=f"datasets.{name}.samples",
            )
    length = recipe.model.sequence_length
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


FIGURES = ("valid_loss", "test_loss", "test_perplexity", "test_bits_per_byte", "choice_accuracy", "recall")
"""What is averaged over replicates."""


def replicated_figures(
    sources: Sequence[Mapping[str, Trained]], recipe: Recipe, arm: str, evaluations: Sequence[Mapping[str, JsonValue]]
) -> JsonObject:
    """The figures of an arm in the first replicate (`arm_figures`).

    With several replicates also `replicates`, the figures of each, and `mean`: by figure its mean over them, stderr,
    low and high (95 %).
    """
    found = [
        arm_figures(trained[arm], recipe.for_replicate(number), arm, evaluation[arm])
        for number, (trained, evaluation) in enumerate(zip(sources, evaluations, strict=True), start=1)
    ]
    if len(found) == 1:
        return found[0]
    means = {}
    for figure in FIGURES:
        values = [entry[figure] for entry in found]
        if None not in values:
            estimate = mean_over_replicates(values)
            means[figure] = {"mean": estimate.value, **estimate.uncertainty()}
    shown = (*FIGURES, "train_tokens", "seconds", "best_valid", "recall_curve")
    return {**found[0], "replicates": [{name: entry[name] for name in shown} for entry in found], "mean": means}


def arm_figures(source: Trained, recipe: Recipe, arm: str, evaluation: JsonObject | None) -> JsonObject:
    """The figures of one training run of an arm: consumption checked against the plan, losses, accuracy, recall, speed.

    Raises:
        InputError: it did not consume what was planned; see `check_consumed`.
    """
    planned = ledger.arm_samples(recipe, arm)
    result: JsonObject = {
        "planned_tokens": sum(planned.values()) * recipe.model.sequence_length,
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
    consumed = read_if_present(source.consumed)
    if consumed:
        check_consumed(consumed, recipe, arm, source.consumed)
        datasets = consumed["datasets"]
        [name] = planned.keys() - {"synthetic"}
        real = datasets.get(name, {"unique_tokens": 0, "epochs": 0.0})
        result |= {
            "train_tokens": consumed["train_tokens"],
            "consumed_samples": {name: entry["samples"] for name, entry in datasets.items()},
            "unique_real_tokens": real["unique_tokens"],
            "synthetic_tokens": datasets.get("synthetic", {"tokens": 0})["tokens"],
            "real_epochs": real["epochs"],
            "tokens_per_second": consumed["tokens_per_second"],
            "seconds": consumed["seconds"],
            "best_valid": _best_valid(source.metrics),
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
        **_ends("choice", choice.get("accuracy"), choice.get("stderr"), _groups(choice)),
        "choice_questions": choice.get("questions"),
        "choice_reason": choice.get("reason"),
    }
    recall = (evaluation or {}).get("recall") or {}
    result |= {
        "recall": recall.get("recall"),
        "recall_stderr": recall.get("stderr"),
        **_ends("recall", recall.get("recall"), recall.get("stderr"), recall.get("groups")),
        "recall_chance": recall.get("chance"),
        "recall_questions": recall.get("questions"),
        "recall_by_documents": _with_ends(recall.get("by_documents")),
        "recall_by_tag": _with_ends(recall.get("by_tag")),
        "recall_curve": _recall_curve(evaluation or {}, result["planned_tokens"]),
    }
    return result


def _ends(figure: str, value: float | None, stderr: float | None, units: int | None) -> JsonObject:
    """The 95 % interval of a rate over its groups, as FIGURE_low and FIGURE_high."""
    low, high = rate_interval(value, stderr, units or 0) or (None, None)
    return {f"{figure}_low": low, f"{figure}_high": high}


def _groups(choice: JsonObject) -> int | None:
    """Groups of the continuation questions; None where none were asked."""
    return choice["questions"] // choice["group_size"] if choice.get("questions") else None


def _with_ends(parts: JsonObject | None) -> JsonObject | None:
    """Recall by kind of question, with the ends of the interval of each."""
    if parts is None:
        return None
    found = {}
    for name, part in parts.items():
        low, high = rate_interval(part["recall"], part["stderr"], part["groups"]) or (None, None)
        found[name] = {**part, "low": low, "high": high}
    return found


def _recall_curve(evaluation: JsonObject, tokens: int) -> list[JsonObject] | None:
    """Recall by training tokens, the trained arm last; None where it was measured on that one only."""
    if not evaluation.get("recall_curve"):
        return None
    last = {"tokens": tokens, **{name: evaluation["recall"][name] for name in ("recall", "stderr")}}
    points = [*evaluation["recall_curve"], last]
    return [{name: point[name] for name in ("tokens", "recall", "stderr")} for point in points]


def _best_valid(file: Path) -> JsonObject | None:
    """The lowest held-out loss seen while training, and where."""
    rows = [row for row in read_metrics(file, "valid") if _finite(row["loss"])]
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


def check_equal_tokens(sources: Sequence[Mapping[str, Trained]]) -> None:
    """Raises InputError when training runs of arms, in any replicate, were given different numbers of tokens."""
    known = [
        (arm, trained.consumed, consumed["train_tokens"])
        for replicate in sources
        for arm, trained in replicate.items()
        if (consumed := read_if_present(trained.consumed))
    ]
    for arm, file, tokens in known:
        first, _, wanted = known[0]
        if tokens != wanted:
            raise InputError(
                f"'{arm}' was trained on {tokens} tokens, '{first}' on {wanted}: the arms are not comparable",
                file=file,
                key="train_tokens",
            )


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
