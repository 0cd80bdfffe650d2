"""Core-hours against the table of docs/scaling.md, and what makes a task longer or shorter."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning import cpu_time
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (EXAMPLES.parent / "docs" / "scaling.md").read_text()


def times(*words: str, name: str = "sbp_3b_1t") -> dict:
    return make_plan(load_recipe(EXAMPLES / name / "recipe.yaml", words))["cpu"]


def rows(header: str) -> dict[str, list[str]]:
    """Rows by step of the table of the page with this in its header."""
    table = PAGE.partition(header)[2].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    return {cells[1].partition("(")[0].strip(): cells for cells in lines[2:]}


def test_seconds_per_document_are_those_of_the_page():
    table = rows("CPU ms per document")
    for step, seconds in (
        ("documents, reading", cpu_time.READING), ("documents, writing shards", cpu_time.CUTTING),
        ("tokenize", cpu_time.TOKENIZING), ("tokenize, joining", cpu_time.JOINING), ("pairs", cpu_time.PAIRING),
        ("pairs, joining", cpu_time.JOINING_PAIRS),
    ):  # fmt: skip
        assert float(table[step][3]) == pytest.approx(1000 * seconds), step
    assert float(table["tokenize-pairs"][2]) == pytest.approx(1e6 * cpu_time.PAIR)


def test_seconds_per_generation_are_those_of_the_page():
    table = rows("ms per generation")
    for step, seconds in (
        ("judge", cpu_time.JUDGING), ("deduplicate", cpu_time.DEDUPLICATING), ("filter", cpu_time.FILTERING),
    ):  # fmt: skip
        assert float(table[step][2]) == pytest.approx(1000 * seconds), step


def test_core_hours_of_60_million_documents_are_those_of_the_page():
    """With documents as long as measured, and 50 neighbors: 10 for tokenize (58 with a tokenizer from elsewhere), 4.0
    for pairs."""
    words = ["documents.oracle=0", "documents.train=60_000_000", "neighbors.k=50"]
    recipe = load_recipe(EXAMPLES / "sbp_3b_1t" / "recipe.yaml", words)
    measured = {"real": {"documents": 60_000_000, "tokens": 60_000_000 * 3_100}}
    found = make_plan(recipe, measured)["cpu"]
    assert found["tokenize"]["core_hours"] == pytest.approx(10.5 + 0.2, rel=0.01)
    elsewhere = make_plan(load_recipe(recipe.source, [*words, "tokenizer.path=elsewhere"]), measured)["cpu"]
    assert elsewhere["tokenize"]["core_hours"] == pytest.approx(58, rel=0.01) and "tokenizer" not in elsewhere
    assert found["pairs"]["core_hours"] == pytest.approx(4.0 + 0.1, rel=0.02)
    assert found["documents"]["core_hours"] == pytest.approx(0.8 + 1.4, rel=0.05)


def test_tokenizing_english_text_is_as_measured():
    """With two workers, each of which meets every word for the first time."""
    results = (EXAMPLES.parent / "benchmarks" / "results" / "2026-11-29-tokenizing.md").read_text()
    rows = [line.split("|") for line in results.splitlines() if line.startswith("| without the start")]
    per_second = float(rows[-1][6].replace(",", ""))
    assert 3_100 / 157 / per_second == pytest.approx(cpu_time.TOKENIZING, rel=0.1)


def test_a_tokenizer_takes_the_20_minutes_of_the_page():
    assert times()["tokenizer"]["last_step_hours"] == pytest.approx(20 / 60, rel=0.02)
    assert times("tokenizer.train_characters=200_000_000")["tokenizer"]["core_hours"] == pytest.approx(47.6 / 3600)
    few = times("tokenizer.train_characters=null", "documents.train=1000", "documents.valid=100")
    assert 0 < few["tokenizer"]["core_hours"] < 2 / 3600  # D has no more


def test_cores_tasks_and_units():
    one, more = times("slurm.cpus_per_task=1", "slurm.stages={}"), times("slurm.cpus_per_task=8", "slurm.stages={}")
    assert one["tokenize"]["unit_hours"] == pytest.approx(8 * more["tokenize"]["unit_hours"])
    # One thread writes the pairs.
    assert one["pairs"]["last_step_hours"] == pytest.approx(2 * more["pairs"]["last_step_hours"]) != 0
    assert one["judge"]["unit_hours"] == more["judge"]["unit_hours"]  # one core of a task
    assert one["tokenize"]["core_hours"] == more["tokenize"]["core_hours"]
    # Their last steps use all cores, of which one of them requests four.
    for stage, cores in (("documents", 8), ("tokenize", 8), ("tokenize-pairs", 4), ("tokenize-synthetic", 8)):
        assert one[stage]["last_step_hours"] == pytest.approx(cores * more[stage]["last_step_hours"]) != 0, stage
    few = times("slurm.array_size=1")
    assert few["judge"]["task_hours"] == pytest.approx(few["judge"]["core_hours"])
    assert few["judge"]["unit_hours"] == one["judge"]["unit_hours"]
    assert one["documents"]["unit_hours"] is None  # files of the corpus
