"""Sections of the page: losses while training and while tuning."""

from __future__ import annotations

from typing import Any

from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import figure, missing, section, side_by_side
from megatron_sbp.report.line_chart import Curve, line_chart
from megatron_sbp.report.names import color_of, dash_of, label_of, name_of

_POINTS = 400


def opening_section(data: ReportData) -> str:
    """The outcome in pictures: recall, where it was measured, and held-out loss of all arms against tokens."""
    arms = list(data.results["arms"])
    figures = []
    known = [arm for arm in arms if data.results["arms"][arm].get("recall_curve")]
    if known:
        curves = [
            Curve(
                label_of(arm),
                color_of(arm, arms),
                [(point["tokens"], 100 * point["recall"]) for point in data.results["arms"][arm]["recall_curve"]],
                marks=True,
                dash=dash_of(arm, arms),
            )
            for arm in known
        ]
        chart = line_chart(
            curves,
            title="closed-book recall over training tokens",
            x_label="training tokens",
            y_label="closed-book recall (percent)",
            digits=1,
        )
        caption = "The share of questions whose answer the arm ranks first, with nothing to read but the question."
        figures.append(figure(chart, caption))
    figures += _losses(data, "valid", "held-out loss", "On the valid split, the same sequences at every evaluation.")
    shown = side_by_side(*figures) if figures else missing("held-out losses of the arms (models/*/metrics.jsonl).")
    return section("overview", "All arms against tokens", shown)


def training_section(data: ReportData) -> str:
    """Train loss of all arms over training tokens."""
    arms = list(data.results["arms"])
    absent = [label_of(arm) for arm in arms if not data.metrics.get(arm)]
    parts = [missing(f"training curve of {', '.join(absent)} (models/*/metrics.jsonl).")] if absent else []
    caption = "On the batches trained on: repeated data is memorized, so a low loss here proves nothing."
    figures = _losses(data, "train", "training loss", caption)
    if figures:
        parts.append(side_by_side(*figures))
    return section("curves", "Training curves", *parts)


def _losses(data: ReportData, kind: str, name: str, caption: str) -> list[str]:
    """A figure of one kind of loss over training tokens; none where no arm has it."""
    arms = list(data.results["arms"])
    curves = [
        Curve(label_of(arm), color_of(arm, arms), _thin(points), kind == "valid", dash_of(arm, arms))
        for arm in arms
        if (points := _points(data, arm, kind))
    ]
    if not curves:
        return []
    chart = line_chart(
        curves,
        title=f"{name} over training tokens",
        x_label="training tokens",
        y_label=f"{name} (nats per token)",
        skip=0.08,
    )
    return [figure(chart, f"{caption} A steep start is cut off at the top; double-click to show it.")]


def tuning_section(data: ReportData) -> str:
    """Loss of the synthesizer on pairs of the valid split, the chosen checkpoint marked."""
    title = "Tuning the synthesizer"
    rows = [row for row in data.metrics.get("synthesizer", []) if row["kind"] == "valid"]
    if not rows:
        return section("tuning", title, missing("validation losses of the tuning (models/synthesizer/metrics.jsonl)."))
    tuning = data.results["tuning"] or {}
    chosen = next((row for row in rows if row["iteration"] == tuning.get("export_iteration")), None)
    points = [(row["iteration"], row["loss"]) for row in rows]
    chart = line_chart(
        [Curve("synthesizer, pairs of the valid split", "synthesizer", points, marks=True)],
        title="loss of the synthesizer on pairs of the valid split",
        x_label="optimizer steps",
        y_label="loss on target tokens (nats)",
        emphasis=(chosen["iteration"], chosen["loss"], f"chosen: {chosen['loss']:.4f}") if chosen else None,
    )
    caption = "Pairs among documents of the valid split: none of these documents was seen in training."
    caption += _start(tuning.get("start"))
    if tuning.get("stopped"):
        caption += f" Tuning stopped: {tuning['stopped']}."
    if tuning.get("valid_loss_before") is not None and tuning.get("best_valid_loss") is not None:
        caption += f" Loss before tuning {tuning['valid_loss_before']:.4f}, best {tuning['best_valid_loss']:.4f}."
    reading = tuning.get("reading") or {}
    if reading.get("gain") is not None:
        caption += (
            f" With a wrong seed before the same targets, the loss is {reading['loss_wrong_seed']:.4f}; with the true "
            f"one, {reading['loss_true_seed']:.4f} ({reading['pairs']:,} pairs): the difference is what it reads."
        )
    trained = [row for row in data.metrics["synthesizer"] if row["kind"] == "train"]
    figures = [figure(chart, caption)]
    if trained:
        points = _thin([(row["iteration"], row["loss"]) for row in trained])
        chart = line_chart(
            [Curve("synthesizer, training pairs", "synthesizer", points)],
            title="loss of the synthesizer on training pairs",
            x_label="optimizer steps",
            y_label="loss on target tokens (nats)",
        )
        before = (
            ""
            if data.recipe.tuning.start not in (None, "last", "best")
            else ", on which the synthesizer was trained before"
        )
        figures.append(
            figure(
                chart,
                f"The pairs tuned on. Both ends are documents of D{before}: this loss "
                f"{'starts low and ' if before else ''}says little.",
            )
        )
    return section("tuning", title, side_by_side(*figures))


def _start(start: dict[str, Any] | None) -> str:
    """What the tuning started from, if the recipe alone does not say it: a chosen checkpoint, or imported weights."""
    if start is None:
        return ""
    if "arm" in start:
        loss = f"{start['valid_loss']:.4f}"
        return f" It started from {name_of(start['arm'])} after {start['iteration']:,} steps, held-out loss {loss}."
    return f" It started from {start['parameters']:,} parameters of {start['folder']} ({start['architecture']})."


def _points(data: ReportData, model: str, kind: str) -> list[tuple[float, float]]:
    return [(row["tokens"], row["loss"]) for row in data.metrics.get(model, []) if row["kind"] == kind]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 400 points: means of neighboring ones, so that long runs stay legible and the page small."""
    if len(points) <= _POINTS:
        return points
    size = -(-len(points) // _POINTS)
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [
        (round(sum(x for x, _ in group) / len(group)), round(sum(y for _, y in group) / len(group), 6))
        for group in groups
    ]
