"""Sections of the page: what came out, beside what the paper reports."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from megatron_sbp.report import paper
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import esc, missing, paragraph, section, table
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import NOTHING, count, fixed, percent, signed, with_error
from megatron_sbp.report.verdict import headline, verdict


def headline_box(data: ReportData) -> str:
    """The outcome in one sentence."""
    return f'<div class="verdict" id="verdict"><strong>{esc(headline(data.results))}</strong></div>'


def words_section(data: ReportData) -> str:
    """The outcome in sentences."""
    items = "".join(f"<li>{esc(sentence)}</li>" for sentence in verdict(data.results))
    return section("words", "In words", f'<div class="verdict"><ul>{items}</ul></div>')


def results_section(data: ReportData) -> str:
    """The results table of this run and the paper's."""
    arms = data.results["arms"]
    parts = []
    silent = [label_of(arm) for arm in arms if arms[arm]["test_loss"] is None]
    if silent:
        parts.append(missing(f"{', '.join(silent)} not evaluated (stage evaluate)."))
    ours = table(
        ["this run", *map(label_of, arms)],
        arm_rows(arms),
        caption="Measured in this run. ± is one standard error over test sequences or questions"
        + (", of the first replicate." if data.results["replicates"] > 1 else "."),
        kind="ours",
        row_kinds=["", "", "", "", "lead", "", "", "lead"],
    )
    parts.append(f'<div class="beside"><div>{ours}</div>{_paper_qa()}</div>')
    parts.append(_replicates(arms, data.results["replicates"]))
    parts.append(_recall_by_documents(arms))
    parts.append(_differences(data.results))
    return section("results", "Results", *parts)


def arm_rows(arms: dict[str, Any]) -> list[list[str]]:
    """Rows of the results table: a heading and a cell for each arm."""

    def row(label: str, cell: Callable[[Any], str]) -> list[str]:
        return [label, *(cell(arms[arm]) for arm in arms)]

    recalled: list[list[str]] = []
    if any(arms[arm]["recall"] is not None for arm in arms):
        recalled.append(row("closed-book recall", recall))
        recalled.append(row("chance in recall", lambda arm: percent(arm["recall_chance"])))
    return [
        row("training tokens", lambda arm: count(arm["train_tokens"])),
        row("epochs of its real data", lambda arm: fixed(arm["real_epochs"], 2)),
        row("synthetic tokens", lambda arm: count(arm["synthetic_tokens"])),
        row("valid loss (nats per token)", lambda arm: with_error(arm["valid_loss"], arm["valid_loss_stderr"], 4)),
        row("test loss (nats per token)", lambda arm: with_error(arm["test_loss"], arm["test_loss_stderr"], 4)),
        row("test perplexity (per token)", lambda arm: fixed(arm["test_perplexity"], 2)),
        row(
            "test bits per byte",
            lambda arm: with_error(arm["test_bits_per_byte"], arm["test_bits_per_byte_stderr"], 4),
        ),
        row("continuation picked among four", accuracy),
        row("questions (chance is 25 %)", lambda arm: count(arm["choice_questions"])),
        *recalled,
        row("tokens per second in training", lambda arm: count(arm["tokens_per_second"])),
        row("seconds in training", lambda arm: fixed(arm["seconds"], 1)),
    ]


def recall(arm: dict[str, Any]) -> str:
    """56.2 % ± 2.1."""
    if arm["recall"] is None:
        return NOTHING
    error = "" if arm["recall_stderr"] is None else f" ±\u00a0{100 * arm['recall_stderr']:.1f}"
    return percent(arm["recall"]) + error


def _recall_by_documents(arms: dict[str, Any]) -> str:
    """Recall by the number of documents in D about what is asked; nothing where it was not measured."""
    known = [arm for arm in arms if arms[arm]["recall_by_documents"]]
    if not known:
        return ""
    first = arms[known[0]]["recall_by_documents"]
    rows = []
    for name, figures in first.items():
        found = [(arms[arm]["recall_by_documents"] or {}).get(name) or {} for arm in arms]
        cells = [recall({"recall": f.get("recall"), "recall_stderr": f.get("stderr")}) for f in found]
        label = f"{name} ({count(figures['questions'])} questions, chance {percent(figures['chance'])})"
        rows.append([label, *cells])
    return table(
        ["closed-book recall by documents in D", *map(label_of, arms)],
        rows,
        caption="What is asked about has so many documents in D. Without any, an arm that saw only D and text made "
        "from D cannot know the answer and should be at chance.",
    )


