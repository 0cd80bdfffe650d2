"""Writes the raw generations that passed all filters, shard by shard, with an audit of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.audit import Audit
from megatron_sbp.synthesis.corpus_index import index_plan
from megatron_sbp.synthesis.dropped_examples import Measure
from megatron_sbp.synthesis.further_rules import measure_names
from megatron_sbp.synthesis.judged import PASSED, Judged
from megatron_sbp.synthesis.retokenized import UNKNOWN
from megatron_sbp.synthesis.rule_names import VERDICTS
from megatron_sbp.tokenization.written_ids import FIELD


def write_kept(
    generations: Path,
    judged: Judged,
    *,
    repeats: Path,
    output: Path,
    audit_file: Path,
    rules: Filter,
    measure: Measure | None = None,
) -> None:
    """Writes the generations of one shard that passed, each with its token count and the rules' measures.

    Args:
        generations: of the shard, .jsonl.zst.
        judged: the verdicts of the filters on them.
        repeats: what `join_repeats` wrote of the shard.
        output: .jsonl.zst, written atomically.
        audit_file: .json with the counts of this shard, for `join_audits`.
        rules: the recipe's filter section.
        measure: measures of the stored examples.
    """
    audit = Audit(rules, measure)
    files.write_jsonl_zst(output, kept_rows(files.read_jsonl_zst(generations), judged, repeats, rules, audit))
    files.write_json(audit_file, audit.counted())


def kept_rows(
    generations: Iterator[JsonObject], judged: Judged, repeats: Path, rules: Filter, audit: Audit
) -> Iterator[JsonObject]:
    """The rows of one shard that passed, each with its token count and the rules' measures.

    They keep their ids if training uses them.

    Args:
        generations: all rows of the shard.
        judged: the verdicts of the filters on them.
        repeats: what `join_repeats` wrote of the shard.
        rules: the recipe's filter section.
        audit: counts all rows.
    """
    verdicts, tokens, *known = final_verdicts(judged.verdicts, repeats).tolist()
    states = known[0] if known else [UNKNOWN] * len(verdicts)
    names = measure_names(rules)
    measures = np.load(judged.measures) if names else np.empty((0, len(verdicts)))
    told = [_told(names, column) for column in measures.T.tolist()]
    for row, verdict, count, state, values in zip(generations, verdicts, tokens, states, told, strict=True):
        audit.add(row, verdict, count, values, state)
        if verdict == PASSED:
            if rules.retokenize or state == UNKNOWN:
                row.pop(FIELD, None)
            yield {**row, "tokens": count, **values}


def final_verdicts(verdicts: Path, repeats: Path) -> np.ndarray:
    """Verdicts on the generations of one shard, including duplicates.

    Args:
        verdicts: on them, see `Judged`.
        repeats: what `join_repeats` wrote of the shard.

    Returns:
        int32 [2 or 3, generations], as `Judged.verdicts`.
    """
    found = np.load(verdicts)
    found[0, np.flatnonzero(found[0] == PASSED)[np.load(repeats)]] = VERDICTS.index("duplicate")
    return found


def _told(names: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    """Measures of one generation, by name: None for missing ones."""
    return {name: None if value != value else round(value, 6) for name, value in zip(names, values, strict=True)}


def join_audits(parts: Sequence[Path], audit_file: Path, rules: Filter, corpus_index: Path) -> None:
    """Writes audit.json from those of all shards, in order, and prints a line.

    `tokens` is the number of tokens of the kept texts in training, including end-of-document.

    Args:
        parts: audits of the shards.
        audit_file: .json.
        rules: the recipe's filter section.
        corpus_index: folder of the index of D; read if the recipe uses `corpus_copying`.
    """
    total = Audit(rules)
    for file in parts:
        total.join(files.read_json(file))
    plan = None if rules.max_corpus_copying is None else index_plan(corpus_index)
    files.write_json(audit_file, total.summary(plan))
    say(f"filter: {total.line()}")
