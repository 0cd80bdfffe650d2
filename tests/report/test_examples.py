"""Examples: drawn by the seed, each with its true seed document."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.recipe import Filter
from megatron_sbp.report.examples import Example, draw_examples, dropped_examples
from megatron_sbp.report.filter_opinions import Filters

FILTERS = Filters(Filter(max_repetition=0.3), shingle_tokens=13)


@pytest.fixture
def shards(tmp_path) -> tuple[list[Path], list[Path]]:
    """Eighty synthetic documents and twenty seed documents, in two shards each."""
    row = {"finished": True, "tokens": 3}
    rows = [
        {"id": f"syn-{n}", "text": f"text {n}", "seed_id": f"d{n % 20}", "seed_row": n % 20, **row} for n in range(80)
    ]
    seeds = [{"id": f"d{n}", "text": f"seed {n}"} for n in range(20)]
    made = []
    for name, found in (("synthetic", rows), ("documents", seeds)):
        paths = [tmp_path / name / f"0000{part}.jsonl.zst" for part in range(2)]
        for part, path in enumerate(paths):
            files.write_jsonl_zst(path, found[part * len(found) // 2 : (part + 1) * len(found) // 2])
        made.append(paths)
    return made[0], made[1]


def test_every_example_has_its_own_seed_document(shards):
    found = draw_examples(*shards, kept=80, seed=1, filters=FILTERS)
    assert len({example.id for example in found}) == len(found) == 60
    for example in found:
        number = int(example.id.removeprefix("syn-"))
        assert example.text == f"text {number}" and example.verdict == "kept"
        assert (example.seed_id, example.seed_text) == (f"d{number % 20}", f"seed {number % 20}")


def test_the_seed_decides(shards):
    one, again, other = (draw_examples(*shards, kept=80, seed=seed, filters=FILTERS) for seed in (1, 1, 2))
    assert one == again != other


def test_fewer_documents_than_wanted_are_all_shown(shards):
    assert len(draw_examples(*shards, kept=80, seed=1, filters=FILTERS, wanted=100)) == 80
    assert draw_examples(*shards, kept=0, seed=1, filters=FILTERS) == []


def test_text_that_was_written_without_a_seed_document_is_told_as_such(tmp_path, shards):
    row = {"id": "sample-1-0", "text": "t", "seed_id": None, "seed_row": None}
    files.write_jsonl_zst(tmp_path / "x.jsonl.zst", [row])
    (found,) = draw_examples([tmp_path / "x.jsonl.zst"], shards[1], kept=1, seed=1, filters=FILTERS)
    assert (found.seed_id, found.seed_text) == (None, None)


def test_what_was_dropped_is_shown_with_its_seed_document_where_the_audit_names_it(shards):
    copied = {"measured": {"copying": 0.4123, "too_short": 1234, "unfinished": False, "corpus_copying": None}}
    audited = {
        "copying": [
            {"text": "one", "id": "syn-7-0", "seed_id": "d7", "characters": 4000, **copied},
            {"text": "two", "id": "sample-3-0", "seed_id": None},
            {"text": "three", "id": None, "seed_id": "d9"},
            {"text": "four", "id": "syn-99-0"},
        ],
        "repetition": ["of an earlier version"],
    }
    one, two, three, four, former = dropped_examples(audited, shards[1], FILTERS)
    told = ("copying 0.412 (at most 0.15)", "1,234 tokens (at least 16)", "ended by itself")
    assert one == Example("one", "syn-7-0", "d7", "seed 7", "copying", told, 4000)
    assert two == Example("two", "sample-3-0", verdict="copying")  # written without one
    assert (three.id, three.seed_id, three.seed_text) == (None, "d9", None)
    assert (four.seed_id, four.seed_text) == (None, None)  # of another D
    assert former == Example("of an earlier version", verdict="repetition")
