"""The made-up run of other tests has nothing that real stages do not write: its files cannot drift from theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.made_up_run import made_up_run

from megatron_sbp.base import files
from megatron_sbp.training.metrics import read_metrics

JUDGED = {"judge", "non_factual", "pair_irrelevance"}
"""Of a judge, which the whole run has not."""

pytestmark = pytest.mark.slow


def keys(value: Any, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Paths to every key; those of a list's rows together."""
    if isinstance(value, list):
        return set().union(*(keys(row, (*above, "[]")) for row in value if isinstance(row, dict)))
    if not isinstance(value, dict):
        return set()
    return set().union(*({(*above, key)} | keys(below, (*above, key)) for key, below in value.items()))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return made_up_run(tmp_path_factory.mktemp("made_up")).root


def test_json(made, whole_run):
    compared = 0
    for file in (*made.glob("[a-z]*/*.json"), *made.glob("models/*/*.json")):
        real = whole_run[0] / file.relative_to(made)
        if file.parent.name in ("stages", "tokenizer", "documents"):  # real stages wrote them
            continue
        unknown = {path for path in keys(files.read_json(file)) - keys(files.read_json(real)) if not JUDGED & set(path)}
        assert not unknown, file
        compared += 1
    assert compared >= 10


def test_rows(made, whole_run):
    for name in ("baseline", "sbp", "oracle", "synthesizer"):
        ours, theirs = (read_metrics(folder / "models" / name / "metrics.jsonl") for folder in (made, whole_run[0]))
        for kind in {row["kind"] for row in ours}:
            assert keys([row for row in ours if row["kind"] == kind]) <= keys(
                [row for row in theirs if row["kind"] == kind]
            )
    for folder in ("synthetic", "synthetic/generations"):
        ours, theirs = (next(files.read_jsonl_zst(root / folder / "00000.jsonl.zst")) for root in (made, whole_run[0]))
        assert keys(ours) <= keys(theirs), folder
