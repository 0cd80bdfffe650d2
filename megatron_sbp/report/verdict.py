"""What the numbers say, in plain sentences that follow from them alone. No arm is favored."""

from __future__ import annotations

import math

from scipy.stats import t as student

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections import CONTROL_RELATIONS
from megatron_sbp.report.arm_table import MOST_COLUMNS
from megatron_sbp.report.intervals import LEVEL
from megatron_sbp.report.means import quoted
from megatron_sbp.report.names import enumeration, label_of, name_of, names_of
from megatron_sbp.report.numbers import fixed, percent, signed
from megatron_sbp.report.seed_reading import seed_sentence

NOISE = 2.0
"""A difference below this many standard errors is called noise."""

LITTLE_READ = 0.05
"""Nats per token read from the seed that count as nothing, if the whole interval of the gain is below."""


def verdict(results: JsonObject) -> list[str]:
    """Sentences on the outcome: loss, recall and accuracy against the baseline and the controls, the oracle, limits."""
    measured = results["arms"]
    arms = quoted(measured)
    results = {**results, "arms": arms}
    pairs = {
        "the repetition baseline": [(arm, "baseline") for arm in arms if arm != "baseline" and "baseline" in arms],
        "SBP": [(arm, "sbp") for arm in arms if arm not in ("baseline", "sbp", "oracle") and "sbp" in arms],
    }
    if len(arms) > MOST_COLUMNS:
        sentences = [line for rival, compared in pairs.items() for line in _summary(results, rival, compared)]
    else:
        sentences = [_against(results, first, second) for first, second in pairs["the repetition baseline"]]
        sentences += [_against(results, sbp, control, rival_first=True) for control, sbp in pairs["SBP"]]
    return [
        *sentences,
        *_gap(results),
        *_reading(results.get("tuning")),
        *_ignored_seed(results.get("quality")),
        *_below_chance(measured),
        *_overfitting(arms),
        *_limits(results),
    ]


def headline(results: JsonObject) -> str:
    """One line: did SBP win, on closed-book recall if it was measured, and on the test loss?"""
    against = [arm for arm in results["arms"] if arm not in ("sbp", "oracle")]
    if "sbp" not in results["arms"] or not against:
        return "This run has no SBP arm beside a baseline: there is nothing to say about SBP."
    measured = {
        figure: [_compared(results, "sbp", arm, figure) for arm in against] for figure in ("recall", "test_loss")
    }
    if None in measured["test_loss"]:
        return "The arms have not been evaluated: there is no result yet."
    parts: dict[str, list[str]] = {}
    for figure, what in (("recall", "closed-book recall"), ("test_loss", "test loss")):
        outcomes = {arm: _outcome(found) for arm, found in zip(against, measured[figure], strict=True) if found}
        rivals = {
            kind: names_of([arm for arm, outcome in outcomes.items() if outcome == kind])
            for kind in ("better", "worse", "noise")
        }
        if rivals["worse"]:
            told = f"SBP lost to {rivals['worse']}"
        elif rivals["noise"]:
            told = f"SBP cannot be told apart from {rivals['noise']}"
        elif rivals["better"]:
            told = f"SBP is ahead of {rivals['better']}"
        else:
            continue
        parts.setdefault(told, []).append(f"in {what}")
    return "; ".join(f"{told} {' and '.join(where)}" for told, where in parts.items()) + ", at equal training tokens."


def _compared(results: JsonObject, first: str, second: str, figure: str) -> JsonObject | None:
    return (results["comparisons"].get(f"{first}-{second}") or {}).get(figure)


def _outcome(found: JsonObject) -> str:
    """better, worse, or noise, for a gain: by its 95 % interval, or by its standard error where there is none."""
    gain, error = found["difference"], found["stderr"]
    if found.get("low") is not None and found["low"] != found["high"]:
        return "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "noise"
    if error is None or abs(gain) < NOISE * error or gain == 0:
        return "noise"
    return "better" if gain > 0 else "worse"


