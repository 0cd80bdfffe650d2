"""Which texts a judge is asked about, beside which seed documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress
from megatron_sbp.evaluation.judging import judge_groups
from megatron_sbp.evaluation.opinions import Case, Judge, Opinion
from megatron_sbp.evaluation.real_text import RealText
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.tokenization.encoding import write_texts

PAIRS = [(1, 4), (1, 5), (1, 6), (3, 2), (9, 8)]
"""Rows of seed and target."""


class Listener(Judge):
    """Finds texts without a seed document not factual, and remembers what it was asked."""

    def __init__(self):
        self.asked: dict[str, list[Case]] = {}

    def about(self) -> dict[str, Any]:
        return {}

    def opinions(self, cases: Sequence[Case], progress: Progress) -> list[dict[str, Opinion]]:
        self.asked[progress.label.rpartition(" ")[2]] = list(cases)
        return [{"factual": (0.0 if case.seed else 1.0, 1.0)} for case in cases]


@pytest.fixture(scope="module")
def real(tmp_path_factory, texts, tokenizer) -> RealText:
    folder = tmp_path_factory.mktemp("split")
    rows = [{"id": f"d{row}", "text": text} for row, text in enumerate(texts[:10])]
    files.write_jsonl_zst(folder / "00000.jsonl.zst", rows)
    write_texts(texts[:10], folder / "real", tokenizer)
    return RealText(folder / "real", [folder / "00000.jsonl.zst"], tokenizer, 5)


@pytest.fixture
def pairs(tmp_path) -> Path:
    seeds, targets = zip(*PAIRS, strict=True)
    pyarrow.parquet.write_table(pyarrow.table({"seed": seeds, "target": targets}), tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def sampled(text: str, seed_row: int | None, own: int = -1) -> Sampled:
    return Sampled(text, [], {"id": text, "seed_row": seed_row}, own)


def asked(real: RealText, pairs: Path | None, seed_rows: list[int | None], seed: int = 7) -> tuple[dict, Listener]:
    samples = {
        "synthetic": [sampled(f"s{number}", row) for number, row in enumerate(seed_rows)],
        "generations": [sampled("g0", 9), sampled("g1", None)],
        "real": [sampled("cut", None, own=2), sampled("cut too", None, own=0)],
    }
    judge, groups = Listener(), {name: {"texts": 1} for name in samples}
    judge_groups(judge, groups, samples, pairs_file=pairs, real=real, seed=seed)
    return groups, judge


def test_every_text_is_judged_beside_its_whole_seed_document(real, pairs, texts):
    groups, judge = asked(real, pairs, [3, 1, None, 1])
    assert [(one.text, one.seed) for one in judge.asked["synthetic"]] == [
        ("s0", texts[3]), ("s1", texts[1]), ("s2", None), ("s3", texts[1])
    ]  # fmt: skip
    assert [one.seed for one in judge.asked["generations"]] == [texts[9], None]
    assert groups["synthetic"]["texts"] == 1 and groups["synthetic"]["non_factual"]["value"] == 0.25
    assert groups["generations"]["non_factual"]["value"] == 0.5


def test_real_text_is_judged_as_a_pair_of_each_seed_document(real, pairs, texts):
    """Whole documents, as a person would read them; which target is drawn by the run's seed."""
    drawn = set()
    for seed in range(20):
        _, judge = asked(real, pairs, [3, 1, None, 1], seed)
        first, second = judge.asked["real"]
        assert (first.seed, second.seed) == (texts[1], texts[3]) and second.text == texts[2]
        drawn.add(texts.index(first.text))
        assert first.row["id"] == f"d{texts.index(first.text)}"
    assert drawn == {4, 5, 6}
    assert asked(real, pairs, [1], 5)[1].asked == asked(real, pairs, [1], 5)[1].asked


@pytest.mark.parametrize("seed_rows", [[None, None], [0, 2]])
def test_without_pairs_real_text_is_judged_by_itself(real, pairs, texts, seed_rows):
    """Where there is no file of pairs, no text has a seed document, or no seed document has a pair."""
    for file in (pairs, None):
        _, judge = asked(real, file, seed_rows)
        assert [(one.seed, one.text) for one in judge.asked["real"]] == [(None, texts[0]), (None, texts[2])]
