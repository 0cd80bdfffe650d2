"""What the filters leave of the first generations, counted by hand; the stage is in tests/stages/test_pilot.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.judged_shard import row

from megatron_sbp.base import files
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.further_rules import FurtherSources
from megatron_sbp.synthesis.pilot import filter_pilot
from megatron_sbp.tokenization.encoding import write_texts


def piloted(folder: Path, tokenizer, texts: list[str], shards: list[list[dict]], **rules) -> dict:
    write_texts(texts[:5], folder / "real", tokenizer)
    names = [folder / f"{number:05d}.jsonl.zst" for number in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        files.write_jsonl_zst(name, rows)
    found = filter_pilot(
        names, tokenizer=tokenizer, tokens=folder / "real", rules=Filter(min_tokens=4, **rules), length=13,
        sources=FurtherSources(),
    )  # fmt: skip
    assert sorted(folder.glob("*.npy")) == [], "nothing is left behind"
    return found


def test_tokens_of_what_passes_over_all_generations(tmp_path, tokenizer, texts):
    """A text that comes twice counts twice: duplicates are found later, among all."""
    shards = [[row(texts[7]), row("ab"), row(texts[0])], [row(texts[7]), row(texts[8])]]
    found = piloted(tmp_path, tokenizer, texts, shards, duplicates="near", min_similarity=0.9)
    each = [len(ids) + 1 for ids in tokenizer.encode_batch([texts[7], texts[7], texts[8]])]
    assert (found["generations"], found["passed"], found["tokens"]) == (5, 3, sum(each))
    assert found["tokens_per_generation"] == pytest.approx(sum(each) / 5)
    assert found["standard_error"] == pytest.approx(np.std([*each, 0, 0], ddof=1) / 5**0.5)
    assert found["written_per_generation"] > found["tokens_per_generation"]
    assert {rule: count for rule, count in found["dropped"].items() if count} == {"too_short": 1, "copying": 1}
    assert "duplicate" not in found["dropped"] and "similarity" not in found["dropped"]


def test_one_generation_has_no_standard_error(tmp_path, tokenizer, texts):
    assert piloted(tmp_path, tokenizer, texts, [[row(texts[7])]])["standard_error"] is None