def _against(results: JsonObject, first: str, second: str, rival_first: bool = False) -> str:
    """Two arms in one sentence: loss, then recall or, where no questions were asked, accuracy.

    Args:
        results: what results.json holds.
        first: the arm that the sentence is about.
        second: the arm that it is compared with.
        rival_first: begins with the second arm, so that no two sentences on the first one begin alike.
    """
    one, other = (results["arms"][arm] for arm in (first, second))
    name, rival = name_of(first, start=not rival_first), name_of(second)
    found = _compared(results, first, second, "test_loss")
    if found is None:
        told = f"With {rival}, {name} cannot be compared" if rival_first else f"{name} cannot be compared with {rival}"
        return f"{told}: one of them has not been evaluated."
    against, than = (f"Against {rival}, ", "") if rival_first else ("", f" than {rival}")
    noise = f"{name} differs" if rival_first else f"{name} and {rival} differ"
    # The sign is flipped: readers expect the change of the loss, below zero when it fell.
    change = signed(-found["difference"], found["stderr"], 4)
    loss = {
        "better": f"{against}{name} has a lower test loss{than}",
        "worse": f"{against}{name} has a higher test loss{than}",
        "noise": f"{against}{noise} in test loss by no more than the noise",
    }[_outcome(found)]
    values = f"{fixed(one['test_loss'], 4)} against {fixed(other['test_loss'], 4)} nats per token ({change})"
    return f"{loss}: {values}; {_second_figure(results, first, second)}."


_SECOND_FIGURES = {
    "recall": {
        "better": "it recalls more without reading",
        "worse": "it recalls less without reading",
        "noise": "in closed-book recall the difference is no more than the noise",
    },
    "choice_accuracy": {
        "better": "it picks the true continuation more often",
        "worse": "it picks the true continuation less often",
        "noise": "in picking the true continuation the difference is no more than the noise",
    },
}
"""What is said of two arms besides their loss, by outcome; the first figure that was measured."""


def _second_figure(results: JsonObject, first: str, second: str) -> str:
    """The second half of the sentence on two arms."""
    one, other = (results["arms"][arm] for arm in (first, second))
    for figure, told in _SECOND_FIGURES.items():
        found = _compared(results, first, second, figure)
        if found is not None:
            chance = f", chance {percent(one['recall_chance'])}" if figure == "recall" else ""
            values = f"{percent(one[figure])} against {percent(other[figure])} ({_points(found)}{chance})"
            return f"{told[_outcome(found)]}: {values}"
    reason = one["choice_reason"] or other["choice_reason"] or "not measured"
    return f"there is no choice accuracy to compare: {reason}"


def _summary(results: JsonObject, rival: str, pairs: list[tuple[str, str]]) -> list[str]:
    """Many arms against one: on the test loss, and on recall or, where no questions were asked, accuracy.

    Args:
        results: what results.json holds.
        rival: the one arm, as a sentence names it.
        pairs: each arm with the one.

    Returns:
        One text, or none where nothing was measured.
    """
    sentences: list[str] = []
    asked = any(_compared(results, *pair, "recall") for pair in pairs)
    second_figure = ("recall", "closed-book recall") if asked else ("choice_accuracy", "picking the true continuation")
    for figure, what, scale, digits in (("test_loss", "test loss", -1, 4), (*second_figure, 100, 1)):
        told: dict[str, list[str]] = {"better": [], "worse": [], "noise": []}
        for first, second in pairs:
            found = _compared(results, first, second, figure)
            if found is not None:
                change = signed(scale * found["difference"], None, digits)
                told[_outcome(found)].append(f"{label_of(first)} ({change})")
        parts = [
            f"{word}: {enumeration(told[kind])}"
            for kind, word in (("better", "better"), ("worse", "worse"), ("noise", "no more than noise"))
            if told[kind]
        ]
        if parts:
            start = "In" if sentences else f"Compared with {rival} in"
            sentences.append(f"{start} {what}, {'; '.join(parts)}.")
    return [" ".join(sentences)] if sentences else []


def _points(found: JsonObject) -> str:
    error = found["stderr"]
    if error is None and found["low"] is not None:
        low, high = (signed(100 * found[end], None, 1) for end in ("low", "high"))
        return f"{signed(100 * found['difference'], None, 1)} points, 95 % interval {low} to {high}"
    return f"{signed(100 * found['difference'], None if error is None else 100 * error, 1)} points"


