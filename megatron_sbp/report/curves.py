"""Sections of the page: losses while training and while tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.data import ReportData, Rows, SynthesizerData
from megatron_sbp.report.html import figure, missing, panels, section, side_by_side
from megatron_sbp.report.line_chart import Curve, is_cut, line_chart
from megatron_sbp.report.names import color_of, dash_of, label_of, name_of

_POINTS = 400

_SKIP = 0.08
"""Of the x range: the steep start of a training."""


def opening_section(data: ReportData) -> str:
    """The outcome in pictures: recall, where it was measured, and held-out loss of all arms against tokens."""
    arms = list(data.results["arms"])
    figures = []
    curves = [
        curve
        for arm in arms
        for curve in _curves(
            arm,
            arms,
            [
                [(point["tokens"], 100 * point["recall"]) for point in one.get("recall_curve") or []]
                for one in data.results["arms"][arm].get("replicates", [data.results["arms"][arm]])
            ],
            marks=True,
        )
    ]
    if curves:
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
    absent = [label_of(arm) for arm in arms if not any(data.metrics.get(arm, []))]
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
        curve
        for arm in arms
        for curve in _curves(arm, arms, [_points(one, kind) for one in data.metrics.get(arm, [])], kind == "valid")
    ]
    if not curves:
        return []
    if data.results["replicates"] > 1:
        caption += f" {data.results['replicates']} replicates of every arm."
    chart = line_chart(
        curves,
        title=f"{name} over training tokens",
        x_label="training tokens",
        y_label=f"{name} (nats per token)",
        skip=_SKIP,
    )
    if is_cut(curves, _SKIP):
        caption += " A steep start is cut off at the top; double-click to show it."
    return [figure(chart, caption)]


def tuning_section(data: ReportData) -> str:
    """Losses of the synthesizers while they were tuned."""
    title = "Tuning the synthesizer"
    known = {name: found for name, found in data.synthesizers.items() if _points_of_steps(found.metrics[:1], "valid")}
    if not known:
        return section("tuning", title, missing("validation losses of the tuning (models/synthesizer/metrics.jsonl)."))
    return section("tuning", title, panels("synthesizer", {name: _tuning(found) for name, found in known.items()}))


def _tuning(data: SynthesizerData) -> str:
    """Markup on the tuning of one synthesizer: loss on pairs of the valid split, the chosen checkpoint marked."""
    tuning = data.figures["tuning"] or {}
    rows = [row for row in data.metrics[0] if row["kind"] == "valid"]
    chosen = next((row for row in rows if row["iteration"] == tuning.get("export_iteration")), None)
    chart = line_chart(
        _tuning_curves("synthesizer, pairs of the valid split", _points_of_steps(data.metrics, "valid"), marks=True),
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
    if len(data.metrics) > 1:
        caption += f" {len(data.metrics)} replicates; the figures here are those of the first."
    trained = _points_of_steps(data.metrics, "train")
    figures = [figure(chart, caption)]
    if trained:
        chart = line_chart(
            _tuning_curves("synthesizer, training pairs", trained),
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
    return side_by_side(*figures)


def _start(start: JsonObject | None) -> str:
    """What the tuning started from, if the recipe alone does not say it: a chosen checkpoint, or imported weights."""
    if start is None:
        return ""
    if "arm" in start:
        loss = f"{start['valid_loss']:.4f}"
        return f" It started from {name_of(start['arm'])} after {start['iteration']:,} steps, held-out loss {loss}."
    return f" It started from {start['parameters']:,} parameters of {start['folder']} ({start['architecture']})."


Points = list[tuple[float, float]]


def _curves(arm: str, arms: list[str], replicates: Sequence[Points], marks: bool) -> list[Curve]:
    """The curves of an arm, one of each replicate that has points."""
    several = len(replicates) > 1
    return [
        Curve(
            label_of(arm),
            color_of(arm, arms),
            _thin(points, len(replicates)),
            marks,
            dash_of(arm, arms),
            replicate=number if several else None,
        )
        for number, points in enumerate(replicates, start=1)
        if points
    ]


def _tuning_curves(label: str, replicates: Mapping[int, Points], marks: bool = False) -> list[Curve]:
    """The same of a synthesizer, by number of the replicate."""
    return [
        Curve(label, "synthesizer", _thin(points, len(replicates)), marks, replicate=number if number else None)
        for number, points in replicates.items()
    ]


def _points(rows: Rows, kind: str) -> Points:
    return [(row["tokens"], row["loss"]) for row in rows if row["kind"] == kind]


def _points_of_steps(replicates: Sequence[Rows], kind: str) -> dict[int, Points]:
    """Losses by optimizer step, by number of the replicate; 0 for the only one. Those without any are left out."""
    found = {
        number if len(replicates) > 1 else 0: [(row["iteration"], row["loss"]) for row in rows if row["kind"] == kind]
        for number, rows in enumerate(replicates, start=1)
    }
    return {number: points for number, points in found.items() if points}


def _thin(points: Points, replicates: int = 1) -> Points:
    """At most 400 points, fewer of each of several replicates: means of neighboring ones, so that long runs stay
    legible and the page small."""
    most = max(_POINTS // replicates, _POINTS // 4)
    if len(points) <= most:
        return points
    size = -(-len(points) // most)
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [
        (round(sum(x for x, _ in group) / len(group)), round(sum(y for _, y in group) / len(group), 6))
        for group in groups
    ]
