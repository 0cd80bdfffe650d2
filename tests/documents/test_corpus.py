"""Documents and splits from files of every kind, whatever the tasks that read them."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support.small_corpus import at_most, contents, rows, various, write

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents import corpus
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Documents
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import SPLITS

FOLDOC = Path(__file__).parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"


def test_all_formats_disjoint_splits_and_audit(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(10))
    write(tmp_path / "b.jsonl.gz", range(10, 20))
    write(tmp_path / "c.jsonl.zst", range(20, 30))
    table = pyarrow.table({"id": [f"d{n}" for n in range(28, 40)], "text": [f"document {n}" for n in range(28, 40)]})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    run = run_documents(
        inputs=["*.jsonl*", "d.parquet"], train=20, valid=4, test=3, oracle=10, id_field="id", documents_per_shard=8
    )
    splits = {split: rows(run, split) for split in SPLITS}
    assert {split: len(found) for split, found in splits.items()} == {"train": 20, "oracle": 10, "valid": 4, "test": 3}
    assert [path.name for path in run.document_shards("train")] == [f"0000{n}.jsonl.zst" for n in range(3)]
    every = [row for found in splits.values() for row in found]
    assert len({row["id"] for row in every}) == len({row["text"] for row in every}) == 37
    assert all(row["text"] == f"document {row['id'][1:]}" for row in every)
    audit = files.read_json(run.audit_documents)
    assert audit["inputs"] == {"a.jsonl": 10, "b.jsonl.gz": 10, "c.jsonl.zst": 10, "d.parquet": 12}
    assert audit["read"] == 42
    assert audit["dropped"] == {"empty": 0, "short": 0, "duplicate": 2, "bad": 0}
    assert audit["unused"] == 3
    assert audit["splits"]["test"] == {
        "documents": 3,
        "characters": sum(len(row["text"]) for row in splits["test"]),
        "bytes": sum(len(row["text"].encode()) for row in splits["test"]),
    }


def test_same_bytes_twice_and_from_other_files(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(30))
    first = run_documents("one", train=15)
    assert contents(first) == contents(run_documents("two", train=15))
    other = tmp_path / "other"
    other.mkdir()
    write(other / "z.jsonl", range(10))  # the same documents, in other files and another order
    write(other / "a.jsonl.gz", range(20, 30))
    write(other / "m.jsonl.zst", range(10, 20))
    second = contents(run_documents("three", folder=other, inputs=["*.jsonl*"], train=15))
    assert {name: data for name, data in second.items() if name != "audit.json"} == {
        name: data for name, data in contents(first).items() if name != "audit.json"
    }
    assert rows(run_documents("four", train=15, seed=2), "test") != rows(first, "test")


def test_a_larger_train_split_leaves_the_held_out_documents(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(30))
    small, large = run_documents("small", train=10), run_documents("large", train=20)
    assert rows(small, "test") == rows(large, "test")
    assert rows(small, "valid") == rows(large, "valid")
    assert rows(small, "train") == rows(large, "train")[:10]


def test_bad_documents_are_fatal_with_file_line_and_key(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(20))
    path = tmp_path / "b.jsonl"
    path.write_text('{"text": "x"}\n\n{"body": "y"}\n')
    with pytest.raises(InputError, match=re.escape(f"{path}:3: 'text': field is missing")):
        run_documents()
    assert not (tmp_path / "run" / "stages" / "documents.json").exists()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_file_is_an_error_even_when_bad_documents_are_skipped(tmp_path, run_documents, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    write(path, range(1000))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=rf"a.jsonl{suffix}:\d+: truncated"):
        run_documents(inputs=[f"*{suffix}"], bad_documents="skip")


@pytest.mark.parametrize(
    "sizes, key",
    [((5, 90, 2, 2), "oracle"), ((5, None, 90, 2), "valid"), ((5, 0, 2, 90), "test"), ((90, 90, 2, 2), "train")],
)
def test_a_corpus_too_small_names_the_split_that_takes_too_many(tmp_path, run_documents, sizes, key):
    write(tmp_path / "a.jsonl", range(20))
    train, oracle, valid, test = sizes
    with pytest.raises(InputError, match="the corpus is too small") as caught:
        run_documents(train=train, oracle=oracle, valid=valid, test=test)
    assert caught.value.key == f"documents.{key}"


def test_two_stars_match_folders_on_their_way(tmp_path, run_documents):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    write(tmp_path / "deep" / "deeper" / "a.jsonl", range(20))
    assert files.read_json(run_documents(inputs=["deep/**"]).audit_documents)["read"] == 20


def test_the_corpus_must_just_suffice(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(8))
    run = run_documents(train=4, valid=2, test=2)  # oracle: null takes what is left, here nothing
    assert run.document_shards("oracle") == []
    with pytest.raises(InputError, match="9 documents are needed"):
        run_documents("other", train=5, valid=2, test=2)


def test_kept_fields_are_carried_along(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(20), url="u", other=1)
    assert list(rows(run_documents(keep_fields=["url"]), "test")[0]) == ["id", "text", "url"]


def test_a_changed_input_is_noticed(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(20))
    run = run_documents()
    stage = DocumentsStage()
    assert StageRunner(run, stage, [stage]).finished()
    write(tmp_path / "a.jsonl", range(21))
    assert not StageRunner(run, stage, [stage]).finished()
    write(tmp_path / "a.jsonl", range(20))
    assert StageRunner(run, stage, [stage]).finished()


def test_files_are_read_by_tasks_of_their_own(tmp_path, run_documents):
    for number in range(5):
        write(tmp_path / f"{number}.jsonl", range(10 * number, 10 * number + 12))
    whole = run_documents("whole", train=20, id_field="id")
    run = run_documents("shared", train=20, id_field="id", shard=(2, 2))
    stage = DocumentsStage()
    assert StageRunner(run, stage, [stage]).missing_units() == ["00000", "00002", "00004"]
    assert StageRunner(run, stage, [stage]).execute((1, 2))
    assert contents(run) == contents(whole)


def test_foldoc_splits(tmp_path, run_documents):
    run = run_documents(inputs=[str(FOLDOC)], train=2000, valid=300, test=300, id_field="id", keep_fields=["title"])
    audit = files.read_json(run.audit_documents)
    assert audit["read"] == 6989
    assert audit["dropped"] == {"empty": 0, "short": 0, "duplicate": 0, "bad": 0}
    train = rows(run, "train")
    assert all(row["text"].startswith(row["title"] + "\n\n") for row in train)
    assert len({row["id"] for row in train} | {row["id"] for row in rows(run, "oracle")}) == 6389


def test_the_stage_is_light():
    code = (
        "import sys, megatron_sbp.documents, megatron_sbp.stages.tokenize;"
        "print([name for name in ('numpy', 'pyarrow', 'torch', 'transformers', 'tokenizers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_oracle_split_of_all_the_rest_has_no_more_shards_than_names(tmp_path, run_documents, monkeypatch):
    monkeypatch.setattr("megatron_sbp.recipe.checks.MOST_SHARDS", 2)
    write(tmp_path / "a.jsonl", range(30))
    with pytest.raises(InputError, match=r"22 oracle documents are 3 shards of 8, .* at least 11") as caught:
        run_documents(documents_per_shard=8, oracle=None)
    assert caught.value.key == "documents.documents_per_shard"
    run_documents(documents_per_shard=11, oracle=None)


def test_a_corpus_may_have_more_files_than_a_process_may_have_open(tmp_path, run_documents, monkeypatch):
    """Of every part a file is mapped, which keeps it open."""
    for number in range(60):
        write(tmp_path / f"{number:02d}.jsonl", range(5 * number, 5 * number + 5))
    settings = {"inputs": ["*.jsonl"], "train": 200, "valid": 20, "test": 20, "oracle": 50, "id_field": "id"}
    run = run_documents(**settings, documents_per_shard=30)
    expected = contents(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    at_most(16, monkeypatch)
    taken = {int(number.name) for number in Path("/proc/self/fd").iterdir()}
    limit = sorted(set(range(soft)) - taken)[40]  # 40 files more
    settings["inputs"] = [str(tmp_path / "*.jsonl")]
    documents, output = Documents(**settings, documents_per_shard=30), tmp_path / "again"
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        corpus.split_corpus(
            documents, run.recipe.seed, output, folder=tmp_path, rejection_audit=tmp_path / "rejected.json"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert found == expected


@pytest.mark.parametrize("most", [1, 4, 14])
def test_a_task_that_reads_several_files_changes_nothing(tmp_path, run_documents, monkeypatch, most):
    various(tmp_path)
    settings = {"inputs": ["*.jsonl*", "*.parquet"], "id_field": "id", "bad_documents": "skip", "min_characters": 2}
    expected = run_documents("alone", **settings)
    assert len(DocumentsStage().units(expected)) == 15
    audit = files.read_json(expected.audit_documents)
    assert audit["dropped"] == {"empty": 1, "short": 1, "duplicate": 33, "bad": 5}
    at_most(most, monkeypatch)
    run = run_documents("together", **settings)
    units = DocumentsStage().units(run)
    assert len(units) <= most and any("-" in unit for unit in units)
    assert contents(run) == contents(expected)


def test_a_file_that_was_removed_since_the_corpus_was_listed(tmp_path):
    settings = Documents(inputs=["*.jsonl"], train=4, valid=2, test=2)
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        corpus.read_part(settings, 1, [tmp_path / "gone.jsonl"], tmp_path / "part")
