"""Examples: drawn by the seed, each with its true seed document."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.report.examples import draw_examples


@pytest.fixture
def shards(tmp_path) -> tuple[list[Path], list[Path]]:
    """Eighty synthetic documents and twenty seed documents, in two shards each."""
    rows = [{"id": f"syn-{n}", "text": f"text {n}", "seed_id": f"d{n % 20}", "seed_row": n % 20} for n in range(80)]
    seeds = [{"id": f"d{n}", "text": f"seed {n}"} for n in range(20)]
    made = []
    for name, found in (("synthetic", rows), ("documents", seeds)):
        paths = [tmp_path / name / f"0000{part}.jsonl.zst" for part in range(2)]
        for part, path in enumerate(paths):
            files.write_jsonl_zst(path, found[part * len(found) // 2 : (part + 1) * len(found) // 2])
        made.append(paths)
    return made[0], made[1]


def test_every_example_has_its_own_seed_document(shards):
    found = draw_examples(*shards, 80, seed=1)
    assert len({example.synthetic_id for example in found}) == len(found) == 60
    for example in found:
        number = int(example.synthetic_id.removeprefix("syn-"))
        assert example.synthetic_text == f"text {number}"
        assert (example.seed_id, example.seed_text) == (f"d{number % 20}", f"seed {number % 20}")


def test_the_seed_decides(shards):
    assert (
        draw_examples(*shards, 80, seed=1) == draw_examples(*shards, 80, seed=1) != draw_examples(*shards, 80, seed=2)
    )


def test_fewer_documents_than_wanted_are_all_shown(shards):
    assert len(draw_examples(*shards, 80, seed=1, wanted=100)) == 80
    assert draw_examples(*shards, 0, seed=1) == []


def test_text_without_a_seed_document_is_no_example(tmp_path, shards):
    files.write_jsonl_zst(
        tmp_path / "x.jsonl.zst", [{"id": "sample-1", "text": "t", "seed_id": None, "seed_row": None}]
    )
    assert draw_examples([tmp_path / "x.jsonl.zst"], shards[1], 1, seed=1) == []
