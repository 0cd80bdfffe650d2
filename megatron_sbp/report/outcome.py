"""Sections of the page: the results, beside those of the paper."""

from __future__ import annotations

import itertools
from functools import partial

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report import paper
from megatron_sbp.report.arm_table import MOST_COLUMNS, Figure, arm_table
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.harness_table import harness_tables
from megatron_sbp.report.html import esc, folded, missing, paragraph, prose, section, table
from megatron_sbp.report.means import quoted
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import (
    NOTHING,
    count,
    fixed,
    percent,
    percent_with_error,
    signed,
    spread_note,
    with_error,
)
from megatron_sbp.report.verdict import headline, verdict


def headline_box(data: ReportData) -> str:
    """The outcome in one sentence."""
    return f'<div class="verdict" id="verdict"><strong>{esc(headline(data.results))}</strong></div>'


def words_section(data: ReportData) -> str:
    """The outcome in sentences."""
    items = "".join(f"<li>{prose(sentence)}</li>" for sentence in verdict(data.results))
    return section("words", "In words", f'<div class="verdict"><ul>{items}</ul></div>')


def results_section(data: ReportData) -> str:
    """The results table of this run and the paper's."""
    arms, replicates = data.results["arms"], data.results["replicates"]
    parts = []
    silent = [label_of(arm) for arm in arms if arms[arm]["test_loss"] is None]
    if silent:
        parts.append(missing(f"{', '.join(silent)} not evaluated (stage evaluate)."))
    ours = arm_table(
        "this run",
        quoted(arms),
        _figures(arms),
        caption="Measured in this run. "
        + (
            f"Losses, accuracies, and recalls are means over {replicates} replicates, and ± is one standard error over "
            "them: other weights, orders, and generations, the same split. Other figures are those of the first."
            if replicates > 1
            else "± is one standard error over test sequences or groups of questions."
        )
        + spread_note(show(arm) for show in (accuracy, recall) for arm in quoted(arms).values()),
        kind="ours",
    )
    parts.append(f'<div class="beside"><div>{ours}</div>{_paper_qa()}</div>')
    by_documents = ("recall_by_documents", "closed-book recall by documents in D", _BY_DOCUMENTS)
    by_tag = ("recall_by_tag", "closed-book recall by tag", "The tags are those of the questions' file.")
    parts += [_recall_by(arms, replicates, *told) for told in (by_documents, by_tag)]
    parts.append(_differences(data.results))
    parts.append(harness_tables(data.results))
    return section("results", "Results", *parts)


def _figures(arms: JsonObject) -> list[Figure]:
    """What the results table shows of every arm."""
    recalled = []
    if any(arm["recall"] is not None for arm in arms.values()):
        recalled = [
            Figure("closed-book recall", recall, lead=True),
            Figure("chance in recall", lambda arm: percent(arm["recall_chance"])),
        ]
    return [
        Figure("training tokens", lambda arm: count(arm["train_tokens"])),
        Figure("epochs of its real data", lambda arm: fixed(arm["real_epochs"], 2)),
        Figure("synthetic tokens", lambda arm: count(arm["synthetic_tokens"])),
        Figure("valid loss (nats per token)", lambda arm: with_error(arm["valid_loss"], arm["valid_loss_stderr"], 4)),
        Figure(
            "test loss (nats per token)",
            lambda arm: with_error(arm["test_loss"], arm["test_loss_stderr"], 4),
            lead=True,
        ),
        Figure("test perplexity (per token)", lambda arm: fixed(arm["test_perplexity"], 2)),
        Figure(
            "test bits per byte",
            lambda arm: with_error(arm["test_bits_per_byte"], arm["test_bits_per_byte_stderr"], 4),
        ),
        Figure("continuation picked among four", accuracy, lead=True),
        Figure("questions (chance is 25\u00a0%)", lambda arm: count(arm["choice_questions"])),
        *recalled,
        Figure("tokens per second in training", lambda arm: count(arm["tokens_per_second"])),
        Figure("seconds in training", lambda arm: fixed(arm["seconds"], 1)),
    ]


def accuracy(arm: JsonObject) -> str:
    """56.2 % ± 2.1."""
    return percent_with_error(
        arm["choice_accuracy"], arm["choice_stderr"], (arm.get("choice_low"), arm.get("choice_high"))
    )


def recall(arm: JsonObject) -> str:
    """56.2 % ± 2.1."""
    return percent_with_error(arm["recall"], arm["recall_stderr"], (arm.get("recall_low"), arm.get("recall_high")))


