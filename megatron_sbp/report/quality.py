"""Section of the page: the quality sheet of the synthetic text, beside real text and the paper's table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.confidence import estimate, share_interval
from megatron_sbp.report import paper
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import figure, missing, panels, paragraph, section, side_by_side, table
from megatron_sbp.report.judge_reading import agreement_sentence, agrees_poorly
from megatron_sbp.report.line_chart import Curve, line_chart
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import NOTHING, count, fixed, percent
from megatron_sbp.report.seed_reading import seed_sentence

GROUPS = (
    ("synthetic", "kept by the filters", "sbp"),
    ("real", "real text", "baseline"),
    ("generations", "raw generations", "synthesizer"),
)
"""Groups of texts: key in quality.json, name, and name of their color in style.css."""

_SHOWN_N = (1, 2, 3, 5, 8, 13)

_UNIT = "\u00a0%"

Show = Callable[[float], str]


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


def sheet_rows(quality: JsonObject) -> list[list[str]]:
    """The rows of the quality table: a label, and a cell for each of GROUPS."""
    return [
        *_counts(quality),
        *_shares(quality),
        *_contamination(quality),
        *_sheet(quality["groups"]),
        *_judged(quality),
    ]


def ranged(value: float | None, ends: Sequence[float] | None, show: Show) -> str:
    """12.3 % [11.0, 14.2]; the interval is left out where there is none."""
    if value is None:
        return NOTHING
    return show(value) + (f" [{', '.join(show(end).removesuffix(_UNIT) for end in ends)}]" if ends else "")


def _estimate(found: JsonObject | None, show: Show) -> str:
    """The same for a figure that carries its ends."""
    if not found:
        return NOTHING
    ends = None if found.get("low") is None else (found["low"], found["high"])
    return ranged(found["value"], ends, show)


def _row(groups: JsonObject, label: str, cell: Callable[[JsonObject], str]) -> list[str]:
    return [label, *(cell(groups[key]) for key, _, _ in GROUPS)]


def _counts(quality: JsonObject) -> list[list[str]]:
    groups = quality["groups"]
    rows = [
        _row(groups, "documents in all", lambda group: count(group["population"])),
        _row(groups, "documents measured", lambda group: count(group["documents"])),
    ]
    if not any(group.get("lengths") for group in groups.values()):
        return [*rows, _row(groups, "tokens per document, mean", lambda group: _plain_length(group["tokens"]))]
    return [
        *rows,
        _row(
            groups,
            "tokens per document, mean",
            lambda group: _estimate((group["lengths"] or {}).get("mean"), lambda value: f"{value:.0f}"),
        ),
        _row(groups, "5, 25, 50, 75, 95 % of documents are shorter than", _quantiles),
    ]


def _plain_length(found: dict[str, float] | None) -> str:
    return NOTHING if found is None else f"{found['mean']:.0f}"


def _quantiles(group: JsonObject) -> str:
    found = (group["lengths"] or {}).get("quantiles")
    return NOTHING if not found else ", ".join(f"{value['value']:.0f}" for value in found.values())


def _shares(quality: JsonObject) -> list[list[str]]:
    """Figures that are plain numbers, with their intervals beside them."""
    groups, limits = quality["groups"], quality["limits"]
    compared, pairs = (count(groups["real"][key]) for key in ("duplicate_documents", "duplicate_pairs"))

    def row(label: str, key: str, digits: int = 1) -> list[str]:
        def cell(group: JsonObject) -> str:
            return ranged(group[key], (group.get("intervals") or {}).get(key), lambda value: percent(value, digits))

        return _row(groups, label, cell)

    return [
        row(f"repetition (over {limits['max_repetition']:g} of 4-grams repeat)", "repetition"),
        row("repeated 4-grams, mean", "repetition_mean"),
        row(f"near-duplicate of another among {compared}", "duplicate"),
        row(f"near-duplicates among {pairs} random pairs", "duplicate_pairs_share", 4),
        row(f"copying (over {limits['max_copying']:g} of shingles in the seed)", "copying"),
        row(f"{limits['shingle_tokens']}-token shingles that occur in D *", "corpus_copying"),
        row("ended by themselves", "finished"),
    ]


def _items_of(kind: str) -> str:
    return kind if kind in ("questions", "test documents") else f"items of {kind}"


def _contamination(quality: JsonObject) -> list[list[str]]:
    """Evaluation items that occur anywhere in the text of a group; nothing where none were looked for."""
    told = quality.get("contamination")
    if not told:
        return []

    def cell(kind: str, group: str) -> str:
        found, whole = told["found"].get(group), told["items"][kind]
        if found is None or not whole:
            return NOTHING
        interval = share_interval(found[kind], whole)
        return f"{_estimate(estimate(found[kind] / whole, interval), percent)} ({count(found[kind])})"

    kinds = [kind for kind, whole in told["items"].items() if whole]
    return [
        [
            f"{_items_of(kind)} that occur in it (of {count(told['items'][kind])})",
            *(cell(kind, key) for key, _, _ in GROUPS),
        ]
        for kind in kinds
    ]


def _sheet(groups: JsonObject) -> list[list[str]]:
    """Figures that carry their intervals; those that were not measured are left out."""
    rows: list[list[str]] = []

    def add(label: str, find: Callable[[JsonObject], JsonObject | None], show: Show) -> None:
        found = [find(groups[key]) for key, _, _ in GROUPS]
        if any(one and one["value"] is not None for one in found):
            rows.append([label, *(_estimate(one, show) for one in found)])

    def add_all[Key](labels: dict[Key, str], find: Callable[[Key, JsonObject], JsonObject | None], show: Show) -> None:
        for key, label in labels.items():
            add(label, functools.partial(find, key), show)

    add_all({n: f"word {n}-grams that do not occur in D" for n in _SHOWN_N}, _novel, percent)
    add_all({n: f"distinct-{n}" for n in "1234"}, lambda n, group: (group.get("distinct") or {}).get(n), percent)
    add("self-BLEU", lambda group: group.get("self_bleu"), lambda value: f"{value:.3f}")
    add("distinct words that occur in D", lambda group: group.get("vocabulary_overlap"), percent)
    arms = dict.fromkeys(arm for group in groups.values() for arm in group.get("perplexity") or {})
    labels = {arm: f"perplexity under the {label_of(arm)} *" for arm in arms}
    add_all(labels, lambda arm, group: group["perplexity"].get(arm), lambda value: f"{value:.2f}")
    add("tokenized again, different tokens", lambda group: group.get("retokenized"), percent)
    return rows


def _novel(n: int, group: JsonObject) -> JsonObject | None:
    return next((found for found in group.get("novel_ngrams_by_n") or [] if found["n"] == n), None)


def _judged(quality: JsonObject) -> list[list[str]]:
    if not quality.get("judge"):
        return []
    groups = quality["groups"]
    return [
        _row(groups, "non-factual, according to the judge", lambda group: _estimate(group.get("non_factual"), percent)),
        _row(
            groups,
            "irrelevant to the seed, according to the judge",
            lambda group: _estimate(group.get("pair_irrelevance"), percent),
        ),
    ]


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
