"""Section of the page: the quality sheet of the synthetic text, beside real text and the paper's table."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report import paper
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import figure, missing, panels, paragraph, section, side_by_side, table
from megatron_sbp.report.judge_reading import agreement_sentence, agrees_poorly
from megatron_sbp.report.line_chart import Curve, line_chart
from megatron_sbp.report.numbers import count, fixed
from megatron_sbp.report.quality_rows import GROUPS, ranged, sheet_rows
from megatron_sbp.report.seed_reading import seed_sentence


def quality_section(data: ReportData) -> str:
    """Quality of the synthetic text beside real text, and the paper's table."""
    title = "Quality of the synthetic text"
    known = {name: found.figures["quality"] for name, found in data.synthesizers.items() if found.figures["quality"]}
    if not known:
        return section("quality", title, missing("evaluation/quality.json."))
    sheets = {name: _sheet_of(quality) for name, quality in known.items()}
    return section("quality", title, panels("synthesizer", sheets), _paper())


def _sheet_of(quality: JsonObject) -> str:
    """Markup of the quality sheet of one synthesizer."""
    limits, told = quality["limits"], seed_sentence(quality["similarity"])
    ours = table(
        ["this run", *(name for _, name, _ in GROUPS)],
        sheet_rows(quality),
        caption="In brackets, the 95 % interval: exact for shares of documents, otherwise a bootstrap over documents "
        "or Student's t over blocks of text. The filters drop what repeats or copies, so what they keep is low by "
        "construction; raw generations are not.",
        kind="ours",
    ) + "".join(paragraph(note, "soft") for note in _notes(quality, limits))
    trusted, judge = agreement_sentence(quality.get("judge")), quality.get("judge")
    ours += paragraph(trusted, "note" if agrees_poorly(judge) else "soft") if trusted else ""
    compared = side_by_side(*filter(None, (_novelty_plot(quality["groups"]), _cosines(quality["similarity"]))))
    return (paragraph(told) if told else "") + ours + compared


def _notes(quality: JsonObject, limits: JsonObject) -> list[str]:
    found = [
        "* Real text here: documents of the valid split, which are not in D and which no arm was trained on.",
    ]
    compared = quality["groups"]["real"].get("compared")
    if compared:
        found.append(
            "Other real text: the seed documents, each once, cut so that they are as long as the kept texts; the "
            f"document itself does not count as part of D. It is cut to at most {limits['max_tokens']} tokens. "
            f"distinct-n and the vocabulary overlap are means over {compared['blocks']} blocks of "
            f"{count(compared['block_words'])} words, the same for every group, with one text per seed document. "
            f"self-BLEU is BLEU-4 of {compared['bleu_documents']} documents against each other, smoothed: high where "
            "texts are alike."
        )
    else:
        found.append(f"Real text is cut to {limits['max_tokens']} tokens, the longest that a synthetic one can be.")
    judge = quality.get("judge")
    if judge:
        real = "the pairs of real documents that the synthesizer was tuned on"
        if quality["similarity"]["real_pairs"] is None:
            real = "documents of D, without a seed document"
        found.append(f"{_who(judge)} Its real text is {real}.")
    return found


def _who(judge: JsonObject) -> str:
    if "function" in judge:
        return f"The judge is {judge['function']}() of {judge['file']} (sha256 {judge['sha256'][:12]})."
    return f"The judge is the model {judge['model']} at {judge['base_url']} (prompt {judge['prompt'][:12]})."


def _novelty_plot(groups: JsonObject) -> str:
    """Novel n-grams by n; nothing where they were not measured."""
    curves = []
    for key, name, kind in GROUPS:
        points = [
            (float(found["n"]), 100 * found["value"])
            for found in groups[key].get("novel_ngrams_by_n") or []
            if found["value"] is not None
        ]
        if points:
            curves.append(Curve(name, kind, points, marks=True))
    if not curves:
        return ""
    chart = line_chart(
        curves,
        title="novel word n-grams by n",
        x_label="words in an n-gram",
        y_label="novel n-grams (percent)",
        digits=1,
    )
    caption = "Share of a text's distinct word n-grams that occur in no document of D (for real text, no other one)."
    return figure(chart, caption)


def _cosines(similar: JsonObject) -> str:
    raw = similar.get("generations", {})  # an earlier version did not measure them
    rows = [
        [label, ranged(found.get(key), (found.get("intervals") or {}).get(key), lambda value: fixed(value, 3))]
        for label, found, key in (
            ("synthetic document and its seed document", similar, "to_seed"),
            ("synthetic document and another seed document", similar, "random_pairs"),
            ("raw generation and its seed document", raw, "to_seed"),
            ("raw generation and another seed document", raw, "random_pairs"),
            ("pair of real documents tuned on", similar, "real_pairs"),
            ("random pair of real documents", similar, "real_random_pairs"),
        )
        if found
    ]
    return table(["mean cosine of embeddings", "this run"], rows)


def _paper() -> str:
    rows = [[what, *(fixed(value, 1) for value in values)] for what, *values in paper.QUALITY]
    shown = table(
        ["paper, percent", "200B-3B", "1T-3B", "1T-6B", "real text"],
        rows,
        caption=f"The paper's figures, not measured here (mark {paper.MARK} for every value). Its definitions and "
        "thresholds are not fully published.",
    )
    similarity = ", ".join(f"{value} {name}" for name, value in paper.SIMILARITY.items())
    shown += paragraph(f"Similarity to the seed document in the paper (mark S): {similarity}.")
    return f'<div class="paper">{shown}</div>'