def _recall_by(arms: JsonObject, replicates: int, key: str, title: str, told: str) -> str:
    """Recall by kind of question; empty if it was not measured.

    Args:
        arms: figures of every arm.
        replicates: how many there are.
        key: `recall_by_documents`, or `recall_by_tag`.
        title: of the table.
        told: what its caption says of the kinds.
    """
    known = [arm for arm in arms if arms[arm].get(key)]
    if not known:
        return ""
    first = arms[known[0]][key]
    return arm_table(
        title,
        arms,
        [
            Figure(
                f"{name} ({count(figures['questions'])} questions, chance {percent(figures['chance'])})",
                partial(_recall_with, key, name),
            )
            for name, figures in first.items()
        ],
        caption=told
        + (" These are figures of the first replicate." if replicates > 1 else "")
        + spread_note(_recall_with(key, name, arm) for name in first for arm in arms.values()),
    )


_BY_DOCUMENTS = (
    "How many documents in D are about the subject of a question. Without any, an arm that saw only D and text made "
    "from D cannot know the answer and should be at chance."
)


def _recall_with(key: str, kind: str, arm: JsonObject) -> str:
    found = (arm.get(key) or {}).get(kind) or {}
    return percent_with_error(found.get("recall"), found.get("stderr"), (found.get("low"), found.get("high")))


def recall_of_tag(tag: str, arm: JsonObject) -> str:
    """56.2 % ± 2.1, of the questions with a tag."""
    return _recall_with("recall_by_tag", tag, arm)


def _differences(results: JsonObject) -> str:
    arms = list(results["arms"])
    order = sorted(arms, key=lambda arm: (arm == "oracle", arm == "baseline", arm != "sbp", arms.index(arm)))
    # Among many arms the comparisons of one are shown at once, the others on a click.
    lead = next((arm for arm in ("sbp", "baseline") if arm in arms), order[0])
    shown: list[list[str]] = []
    others: list[list[str]] = []
    told_of: list[JsonObject | None] = []
    for first, second in itertools.combinations(order, 2):
        if second == "oracle" and first != "sbp":
            first, second = second, first
        found = results["comparisons"][f"{first}-{second}"]
        if found["test_loss"] is None:
            continue
        told_of += found.values()
        row = [
            f"{label_of(first)} against {label_of(second)}",
            _interval(found["test_loss"], -1, 4),
            _interval(found["choice_accuracy"], 100, 1),
            _interval(found["recall"], 100, 1),
        ]
        (shown if len(arms) <= MOST_COLUMNS or lead in (first, second) else others).append(row)
    if not shown:
        return ""
    told = [
        f"in {what} " + (f"none ({reason})" if (reason := results[f"{key}_reason"]) else _share(results, key))
        for key, figure, what in (
            ("gap_closed", "test_loss", "test loss"),
            ("gap_closed_accuracy", "choice_accuracy", "accuracy"),
            ("gap_closed_recall", "recall", "closed-book recall"),
        )
        if any(arm[figure] is not None for arm in results["arms"].values())
    ]
    caption = (
        "Paired: the same test sequences and the same questions for both arms; in brackets, the 95 % interval over them"
        + (" and the replicates" if results["replicates"] > 1 else "")
        + ". A lower loss is better, a higher accuracy or recall is better."
    )
    if any(found and found["stderr"] is None and found["low"] is not None for found in told_of):
        caption += (
            " Where two arms have the same figure in every group of questions, the interval is the exact one of how "
            "far they can differ in others."
        )
    head = ["differences", "test loss (nats per token)", "accuracy (percentage points)", "recall (percentage points)"]
    measured = [place for place in range(len(head)) if any(row[place] != NOTHING for row in (*shown, *others))]
    (head,), shown, others = ([[row[place] for place in measured] for row in rows] for rows in ([head], shown, others))
    folded_others = folded(f"{len(others)} differences between the other arms", table(head, others)) if others else ""
    share = paragraph(f"Share of the oracle's gain that SBP reaches: {'; '.join(told)}.")
    return table(head, shown, caption=caption) + folded_others + share


def _interval(found: JsonObject | None, scale: float, digits: int) -> str:
    """+0.0123 [+0.0100, +0.0146], times `scale`."""
    if found is None:
        return NOTHING
    ends = sorted(scale * found[end] for end in ("low", "high")) if found["low"] is not None else []
    told = signed(scale * found["difference"], None, digits)
    return told + (f" [{', '.join(signed(end, None, digits) for end in ends)}]" if ends else "")


def _share(results: JsonObject, key: str) -> str:
    low, high = results[f"{key}_low"], results[f"{key}_high"]
    return percent(results[key]) + ("" if low is None else f" [{percent(low)}, {percent(high)}]")


def _paper_qa() -> str:
    rows = [
        [scale, f"{baseline:.2f}", f"+{gain:.2f}", f"+{oracle:.2f}", percent(share, 0)]
        for scale, baseline, gain, oracle, share in paper.QA
    ]
    caption = (
        f"The paper's results (arXiv 2509.15248), not measured here (mark {paper.MARK} for every value: known "
        "from one summary). Mean accuracy in percent on six question-answering sets (ARC-Challenge, ARC-Easy, SciQ, "
        "WinoGrande, TriviaQA, WebQuestions), gains in percentage points, and the share of the oracle's gain that SBP "
        "reaches; 3B and 6B parameters. A different task and scale than this run."
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
