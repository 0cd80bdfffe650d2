"""`sbp trace` on a run up to its filter: every generation tells where it comes from and what became of it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support.synthesis_run import execute_synthesis, run_of

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.cli import main
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tracing import trace_document
from megatron_sbp.synthesis.generations import generations, named, place_of
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.rule_names import RULES
from megatron_sbp.synthesis.trace_text import format_trace


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory) -> Run:
    """Written, with some texts repeated, then filtered; with pairs of two seed documents."""
    folder = tmp_path_factory.mktemp("trace") / "prepared"
    shutil.copytree(prepared, folder)
    run = run_of(folder)
    execute_synthesis(run, "synthesize")
    rows = list(files.read_jsonl_zst(run.generations / "00001.jsonl.zst"))
    seeds = [row["seed_row"] for row in rows[:2]]
    columns = {
        "seed": [seeds[0], seeds[0], seeds[1]],
        "target": [4, 5, seeds[0]],
        "seed_id": ["a", "a", "b"],
        "target_id": ["entry-4", "entry-5", "a"],
        "score": np.array([0.5, 0.9, 0.7], np.float32),
    }
    run.pairs("train").parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns), run.pairs("train"))
    return run


@pytest.fixture(scope="module")
def rows(run) -> list[dict]:
    return [row for shard in run.generation_shards() for row in files.read_jsonl_zst(shard)]


@pytest.fixture(scope="module")
def filtered(run, rows, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("filtered") / "prepared"
    shutil.copytree(run.root.parent, folder)
    filtered = run_of(folder)
    execute_synthesis(filtered)
    return filtered


def test_the_place_of_a_generation_is_that_in_the_plan():
    planned = generations(0, 250, 70, 3)
    assert [place_of(generation, 70, 3) for generation in planned[::17]] == list(range(250))[::17]
    assert named(planned[5].name) == planned[5] and place_of(named("syn-70-0"), 70, 3) is None
    assert named("replaced-3-1") == named("sample-3-1") == named("syn-3-1")
    assert named("syn-3") is None and named("entry-3-1") is None


def test_a_raw_generation_of_an_unfinished_run(run, rows):
    row = rows[24]  # the first of the second shard
    found = trace_document(run, row["id"])
    assert (found["text"], found["shard"], found["synthesizer"]) == (row["text"], "00001.jsonl.zst", "related")
    assert found["sampling"] == {
        "round": 1, "generation": row["generation"], "synthesizer": "ab" * 32, "temperature": 1.0, "top_p": 0.9,
        "max_new_tokens": 50, "engine": "transformers", "precision": "fp32", "pairs": None, "run_seed": 1,
        "pairs_file": None,
    }  # fmt: skip
    assert (found["seed"]["id"], found["seed"]["row"]) == (row["seed_id"], row["seed_row"])
    assert [pair["target_id"] for pair in found["pairs"]["tuned_on"]] == ["entry-5", "entry-4"]
    assert (found["pairs"]["as_seed"], found["pairs"]["as_target"]) == (2, 1)
    assert found["filters"]["verdict"] != "kept" and found["filters"]["rules"][-1]["drops"] is None
    assert row["text"].split("\n")[0] in format_trace(found)


def test_verdicts_are_those_of_the_filter(filtered, rows):
    audit = files.read_json(filtered.audit_synthetic)
    verdicts = [trace_document(filtered, row["id"])["filters"]["verdict"] for row in rows]
    assert verdicts.count("kept") == audit["kept"] > 0
    for rule, dropped in audit["dropped"].items():
        assert verdicts.count(rule) == dropped, rule
    assert len(set(verdicts)) > 2


def test_a_duplicate_names_what_it_repeats(filtered, tmp_path):
    """A text that an earlier shard has already, when the filters come to it; a loop and a copy may pass."""
    shutil.copytree(filtered.root.parent, tmp_path / "again")
    run = run_of(tmp_path / "again", "filter.max_repetition=1", "filter.max_copying=1")
    kept = next(files.read_jsonl_zst(filtered.synthetic / "00000.jsonl.zst"))
    last = run.generation_shards()[-1]
    raw = list(files.read_jsonl_zst(last))
    raw[-1] = {**raw[-1], "text": kept["text"], "finished": True}
    files.write_jsonl_zst(last, raw)
    manifest = files.read_json(run.manifests / "synthesize.json")
    manifest["outputs"][run.relative(last)] = files.describe(last)
    files.write_json(run.manifests / "synthesize.json", manifest)
    execute_synthesis(run, "judge", "deduplicate", "filter")
    found = trace_document(run, raw[-1]["id"])
    assert (found["filters"]["verdict"], found["filters"]["repeats"]) == ("duplicate", kept["id"])
    assert found["filters"]["rules"][-1] == {"rule": "duplicate", "value": 1.0, "limit": "near", "drops": True}
    assert f"dropped (duplicate of {kept['id']})" in format_trace(found)
    assert trace_document(run, kept["id"])["filters"]["rules"][-1]["drops"] is False


def test_the_verdict_is_the_one_that_was_written_down(filtered, tmp_path):
    """Not what the rules would say now: those of a later version may judge otherwise."""
    shutil.copytree(filtered.root.parent, tmp_path / "again")
    run = run_of(tmp_path / "again")
    kept = next(files.read_jsonl_zst(run.synthetic / "00001.jsonl.zst"))
    place = [row["id"] for row in files.read_jsonl_zst(run.generations / "00001.jsonl.zst")].index(kept["id"])
    file = run.judged("00001").verdicts
    stored = np.load(file)
    assert stored[0, place] == PASSED and trace_document(run, kept["id"])["filters"]["verdict"] == "kept"
    stored[0, place] = RULES.index("copying")
    np.save(file, stored)
    assert trace_document(run, kept["id"])["filters"]["verdict"] == "copying"


def test_an_id_that_is_not_utf8(run):
    with pytest.raises(InputError, match="there is no synthetic document with this id"):
        trace_document(run, "\udcff")


def test_an_unknown_id_is_told_near_ones(run, rows, tmp_path):
    row = rows[0]
    shards = len(run.generation_shards())
    with pytest.raises(InputError, match=rf"'syn-{row['seed_row']}-99': there is no .* in shard 00\d+, which has not"):
        trace_document(run, f"syn-{row['seed_row']}-99")
    with pytest.raises(InputError, match=rf"near it: syn-{row['seed_row']}-0"):
        trace_document(run, f"syn-{row['seed_row']}-99")
    with pytest.raises(InputError, match="would be row 900, and D has 60 documents"):
        trace_document(run, "syn-900-0")
    with pytest.raises(InputError, match=f"near it: .*{row['id']}"):
        trace_document(run, f"{row['id']}x")
    with pytest.raises(InputError, match="no arm reads text of a synthesizer 'random'; there are: related"):
        trace_document(run, row["id"], synthesizer="random")
    with pytest.raises(InputError, match="must be between 1 and 1, not 2"):
        trace_document(run, row["id"], replicate=2)
    with pytest.raises(InputError, match="no synthetic document yet"):
        trace_document(run.view(tmp_path, ("synthetic",)), row["id"])
    assert shards > 1


@pytest.mark.parametrize("name", ["generations/00000.jsonl.zst", "judged/verdicts/00000.npy", "repeats/00000.npy"])
def test_a_file_that_is_not_as_it_was_written_is_named(filtered, rows, tmp_path, capsys, name):
    """A changed verdict was shown, and a text in a file that was cut off was said not to exist."""
    shutil.copytree(filtered.root.parent, tmp_path / "prepared")
    file = tmp_path / "prepared" / "run" / "synthetic" / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert main(["trace", str(tmp_path / "prepared" / "run"), rows[3]["id"]]) == 2
    assert f"{file}: has the digest" in capsys.readouterr().err


def test_the_command(run, rows, capsys):
    assert main(["trace", str(run.root), rows[3]["id"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trace_document(run, rows[3]["id"])
    assert main(["trace", str(run.root), rows[3]["id"]]) == 0
    assert f"seed document {rows[3]['seed_id']}, row {rows[3]['seed_row']} of D" in capsys.readouterr().out
    assert main(["trace", str(run.root), "nothing"]) == 2
    assert "'nothing': there is no synthetic document with this id; near it: " in capsys.readouterr().err
