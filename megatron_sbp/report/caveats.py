"""Sentences on what limits the results: a synthesizer that does not read its seed, overfitting, a single seed."""

from __future__ import annotations

import math

from scipy.stats import t as student

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections import CONTROL_RELATIONS
from megatron_sbp.report.arm_sentences import NOISE
from megatron_sbp.report.intervals import LEVEL
from megatron_sbp.report.numbers import percent, signed
from megatron_sbp.report.seed_reading import seed_sentence

LITTLE_READ = 0.05
"""Nats per token read from the seed that count as nothing, if the whole interval of the gain is below."""


def read_seed(tuning: JsonObject | None) -> list[str]:
    """Whether the synthesizer reads its seed, on pairs of unseen documents."""
    found = (tuning or {}).get("reading") or {}
    gain, error = found.get("gain"), found.get("gain_stderr")
    if gain is None:
        return []
    losses = (
        f"on pairs of unseen documents its loss is {found['loss_true_seed']:.4f} with the true seed and "
        f"{found['loss_wrong_seed']:.4f} with a wrong one ({signed(gain, error, 4)})"
    )
    # By Student's interval: of few pairs (from as many seed documents or fewer) two standard errors say little.
    reach = None if error is None else error * float(student.ppf(0.5 + LEVEL / 2, max(1, found["pairs"] - 1)))
    if reach is not None and gain > reach:
        return [f"The synthesizer reads its seed: {losses}."]
    if reach is not None and gain + reach < LITTLE_READ:
        return [f"The synthesizer does not read its seed, it only remembers: {losses}."]
    return [f"Too few pairs were measured to say whether the synthesizer reads its seed: {losses}."]


def useless_tuning(tuning: JsonObject | None) -> list[str]:
    """A sentence for a tuning that did not lower the loss on pairs of unseen documents."""
    before, best = ((tuning or {}).get(name) for name in ("valid_loss_before", "best_valid_loss"))
    if before is None or best is None or best < before:
        return []
    return [
        f"Tuning did not improve the synthesizer: its loss on pairs of unseen documents was {before:.4f} before and "
        f"{best:.4f} at its best checkpoint."
    ]


def ignored_seed(quality: JsonObject | None) -> list[str]:
    """A sentence for text that is no nearer to its own seed document than to another one."""
    told = seed_sentence(quality["similarity"]) if quality else None
    return [told] if told and quality and not quality["similarity"]["reads_seed"] else []


def below_chance(arms: JsonObject) -> list[str]:
    """A sentence for arms that answer significantly worse than a guess: the questions are then suspect, not the arm."""
    found = []
    for arm, figures in arms.items():
        value, error, chance = figures["choice_accuracy"], figures["choice_stderr"], figures.get("choice_chance")
        if "mean" in figures:  # over replicates, without the noise of the questions
            over = figures["mean"].get("choice_accuracy")
            value = over and over["mean"]
            error = None if over is None or error is None else math.hypot(error, over["stderr"])
        if None in (value, error, chance):
            continue
        high = figures.get("choice_high") if not error else None  # without spread, the exact interval's end
        if (value + NOISE * error if high is None else high) < chance:
            told = f"more than {NOISE:g} standard errors: {percent(value)} ± {100 * error:.1f}"
            if high is not None:
                told = f"more than the noise: {percent(value)}, 95 % interval up to {percent(high)},"
            found.append(
                f"The accuracy of {arm} is below chance by {told} against {percent(chance, 0)}. A model that knows "
                "nothing scores chance here, so check the questions before relying on this figure."
            )
    return found


def overfitting(arms: JsonObject) -> list[str]:
    """A sentence for a baseline that was better before its end by more than the noise: the fair one is stopped in time
    or regularized.

    The noise is that of one evaluation on the valid split. That of a difference on the same sequences is smaller, so
    what exceeds this one is no chance of the split.
    """
    baseline = arms.get("baseline") or {}
    best, error = baseline.get("best_valid"), baseline.get("valid_loss_stderr")
    if not best or best["last_loss"] - best["loss"] <= NOISE * (error or 0.0):
        return []
    text = (
        f"The baseline's own held-out loss was lowest before its end: {best['loss']:.4f} after {best['tokens']:,} "
        f"tokens, {best['last_loss']:.4f} at the end"
    )
    last = ((arms["sbp"]["best_valid"] if "sbp" in arms else None) or {}).get("last_loss")
    if last is not None:
        side = "above" if last > best["loss"] else "below"
        text += f"; SBP ends at {last:.4f}, {side} the baseline's best"
    return [text + ". A baseline that is stopped early or regularized harder is a fairer comparison."]


def limits(results: JsonObject) -> list[str]:
    recipe, replicates = results["recipe"], results["replicates"]
    if replicates == 1:
        sentences = [
            "One training seed per arm proves nothing: the standard errors here cover the noise of the test set only, "
            "not that of the initialization or the order of the data (replicates: 3 adds both)."
        ]
    else:
        sentences = [
            f"Test losses, accuracies, and recalls are means over {replicates} replicates (other weights, orders, and "
            "generations, on the same split), and intervals cover their noise and that of the test set."
        ]
    relations = {
        name: {**recipe["pairs"], **about.get("pairs", {})}["relation"]
        for name, about in _used(recipe).items()
        if about["method"] == "tuned"
    }
    controls = set(CONTROL_RELATIONS).intersection(relations.values())
    if relations and controls.issuperset(relations.values()):
        sentences.append(
            "This run is the control: its synthesizer was tuned on pairs that are not related. Whatever its SBP arm "
            "gains does not come from related documents."
        )
    elif relations and not controls:
        sentences.append(
            "Do not attribute a gain to the relatedness of the pairs without an arm on random pairs to compare with: "
            "any text that a model makes for itself regularizes."
        )
    start = results["recipe"]["tuning"].get("start")
    if start in ("best", "scratch"):
        what = {"best": "the baseline's best checkpoint, not its last one", "scratch": "new weights"}[start]
        sentences.append(
            f"The synthesizer was tuned from {what} (tuning.start: {start}); the paper tunes the baseline."
        )
    elif start not in (None, "last"):
        sentences.append(
            f"The synthesizer was tuned from another model's weights (tuning.start: {start}), not from the baseline: "
            "its text carries what that model learned elsewhere, and a gain of the SBP arm is not bootstrapping from D."
        )
    return sentences


def _used(recipe: JsonObject) -> dict[str, JsonObject]:
    """Overrides of the synthesizers that an arm takes text from, by name."""
    names = dict.fromkeys(about["synthetic"] for about in recipe["arms"].values() if about["synthetic"])
    return {name: recipe["synthesizers"][name] for name in names}
