"""A shard of raw generations, judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.further_rules import FurtherSources
from megatron_sbp.synthesis.judged import PARTS, Judged
from megatron_sbp.synthesis.judging import judge_shard
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.tokenizer import TextTokenizer

FILTER = Filter(min_tokens=4)


def row(text: str, seed_row: int | None = 0, finished: bool = True) -> dict[str, Any]:
    """A raw generation."""
    return {"id": text[:9], "text": text, "tokens": 20, "finished": finished, "seed_row": seed_row}


def judged_shard(
    folder: Path,
    tokenizer: TextTokenizer,
    texts: list[str],
    rows: list[dict[str, Any]],
    rules: Filter = FILTER,
    name: str = "00000",
    sources: FurtherSources | None = None,
) -> Judged:
    """Writes the rows to FOLDER/NAME.jsonl.zst and judges them; the seed documents are the first five texts."""
    write_texts(texts[:5], folder / "real", tokenizer)
    shard = Judged(*(folder / part / f"{name}.npy" for part in PARTS))
    files.write_jsonl_zst(folder / f"{name}.jsonl.zst", rows)
    written = judge_shard(
        rows, name, shard,
        tokenizer=tokenizer, tokens=folder / "real", rules=rules, length=13, sources=sources,
    )  # fmt: skip
    assert all(file.exists() for file in written)
    return shard
