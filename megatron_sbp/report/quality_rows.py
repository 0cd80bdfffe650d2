"""The rows of the quality table: figures of kept text, real text, and raw generations, with their intervals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.confidence import estimate, share_interval
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import NOTHING, count, percent

GROUPS = (
    ("synthetic", "kept by the filters", "sbp"),
    ("real", "real text", "baseline"),
    ("generations", "raw generations", "synthesizer"),
)
"""Groups of texts: key in quality.json, name, and name of their color in style.css."""

_SHOWN_N = (1, 2, 3, 5, 8, 13)

_UNIT = "\u00a0%"

Show = Callable[[float], str]


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
