"""Estimates from the first generations how much text passes the filters."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.further_rules import FurtherSources
from megatron_sbp.synthesis.judged import PARTS, PASSED, Judged
from megatron_sbp.synthesis.judging import judge_shard
from megatron_sbp.synthesis.rule_names import VERDICTS, rule_names
from megatron_sbp.tokenization.tokenizer import TextTokenizer


def filter_pilot(
    shards: Sequence[Path],
    *,
    tokenizer: TextTokenizer,
    tokens: Path,
    rules: Filter,
    length: int,
    sources: FurtherSources,
) -> JsonObject:
    """Judges shards of raw generations, each text individually.

    Args:
        shards: .jsonl.zst files.
        tokenizer: see `judge_shard`; so are tokens, length and sources.
        rules: the recipe's filter section; duplicates and min_similarity are ignored.

    Returns:
        generations; passed, those that every rule passes; tokens, of these, end-of-document included;
        tokens_per_generation, these over all generations, and the standard error of this mean; written_per_generation,
        tokens of all texts over all generations; dropped, by rule.
    """
    # Signatures are for finding duplicates, and these texts have not been compared with their seeds yet.
    alone = rules.model_copy(update={"duplicates": "exact", "min_similarity": None})
    verdicts, lengths = [], []
    with tempfile.TemporaryDirectory() as folder:
        target = Judged(*(Path(folder) / f"{part}.npy" for part in PARTS))
        for shard in shards:
            rows, name = list(files.read_jsonl_zst(shard)), shard.name.removesuffix(JSONL_ZST)
            judge_shard(
                rows, name, target, tokenizer=tokenizer, tokens=tokens, rules=alone, length=length, sources=sources
            )
            judged = np.load(target.verdicts)
            verdicts.append(judged[0])
            lengths.append(judged[1])
    verdict = np.concatenate(verdicts)
    written = np.concatenate(lengths)
    passed = np.where(verdict == PASSED, written, 0)
    fallen = Counter(verdict[verdict != PASSED].tolist())
    count = len(verdict)
    return {
        "generations": count,
        "passed": int((verdict == PASSED).sum()),
        "tokens": int(passed.sum()),
        "tokens_per_generation": float(passed.mean()),
        "standard_error": float(passed.std(ddof=1) / count**0.5) if count > 1 else None,
        "written_per_generation": float(written.mean()),
        "dropped": {rule: fallen[VERDICTS.index(rule)] for rule in rule_names(alone) if rule != "duplicate"},
    }
