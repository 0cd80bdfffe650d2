"""tools/filter_synthetic.py: the filters of a run, on files of anyone's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pyarrow.parquet
import pytest
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.foreign import Source
from megatron_sbp.recipe import Filter
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis import filter_files
from megatron_sbp.synthesis.filter_files import filter_generations
from megatron_sbp.tokenization.encoding import write_texts

FACT = "The kernel of the operating system schedules every process and gives it a part of the memory of the machine."
OTHER = "A compiler reads the source text of a program and writes code that the processor of a computer can execute."


def kept(folder: Path, tokenizer, rows: list[dict], rules: Filter | None = None, **more) -> list[str]:
    """Ids of the rows that pass."""
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rules = rules or Filter(min_tokens=1, max_repetition=1.0)
    filter_generations([str(folder / "in.jsonl")], folder / "out.jsonl.zst", tokenizer, rules=rules, **more)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
    return [row["id"] for row in files.read_jsonl_zst(folder / "out.jsonl.zst")]


def test_the_tool_keeps_what_the_stages_keep(undisturbed: Run, tmp_path):
    run = undisturbed
    raw = [str(file) for file in run.generation_shards()]
    seeds = [str(file) for file in run.document_shards("train")]
    words = ["--inputs", *raw, "--seeds", *seeds, "--id-field", "id", "--tokenizer", run.tokenizer, "--min-tokens", 4]
    done = run_tool("filter_synthetic.py", tmp_path, *words, "--output", "out.jsonl.zst")
    assert done.returncode == 0, done.stderr
    expected = [row for file in run.synthetic_shards() for row in files.read_jsonl_zst(file)]
    assert list(files.read_jsonl_zst(tmp_path / "out.jsonl.zst")) == expected
    audit = files.read_json(tmp_path / "out.audit.json")
    assert audit == files.read_json(run.audit_synthetic) and audit["kept"] == len(expected) > 5
    assert json.loads(done.stdout)["dropped"] == audit["dropped"] and sum(audit["dropped"].values()) > 5
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["out.audit.json", "out.jsonl.zst"]
    done = run_tool(
        "preprocess_synthetic.py", tmp_path, "--inputs", "out.jsonl.zst", "--tokenizer", run.tokenizer, "--output", "d"
    )
    counts = json.loads(done.stdout)
    assert (counts["tokens"], counts["written_ids"]) == (audit["tokens"], audit["kept"]), done.stderr
    done = run_tool("filter_synthetic.py", tmp_path, *words, "--output", "again.jsonl.zst", "--retokenize")
    assert done.returncode == 0, done.stderr
    again = list(files.read_jsonl_zst(tmp_path / "again.jsonl.zst"))
    assert len(again) == len(expected) and not any("token_ids" in row for row in again)


def test_any_number_of_shards_gives_the_same(undisturbed: Run, tokenizer, tmp_path, monkeypatch):
    found = []
    for size in (16_384, 7):
        monkeypatch.setattr(filter_files, "SHARD", size)
        raw = [str(file) for file in undisturbed.generation_shards()]
        summary = filter_generations(raw, tmp_path / f"{size}.jsonl.zst", tokenizer)
        found.append((summary, (tmp_path / f"{size}.jsonl.zst").read_bytes()))
    assert found[0] == found[1]


def test_texts_of_another_program(tokenizer, tmp_path):
    """No `finished`, no `tokens`, no seeds; all of their fields stay."""
    rows = [
        {"id": "a", "text": FACT, "score": 3},
        {"id": "b", "text": FACT},
        {"id": "c", "text": OTHER, "finished": False},
    ]
    assert kept(tmp_path, tokenizer, rows) == ["a"]
    [row] = files.read_jsonl_zst(tmp_path / "out.jsonl.zst")
    assert row["score"] == 3 and row["tokens"] == len(tokenizer.encode_batch([FACT])[0]) + 1
    dropped = files.read_json(tmp_path / "out.audit.json")["dropped"]
    assert {rule: count for rule, count in dropped.items() if count} == {"duplicate": 1, "unfinished": 1}
    [example] = files.read_json(tmp_path / "out.audit.json")["examples"]["unfinished"]
    assert (example["id"], example["seed_id"], example["text"]) == ("c", None, OTHER)
    assert example["measured"]["unfinished"] is True and "copying" not in example["measured"]


def test_what_no_document_may_hold_is_dropped(tokenizer, tmp_path):
    """A synthesizer writes such characters; documents with a NUL are refused."""
    rows = [{"id": "a", "text": FACT}, {"id": "b", "text": f"{OTHER}\0"}, {"id": "c", "text": f"{OTHER}\ufffd"}]
    assert kept(tmp_path, tokenizer, rows) == ["a"]
    assert files.read_json(tmp_path / "out.audit.json")["dropped"]["broken_text"] == 2


def test_what_a_killed_call_left_is_removed_by_the_next(tokenizer, tmp_path):
    killed = subprocess.Popen(["true"])
    killed.wait()
    living = files.process_folder(tmp_path / ".out.jsonl.zst-work")
    for number, owner in enumerate((killed.pid, 1)):
        folder = living.with_name(f"{living.name.removesuffix(str(os.getpid()))}{owner}")
        files.write_text(folder / "signatures" / "000000.npy", "8 GB" * (number + 1))
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": FACT}) + "\n")
    filter_generations([str(tmp_path / "in.jsonl")], tmp_path / "out.jsonl.zst", tokenizer)
    left = [path.name for path in (tmp_path / ".out.jsonl.zst-work").iterdir()]
    assert left == [folder.name], "that of a process that runs"


def test_parquet_with_parents(tokenizer, tmp_path):
    table = pyarrow.table({"text": [FACT, OTHER], "seed_id": ["x", "y"], "id": ["1", "2"], "unknown": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    filter_generations([str(tmp_path / "in.parquet")], tmp_path / "out.jsonl.zst", tokenizer)
    rows = list(files.read_jsonl_zst(tmp_path / "out.jsonl.zst"))
    assert [(row["id"], row["seed_id"], row["text"]) for row in rows] == [("1", "x", FACT), ("2", "y", OTHER)]


def test_parquet_with_a_field_that_is_no_utf8(tokenizer, tmp_path):
    names = pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": [FACT], "id": names}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"in\.parquet:1: 'id': cannot be kept"):
        filter_generations([str(tmp_path / "in.parquet")], tmp_path / "out.jsonl.zst", tokenizer)


def test_copies_of_the_seed_and_of_the_corpus(tokenizer, tmp_path):
    rows = [
        {"id": "copy", "text": FACT, "seed_id": "s1"},
        {"id": "other", "text": OTHER, "seed_id": "s1"},
        {
            "id": "without",
            "text": "In the year of the flood nobody in the village had a telephone or a clock.",
            "seed_id": None,
        },
    ]
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps({"id": f"s{n}", "text": text}) + "\n" for n, text in enumerate([OTHER, FACT])))
    source = Source([str(seeds)], id_field="id")
    assert kept(tmp_path, tokenizer, rows, seeds=source) == ["other", "without"]
    write_texts([OTHER, FACT], tmp_path / "corpus", tokenizer)
    rules = Filter(min_tokens=1, max_corpus_copying=0.3, corpus_index_gb=0.001)
    assert kept(tmp_path, tokenizer, rows, rules, corpus=tmp_path / "corpus") == ["without"]
    told = files.read_json(tmp_path / "out.audit.json")
    assert told["dropped"]["corpus_copying"] == 2 and told["measured"]["corpus_copying"]["mean"] == pytest.approx(2 / 3)


def test_a_function_of_the_users_sees_the_row(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("keep.py").write_text("def keep(batch):\n    return [case['row']['score'] > 2 for case in batch]\n")
    rows = [{"id": "a", "text": FACT, "score": 3}, {"id": "b", "text": OTHER, "score": 1}]
    rules = Filter(min_tokens=1, max_repetition=1.0, predicate="keep.py:keep")
    assert kept(tmp_path, tokenizer, rows, rules) == ["a"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": 3}, r"in\.jsonl:2: 'text'"),
        ({"text": "\ud800"}, r"in\.jsonl:2: 'text'"),
        ({"text": OTHER, "finished": "yes"}, r"in\.jsonl:2: 'finished': must be true or false, not 'yes'"),
        ({"text": OTHER, "tokens": 9.5}, r"in\.jsonl:2: 'tokens': must be a whole number, not 9\.5"),
        ({"text": OTHER, "title": "\ud800"}, r"in\.jsonl:2: 'title': cannot be kept: no JSON in UTF-8 can hold it"),
        ({"text": OTHER, "seed_id": 7}, r"in\.jsonl:2: 'seed_id': must be a string, not 7"),
        ({"text": OTHER, "seed_id": "nobody"}, r"in\.jsonl:2: 'seed_id': no seed document has the id 'nobody'"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(tokenizer, tmp_path, row, said):
    (tmp_path / "seeds.jsonl").write_text(json.dumps({"id": "s", "text": FACT}) + "\n")
    rows = [{"id": "a", "text": FACT, "seed_id": "s"}, {"id": "b", **row}]
    with pytest.raises(InputError, match=said):
        kept(tmp_path, tokenizer, rows, seeds=Source([str(tmp_path / "seeds.jsonl")], id_field="id"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "seeds.jsonl"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (Filter(contaminated="drop"), "'contaminated': needs a run"),
        (Filter(min_similarity=0.5), "'min_similarity': needs a run"),
        (Filter(max_corpus_copying=0.5), "'max_corpus_copying': .*give both, or neither"),
        (Filter(predicate="nowhere.py:keep"), "'predicate': must be FILE.py:FUNCTION of a file that exists"),
    ],
)
def test_a_rule_that_cannot_be_applied(tokenizer, tmp_path, rules, said):
    with pytest.raises(InputError, match=said):
        kept(tmp_path, tokenizer, [{"id": "a", "text": FACT}], rules)
