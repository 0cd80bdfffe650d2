"""The raw generations that passed all filters, written shard by shard, with an audit of those that did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.rules import RULES

_SHOWN, _SHOWN_CHARACTERS = 3, 600


def write_kept(generations: Path, verdicts: Path, repeats: Path, number: int, output: Path, audit_file: Path) -> None:
    """Writes the generations of one shard that passed, each with the tokens of its text.

    Args:
        generations: of the shard, .jsonl.zst.
        verdicts: on them, see `Judged`.
        repeats: what `join_repeats` wrote.
        number: of the shard, from 0.
        output: .jsonl.zst, written atomically.
        audit_file: .json with the counts of this shard, for `join_audits`.
    """
    verdict, tokens = final_verdicts(verdicts, repeats, number)
    audit = _Audit()
    files.write_jsonl_zst(output, _kept(files.read_jsonl_zst(generations), verdict, tokens, audit))
    files.write_json(audit_file, audit.counted())


def final_verdicts(verdicts: Path, repeats: Path, number: int) -> np.ndarray:
    """What became of the generations of one shard, duplicates included; arguments as of `write_kept`.

    Returns:
        int32 [2, generations], as `Judged.verdicts`.
    """
    found = np.load(verdicts)
    with np.load(repeats) as joined:
        begin, end = joined["begins"][number : number + 2]
        low, high = np.searchsorted(joined["repeats"], [begin, end])
        mine = joined["repeats"][low:high] - begin
    found[0, np.flatnonzero(found[0] == PASSED)[mine]] = RULES.index("duplicate")
    return found


def _kept(
    generations: Iterator[dict[str, Any]], verdicts: np.ndarray, tokens: np.ndarray, audit: _Audit
) -> Iterator[dict[str, Any]]:
    for row, verdict, count in zip(generations, verdicts.tolist(), tokens.tolist(), strict=True):
        audit.add(row, verdict, count)
        if verdict == PASSED:
            yield {**row, "tokens": count}


class _Audit:
    """Counts what happened to the raw generations of a shard."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("generations", "generated_tokens", "finished", "kept", "tokens"), 0)
        self.dropped = dict.fromkeys(RULES, 0)
        self.examples: dict[str, list[str]] = {rule: [] for rule in RULES}

    def add(self, row: dict[str, Any], verdict: int, tokens: int) -> None:
        self.counts["generations"] += 1
        self.counts["generated_tokens"] += row["tokens"]
        self.counts["finished"] += row["finished"]
        if verdict == PASSED:
            self.counts["kept"] += 1
            self.counts["tokens"] += tokens
            return
        rule = RULES[verdict]
        self.dropped[rule] += 1
        if len(self.examples[rule]) < _SHOWN:
            self.examples[rule].append(row["text"][:_SHOWN_CHARACTERS])

    def counted(self) -> dict[str, Any]:
        return {"counts": self.counts, "dropped": self.dropped, "examples": self.examples}


def join_audits(parts: Sequence[Path], audit_file: Path) -> None:
    """Writes audit.json from those of all shards, in order, and prints a line.

    `tokens` are those of the kept texts as tokenized anew, end-of-document included.
    """
    total = _Audit()
    for file in parts:
        part = files.read_json(file)
        for name, count in part["counts"].items():
            total.counts[name] += count
        for rule in RULES:
            total.dropped[rule] += part["dropped"][rule]
            total.examples[rule] = [*total.examples[rule], *part["examples"][rule]][:_SHOWN]
    counts = total.counts
    generations, kept, tokens = counts["generations"], counts["kept"], counts["tokens"]
    files.write_json(
        audit_file,
        {
            "generations": generations,
            "generated_tokens": counts["generated_tokens"],
            "finished_share": counts["finished"] / generations if generations else 0.0,
            "kept": kept,
            "tokens": tokens,
            "mean_tokens": tokens / kept if kept else 0.0,
            "tokens_per_generation": tokens / generations if generations else 0.0,
            "dropped": total.dropped,
            "examples": total.examples,
        },
    )
    dropped = ", ".join(f"{rule.replace('_', ' ')} {count:,}" for rule, count in total.dropped.items() if count)
    say(
        f"filter: {kept:,} of {generations:,} generations kept, {tokens:,} tokens, "
        f"{tokens / max(1, generations):.1f} per generation; dropped: {dropped or 'none'}"
    )
