"""Sentences that compare arms: each with another, or many with one."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.names import enumeration, label_of, name_of
from megatron_sbp.report.numbers import fixed, percent, signed

NOISE = 2.0
"""A difference below this many standard errors is called noise."""


def compared_in(results: JsonObject, first: str, second: str, figure: str) -> JsonObject | None:
    return (results["comparisons"].get(f"{first}-{second}") or {}).get(figure)


def outcome_of(found: JsonObject) -> str:
    """better, worse, or noise, for a gain: by its 95 % interval, or by its standard error where there is none."""
    gain, error = found["difference"], found["stderr"]
    if found.get("low") is not None and found["low"] != found["high"]:
        return "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "noise"
    if error is None or abs(gain) < NOISE * error or gain == 0:
        return "noise"
    return "better" if gain > 0 else "worse"


def two_arms(results: JsonObject, first: str, second: str, rival_first: bool = False) -> str:
    """Two arms in one sentence: loss, then recall or, where no questions were asked, accuracy.

    Args:
        results: what results.json holds.
        first: the arm that the sentence is about.
        second: the arm that it is compared with.
        rival_first: begins with the second arm, so that no two sentences on the first one begin alike.
    """
    one, other = (results["arms"][arm] for arm in (first, second))
    name, rival = name_of(first, start=not rival_first), name_of(second)
    found = compared_in(results, first, second, "test_loss")
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
    }[outcome_of(found)]
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
        found = compared_in(results, first, second, figure)
        if found is not None:
            chance = f", chance {percent(one['recall_chance'])}" if figure == "recall" else ""
            values = f"{percent(one[figure])} against {percent(other[figure])} ({_points(found)}{chance})"
            return f"{told[outcome_of(found)]}: {values}"
    reason = one["choice_reason"] or other["choice_reason"] or "not measured"
    return f"there is no choice accuracy to compare: {reason}"


def many_arms(results: JsonObject, rival: str, pairs: list[tuple[str, str]]) -> list[str]:
    """Many arms against one: on the test loss, and on recall or, where no questions were asked, accuracy.

    Args:
        results: what results.json holds.
        rival: the one arm, as a sentence names it.
        pairs: each arm with the one.

    Returns:
        One text, or none where nothing was measured.
    """
    sentences: list[str] = []
    asked = any(compared_in(results, *pair, "recall") for pair in pairs)
    second_figure = ("recall", "closed-book recall") if asked else ("choice_accuracy", "picking the true continuation")
    for figure, what, scale, digits in (("test_loss", "test loss", -1, 4), (*second_figure, 100, 1)):
        told: dict[str, list[str]] = {"better": [], "worse": [], "noise": []}
        for first, second in pairs:
            found = compared_in(results, first, second, figure)
            if found is not None:
                change = signed(scale * found["difference"], None, digits)
                told[outcome_of(found)].append(f"{label_of(first)} ({change})")
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
