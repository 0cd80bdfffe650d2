"""Sentences on the oracle: the share of its gain that SBP reaches, and the figures in which it is behind."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.arm_sentences import compared_in, outcome_of
from megatron_sbp.report.names import enumeration, name_of
from megatron_sbp.report.numbers import fixed, percent, signed


def oracle_gap(results: JsonObject) -> list[str]:
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
            compared = None if arm == "oracle" else compared_in(results, arm, "oracle", figure)
            if compared and outcome_of(compared) == "better":
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
            f" It read its documents {fixed(times['oracle'], 2)} times over, the baseline those of D "
            f"{fixed(times['baseline'], 2)} times, which may be the reason."
        )
    key = {"test_loss": "gap_closed", "recall": "gap_closed_recall"}.get(figure, "gap_closed_accuracy")
    share = "no share of its gain is given" if results.get(key) is None else "a share of its gain can exceed 100\u00a0%"
    learned = (
        "it has learned to recall less of what its documents say"
        if figure == "recall"
        else "more real text has not helped it as much"
    )
    return f"with this many training tokens {learned}, so it is no upper bound in this figure, and {share}.{read}"
