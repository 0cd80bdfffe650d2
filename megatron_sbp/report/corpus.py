"""Sections of the page: tokens of each arm, pairs, filters."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.numbers import format_count
from megatron_sbp.recipe.sections import CONTROL_RELATIONS
from megatron_sbp.report.audits import dropped_by_rule
from megatron_sbp.report.bars import Part, bar_chart
from megatron_sbp.report.data import ReportData, SynthesizerData
from megatron_sbp.report.histogram import similarity_histogram
from megatron_sbp.report.html import esc, figure, folded, missing, panels, paragraph, section, side_by_side, table
from megatron_sbp.report.names import enumeration, label_of
from megatron_sbp.report.numbers import NOTHING, count, fixed, percent


def ledger_section(data: ReportData) -> str:
    """Tokens of each arm by source, planned and consumed."""
    arms = data.results["arms"]
    rows = []
    length = data.recipe.model.sequence_length
    for arm in arms:
        figures = arms[arm]
        for name, planned in figures["planned_samples"].items():
            consumed = (figures["consumed_samples"] or {}).get(name)
            agrees = NOTHING if consumed is None and planned else "yes" if (consumed or 0) == planned else "NO"
            tokens = format_count(planned * length)
            source = "own documents" if name == "oracle" else name
            rows.append([f"{label_of(arm)}: {source}", count(planned), count(consumed), agrees, tokens])
    parts = []
    absent = [label_of(arm) for arm in arms if arms[arm]["train_tokens"] is None]
    if absent:
        parts.append(missing(f"{', '.join(absent)} not trained (models/*/consumed.json)."))
    compared = table(
        ["samples", "planned", "consumed", "agree", "tokens"],
        rows,
        caption=f"One sample is a sequence of {length:,} tokens. A difference stops the run.",
        kind="fits",
    )
    return section("ledger", "Token ledger", *parts, side_by_side(_tokens_by_source(arms), compared))


def _tokens_by_source(arms: JsonObject) -> str:
    """Bars of what each arm consumed; nothing where none was trained."""
    trained = {arm: figures for arm, figures in arms.items() if figures["train_tokens"] is not None}
    if not trained:
        return ""
    synthetic = [figures["synthetic_tokens"] for figures in trained.values()]
    real = [figures["train_tokens"] - made for figures, made in zip(trained.values(), synthetic, strict=True)]
    unique = [min(figures["unique_real_tokens"], of) for figures, of in zip(trained.values(), real, strict=True)]
    # In D or not: an oracle's unique tokens are those of its own documents.
    own = ["oracle" in figures["planned_samples"] for figures in trained.values()]
    ours = [0 if other else number for other, number in zip(own, unique, strict=True)]
    parts = [
        Part("D, first reading", "unique real tokens", ours, "baseline"),
        Part(
            "unique documents of the oracle",
            "unique real tokens",
            [number - in_d for number, in_d in zip(unique, ours, strict=True)],
            "oracle",
        ),
        Part("read again", "real tokens read again", [a - b for a, b in zip(real, unique, strict=True)], "again"),
        Part("synthetic, once", "synthetic tokens, each once", synthetic, "sbp"),
    ]
    chart = bar_chart(
        list(map(label_of, trained)),
        [part for part in parts if any(part.values)],
        title="training tokens of each arm by source",
        x_label="training tokens consumed",
        notes=[f"{figures['real_epochs']:.2f} ep." for figures in trained.values()],
        marks=("planned", [figures["planned_tokens"] for figures in trained.values()]),
    )
    return figure(chart, "The vertical line is the plan, the same for all arms. ep. = epochs of the arm's real data.")


def pairs_section(data: ReportData) -> str:
    """Similarities of candidate pairs, the band that was kept, and what each rule dropped."""
    title = "Pairs"
    known = {name: found for name, found in data.synthesizers.items() if found.pairs}
    if not known:
        return section("pairs", title, missing("pairs/audit.json (stage pairs)."))
    return section("pairs", title, panels("synthesizer", {name: _pairs(found) for name, found in known.items()}))


def _pairs(data: SynthesizerData) -> str:
    """Markup about the pairs of one synthesizer."""
    assert data.pairs is not None
    audit, held_out = data.pairs["train"], data.pairs["valid"]
    recipe = data.recipe.pairs
    results = data.figures["pairs"] or {}
    parts = []
    histogram = audit.get("score_histogram")
    if histogram:
        chart, logarithmic = similarity_histogram(
            histogram["edges"],
            histogram["candidates"],
            histogram["kept"],
            alpha=audit.get("alpha", recipe.alpha),
            upper=audit.get("max_similarity") or recipe.max_similarity or 1.0,
            title="similarity of candidate pairs and of kept pairs",
        )
        scale = " The vertical axis is logarithmic." if logarithmic else ""
        if recipe.relation in CONTROL_RELATIONS:
            targets = {"random": "random documents", "shuffled": "those of other pairs"}[recipe.relation]
            scale += f" In this control run the targets of the kept pairs were then replaced by {targets}."
        parts.append(
            figure(
                chart,
                f"Candidates are the nearest neighbors found, at most {data.recipe.neighbors.k} per document.{scale}",
            )
        )
    else:
        parts.append(missing("the histogram of similarities in pairs/audit.json."))
    rows = [
        ["documents", count(audit.get("documents"))],
        ["documents with a pair", count(audit.get("documents_with_pairs"))],
        ["candidate pairs", count(audit.get("candidates"))],
        ["pairs kept", count(audit.get("kept"))],
        *_hubs(audit.get("seeds_per_target")),
        [f"recall of the search at k = {data.recipe.neighbors.k}", percent(results.get("recall_at_k"), 2)],
        *_recall_above(audit.get("alpha"), results.get("recall_above_alpha")),
        ["engine", data.recipe.neighbors.engine],
        ["relation", data.recipe.pairs.relation],
        ["pairs of the valid split, which stop the tuning", count(held_out.get("kept"))],
    ]
    parts.append(table(["pairs", "this run"], rows) + _rules("Dropped by each rule", audit, "pairs"))
    return "".join([side_by_side(*parts), *_pair_examples(data.pairs.get("examples") or [])])


def _recall_above(alpha: float | None, recall: float | None) -> list[list[str]]:
    return [] if recall is None else [[f"... of neighbors above alpha {alpha:g}", percent(recall, 2)]]


def _hubs(targets: JsonObject | None) -> list[list[str]]:
    """Rows on the documents that are targets most often; none for runs whose audit does not count them."""
    if not targets or not targets["hubs"]:
        return []
    hub = targets["hubs"][0]
    return [
        ["seeds of a target: mean, most", f"{targets['mean']:.1f}, {count(targets['largest'])} ({hub['id']})"],
        ["share of the pairs whose target is among the 1 % with the most", percent(targets["share_of_top_percent"], 1)],
    ]


def _pair_examples(examples: list[JsonObject]) -> list[str]:
    """Pairs to look at, folded away."""
    if not examples:
        return []
    cards = [
        '<div class="example">'
        + side_by_side(
            *(
                f"<h3>{side} {esc(pair[side].get('title') or pair[side]['id'])}</h3>"
                f"<pre>{esc(pair[side]['text'])}</pre>"
                for side in ("seed", "target")
            )
        )
        + paragraph("no similarity" if pair["score"] is None else f"similarity {fixed(pair['score'], 3)}", "soft")
        + "</div>"
        for pair in examples
    ]
    return [folded(f"{len(cards)} of the kept pairs, drawn at random; the beginning of each text", "".join(cards))]


def filters_section(data: ReportData) -> str:
    """What the rules dropped, of the corpus and of the synthetic documents."""
    documents = (
        _counted(data.documents, "Documents of the corpus", "documents")
        if data.documents
        else missing("documents/audit.json.")
    )
    audits = {name: found.synthetic for name, found in data.synthesizers.items() if found.synthetic}
    synthetic = (
        panels(
            "synthesizer",
            {
                name: _spent(data.synthesizers[name], audit)
                + _counted(audit, "Synthetic documents", "documents")
                + _measured(audit)
                + _retokenized(audit)
                for name, audit in audits.items()
            },
        )
        if audits
        else missing("synthetic/audit.json (stage filter).")
    )
    return section("filters", "Filters: what each rule dropped", side_by_side(synthetic, documents))


def _counted(audit: JsonObject, title: str, unit: str) -> str:
    rows = [
        [key.replace("_", " "), count(value)]
        for key, value in audit.items()
        if isinstance(value, int) and not isinstance(value, bool) and key != "dropped"
    ]
    counted = table([title, "number"], rows) if rows else ""
    return counted + _rules(f"{title}: dropped", audit, unit)


def _spent(data: SynthesizerData, audit: JsonObject) -> str:
    """What was generated and kept for the target; `audit` counts the tokens that the tokenizer gives for the texts."""
    target, generated, kept = data.recipe.synthesis.tokens, audit["generated_tokens"], audit["tokens"]
    beyond = kept - target
    told = (
        f"{percent(beyond / target)} more than the target, which no arm reads"
        if beyond > 0
        else f"{percent(-beyond / target)} less than the target"
        if beyond
        else "exactly the target"
    )
    passed = f"{count(kept)} of them passed the filters ({percent(kept / generated if generated else None)})"
    if kept > generated:  # few were dropped, and unfinished texts got an end-of-document
        passed = f"Texts with {count(kept)} tokens, their ends included, passed the filters"
    return paragraph(
        f"For a target of {count(target)} tokens, {count(generated)} were generated ({generated / target:.2f} times as "
        f"many). {passed}, {told}."
    )


def _measured(audit: JsonObject) -> str:
    """What the opt-in rules measured."""
    rows = []
    for name, found in (audit.get("measured") or {}).items():
        mean = NOTHING if found["mean"] is None else f"{found['mean']:.4g}"
        error = found.get("standard_error_at_limit")
        told = NOTHING if error is None else f"{error:.3f}, from {percent(found['sampled'], 2)} of all shingles"
        rows.append([name.replace("_", " "), count(found["documents"]), mean, told])
    caption = "Texts that no earlier rule dropped. A share that is looked up in a sample is an estimate."
    head = ["measured by filters", "texts", "mean", "standard error of one text at the limit"]
    return table(head, rows, caption=caption) if rows else ""


def _retokenized(audit: JsonObject) -> str:
    """Texts whose tokens, tokenized again, are not those that were written."""
    found = audit.get("retokenized")
    if not found:
        return ""
    rows = [
        [label, count(found[texts]), count(found[differing]), percent(found[share], 2)]
        for label, texts, differing, share in (
            ("raw generations", "documents", "differing", "share"),
            ("kept", "kept", "kept_differing", "kept_share"),
        )
    ]
    return table(["tokenized again", "texts", "other tokens than were written", "share"], rows)


def _rules(title: str, audit: JsonObject, unit: str) -> str:
    rules = dropped_by_rule(audit)
    if not rules:
        return paragraph(f"{title}: the audit lists no rules.", "soft")
    if not any(rules.values()):
        return f"<h3>{esc(title)}</h3>" + paragraph(f"None; the rules are {enumeration(list(rules))}.")
    notes = list(map(count, rules.values()))
    bars = bar_chart(list(rules), [Part("", unit, list(rules.values()))], title=title, x_label=unit, notes=notes)
    return f"<h3>{esc(title)}</h3>{bars}"
