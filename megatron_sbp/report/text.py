"""The results as a short text for a terminal."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.audits import dropped_by_rule
from megatron_sbp.report.harness_table import harness_lines
from megatron_sbp.report.means import quoted
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import count, fixed, percent, percent_with_error, signed, with_error
from megatron_sbp.report.outcome import accuracy, recall, recall_of_tag
from megatron_sbp.report.seed_reading import ignores_seed
from megatron_sbp.report.verdict import headline


def format_results(results: JsonObject) -> str:
    """The arms as a table, then one line each on the gap, the pairs and the synthetic documents.

    Args:
        results: what results.json holds.
    """
    arms = quoted(results["arms"])
    asked = any(arms[arm]["recall"] is not None for arm in arms)
    head = [
        "",
        "test loss",
        "perplexity",
        "bits/byte",
        "accuracy",
        *(["recall"] if asked else []),
        "epochs",
        "synthetic",
        "tokens/s",
    ]
    rows = [
        [
            label_of(arm),
            with_error(arms[arm]["test_loss"], arms[arm]["test_loss_stderr"], 4),
            fixed(arms[arm]["test_perplexity"], 2),
            fixed(arms[arm]["test_bits_per_byte"], 4),
            accuracy(arms[arm]),
            *([recall(arms[arm])] if asked else []),
            fixed(arms[arm]["real_epochs"], 2),
            count(arms[arm]["synthetic_tokens"]),
            count(arms[arm]["tokens_per_second"]),
        ]
        for arm in arms
    ]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in [head, *rows]
    ]
    tokens = count(next(iter(arms.values()))["train_tokens"])
    title = f"{results['name']}: {tokens} training tokens in every arm"
    if results["replicates"] > 1:
        title += f", {results['replicates']} replicates; losses, accuracies, and recalls are means over them"
    lines = [title, "", *lines, ""]
    lines += [*_differences(results), _gap(results), *_by_tag(results), *harness_lines(results)]
    pairs, synthetic = results["pairs"], results["synthetic"]
    if pairs:
        lines.append(
            f"pairs: {count(pairs.get('kept'))} kept of {count(pairs.get('candidates'))} candidates among "
            f"{count(pairs.get('documents'))} documents, recall at k {percent(pairs.get('recall_at_k'), 2)}"
        )
    if synthetic:
        ignored = ignores_seed((results["quality"] or {}).get("similarity", {}))
        dropped = sum(dropped_by_rule(synthetic).values())
        lines.append(
            f"synthetic: {count(synthetic['documents'])} documents, {count(synthetic['tokens'])} tokens"
            f"{_of_generated(synthetic['audit'], synthetic['tokens'])}, {count(dropped)} dropped; similarity "
            f"to the seed {fixed(synthetic['similarity_to_seed'], 3)}, to another "
            f"{fixed(synthetic['similarity_random_pairs'], 3)}{': the text ignores its seed' if ignored else ''}"
        )
    return "\n".join([*lines, "", headline(results)])


def _differences(results: JsonObject) -> list[str]:
    """What SBP gained over every other arm, with 95 % intervals."""
    lines = []
    for arm in results["arms"]:
        found = results["comparisons"].get(f"sbp-{arm}")
        if not found or not found["test_loss"]:
            continue
        told = [_told("test loss", found["test_loss"], -1, 4, ""), _told("recall", found["recall"], 100, 1, " points")]
        lines.append(f"SBP against {label_of(arm)}: " + ", ".join(filter(None, told)))
    return lines


def _told(what: str, found: JsonObject | None, scale: float, digits: int, unit: str) -> str:
    if found is None:
        return ""
    ends = [] if found["low"] is None else sorted(scale * found[end] for end in ("low", "high"))
    low_to_high = " to ".join(signed(end, None, digits) for end in ends)
    interval = f" (95 %: {low_to_high})" if ends else ""
    return f"{what} {signed(scale * found['difference'], None, digits)}{unit}{interval}"


def _gap(results: JsonObject) -> str:
    told = []
    for key, what in (("gap_closed", "test loss"), ("gap_closed_recall", "closed-book recall")):
        share, error = results[key], results[f"{key}_stderr"]
        if share is not None:
            told.append(f"{percent_with_error(share, error)} of the oracle's gain in {what}")
        elif key == "gap_closed" or _asked_oracle(results):
            where = "" if key == "gap_closed" else f" in {what}"
            told.append(f"none{where} ({results[f'{key}_reason']})")
    return f"gap closed: {', '.join(told)}"


def _asked_oracle(results: JsonObject) -> bool:
    """Whether closed-book recall of the oracle was measured."""
    return (results["arms"].get("oracle") or {}).get("recall") is not None


def _of_generated(audit: JsonObject | None, kept: int) -> str:
    """Nothing if more were kept than generated: unfinished texts got an end-of-document."""
    return f" of {count(audit['generated_tokens'])} generated" if audit and kept <= audit["generated_tokens"] else ""


def _by_tag(results: JsonObject) -> list[str]:
    """Recall of every arm by tag of the questions, a line for each."""
    arms = results["arms"]
    tags = dict.fromkeys(tag for arm in arms.values() for tag in arm.get("recall_by_tag") or {})
    first = ", first replicate" if results["replicates"] > 1 else ""
    return [
        f"recall, {tag}{first}: " + ", ".join(f"{label_of(arm)} {recall_of_tag(tag, arms[arm])}" for arm in arms)
        for tag in tags
    ]