def accuracy(arm: dict[str, Any]) -> str:
    """56.2 % ± 2.1."""
    if arm["choice_accuracy"] is None:
        return NOTHING
    error = "" if arm["choice_stderr"] is None else f" ±\u00a0{100 * arm['choice_stderr']:.1f}"
    return percent(arm["choice_accuracy"]) + error


def _replicates(arms: dict[str, Any], number: int) -> str:
    """Means over replicates with their standard errors; nothing with one replicate."""
    if number == 1:
        return ""
    rows = [
        [label, *(_mean(figures["mean"].get(figure), scale, digits) for figures in arms.values())]
        for figure, label, scale, digits in (
            ("test_loss", "test loss (nats per token)", 1, 4),
            ("choice_accuracy", "continuation picked among four (per cent)", 100, 1),
            ("recall", "closed-book recall (per cent)", 100, 1),
        )
        if any(figure in figures["mean"] for figures in arms.values())
    ]
    return table(
        [f"mean of {number} replicates", *map(label_of, arms)],
        rows,
        caption="± is one standard error over the replicates: other weights, orders and generations, the same split.",
    )


def _mean(found: dict[str, Any] | None, scale: float, digits: int) -> str:
    return NOTHING if found is None else with_error(scale * found["mean"], scale * found["stderr"], digits)


def _differences(results: dict[str, Any]) -> str:
    arms = list(results["arms"])
    order = sorted(arms, key=lambda arm: (arm == "oracle", arm == "baseline", arm != "sbp", arms.index(arm)))
    rows = []
    for first, second in itertools.combinations(order, 2):
        if second == "oracle" and first != "sbp":
            first, second = second, first
        found = results["comparisons"][f"{first}-{second}"]
        if found["test_loss"] is None:
            continue
        rows.append(
            [
                f"{label_of(first)} against {label_of(second)}",
                _interval(found["test_loss"], -1, 4),
                _interval(found["choice_accuracy"], 100, 1),
                _interval(found["recall"], 100, 1),
            ]
        )
    if not rows:
        return ""
    told = [
        f"on the {what} " + (results[f"{key}_reason"] or _share(results, key))
        for key, what in (
            ("gap_closed", "test loss"),
            ("gap_closed_accuracy", "accuracy"),
            ("gap_closed_recall", "closed-book recall"),
        )
    ]
    return table(
        ["differences", "test loss (nats per token)", "accuracy (percentage points)", "recall (percentage points)"],
        rows,
        caption="Paired: the same test sequences and the same questions for both arms; in brackets the 95 % interval"
        + (" over them and the replicates" if results["replicates"] > 1 else " over them")
        + ". A lower loss is better, a higher accuracy or recall is better.",
    ) + paragraph(f"Share of the oracle's gain that SBP reaches: {'; '.join(told)}.")


def _interval(found: dict[str, Any] | None, scale: float, digits: int) -> str:
    """+0.0123 [+0.0100, +0.0146], times `scale`."""
    if found is None:
        return NOTHING
    ends = sorted(scale * found[end] for end in ("low", "high")) if found["low"] is not None else []
    told = signed(scale * found["difference"], None, digits)
    return told + (f" [{', '.join(signed(end, None, digits) for end in ends)}]" if ends else "")


def _share(results: dict[str, Any], key: str) -> str:
    low, high = results[f"{key}_low"], results[f"{key}_high"]
    return percent(results[key]) + ("" if low is None else f" [{percent(low)}, {percent(high)}]")


def _paper_qa() -> str:
    rows = [
        [scale, f"{baseline:.2f}", f"+{gain:.2f}", f"+{oracle:.2f}", percent(share, 0)]
        for scale, baseline, gain, oracle, share in paper.QA
    ]
    caption = (
        f"The paper's results (arXiv 2509.15248), not measured here (mark {paper.MARK} for every value: known "
        "from one summary). Mean accuracy in per cent on six question-answering sets (ARC-Challenge, ARC-Easy, SciQ, "
        "WinoGrande, TriviaQA, WebQuestions), gains in percentage points, and the share of the oracle's gain that SBP "
        "reaches; 3B and 6B parameters. Another task and another scale than this run."
    )
    return (
        '<div class="paper">'
        + table(
            ["the paper", "baseline", "SBP", "oracle", "share"],
            rows,
            caption=caption,
        )
        + "</div>"
    )