def _reading(tuning: JsonObject | None) -> list[str]:
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


def _ignored_seed(quality: JsonObject | None) -> list[str]:
    """A sentence for text that is no nearer to its own seed document than to another one."""
    told = seed_sentence(quality["similarity"]) if quality else None
    return [told] if told and quality and not quality["similarity"]["reads_seed"] else []


def _below_chance(arms: JsonObject) -> list[str]:
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


def _gap(results: JsonObject) -> list[str]:
    if not {"baseline", "sbp", "oracle"} <= results["arms"].keys():
        return []
    found: list[str] = []
    parts: list[str] = []
    for key, what in (("gap_closed", "test loss"), ("gap_closed_recall", "closed-book recall")):
        share, low, high = (results[key + part] for part in ("", "_low", "_high"))
        if share is None:
            if key == "gap_closed":
                found.append(f"No share of the oracle's gain can be given: {results['gap_closed_reason']}.")
            continue
        told = percent(share, 0) + ("" if low is None else f" (95 % interval {percent(low, 0)} to {percent(high, 0)})")
        of = "of it" if parts else "of the oracle's gain over the baseline"
        if share < 0 and (high is None or high < 0):  # else it is noise, as the sentence on the difference says
            parts.append(f"none {of} in {what}, where it is behind the baseline (share {told})")
        else:
            parts.append(f"{told} {of} in {what}")
    return [*found, *([f"SBP reaches {', and '.join(parts)}."] if parts else []), *_beaten_oracle(results)]


_LED = {"test_loss": "test loss", "recall": "closed-book recall", "choice_accuracy": "picking the true continuation"}


def _beaten_oracle(results: JsonObject) -> list[str]:
    """In which figures arms are ahead of the oracle, which is then not an upper bound."""
    arms, found = results["arms"], []
    for figure, what in _LED.items():
        scale, digits, unit = (1, 4, " nats per token") if figure == "test_loss" else (100, 1, " points")
        ahead = []
        for arm in arms:
            compared = None if arm == "oracle" else _compared(results, arm, "oracle", figure)
            if compared and _outcome(compared) == "better":
                ends = [signed(scale * compared[end] if compared[end] else 0, None, digits) for end in ("low", "high")]
                told = "" if compared["low"] is None else f" [{', '.join(ends)}]"
                ahead.append(f"{name_of(arm)} (by {fixed(scale * compared['difference'], digits)}{unit}{told})")
        if ahead:
            found.append(f"In {what}, the oracle is behind {enumeration(ahead)}: {_why_behind(results, figure)}")
    return found


def _why_behind(results: JsonObject, figure: str) -> str:
    """What it means that the oracle is behind, and how often it read its documents: a possible reason."""
    times = {arm: results["arms"].get(arm, {}).get("real_epochs") for arm in ("oracle", "baseline")}
    read = ""
    if None not in times.values() and times["oracle"] < times["baseline"]:
        read = (
            f" It read its documents {fixed(times['oracle'], 1)} times over, the baseline those of D "
            f"{fixed(times['baseline'], 1)} times, which may be the reason."
        )
    key = {"test_loss": "gap_closed", "recall": "gap_closed_recall"}.get(figure, "gap_closed_accuracy")
    share = "no share of its gain is given" if results.get(key) is None else "a share of its gain can exceed 100\u00a0%"
    learned = (
        "it has learned to recall less of what its documents say"
        if figure == "recall"
        else "more real text has not helped it as much"
    )
    return f"with this many training tokens {learned}, so it is no upper bound in this figure, and {share}.{read}"


def _overfitting(arms: JsonObject) -> list[str]:
    """A sentence for a baseline that was better before its end: the fair one is stopped in time or regularized."""
    best = arms["baseline"]["best_valid"] if "baseline" in arms else None
    if not best or best["loss"] >= best["last_loss"] or best["tokens"] == best["last_tokens"]:
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


def _limits(results: JsonObject) -> list[str]:
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
