from __future__ import annotations

import gzip
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents import corpus, cutting, input_groups, written_shards
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Documents
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import SPLITS, Run

FOLDOC = Path(__file__).parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"


def rows(run: Run, split: str) -> list[dict]:
    return [row for shard in run.document_shards(split) for row in files.read_jsonl_zst(shard)]


def contents(run: Run) -> dict[str, bytes]:
    folder = run.root / "documents"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(path: Path, numbers: range, **more) -> None:
    lines = "".join(json.dumps({"id": f"d{n}", "text": f"document {n}", **more}) + "\n" for n in numbers).encode()
    if path.suffix == ".gz":
        lines = gzip.compress(lines)
    if path.suffix == ".zst":
        lines = zstandard.compress(lines[: len(lines) // 2]) + zstandard.compress(lines[len(lines) // 2 :])
    path.write_bytes(lines)


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


def test_empty_short_and_duplicate_documents_are_dropped_and_counted(tmp_path, run_documents):
    lines = [{"text": text} for text in ("", "  \n\t", "\u3000", "ab", " ab ", "long enough", "long enough ", "x" * 9)]
    lines += [{"text": f"document {n}"} for n in range(8)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = run_documents(min_characters=3)
    audit = files.read_json(run.audit_documents)
    assert audit["dropped"] == {"empty": 3, "short": 2, "duplicate": 1, "bad": 0}
    assert sum(split["documents"] for split in audit["splits"].values()) == 10


def test_bad_documents_are_fatal_with_file_line_and_key(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(20))
    path = tmp_path / "b.jsonl"
    path.write_text('{"text": "x"}\n\n{"body": "y"}\n')
    with pytest.raises(InputError, match=re.escape(f"{path}:3: 'text': field is missing")):
        run_documents()
    assert not (tmp_path / "run" / "stages" / "documents.json").exists()


def test_bad_documents_are_skipped_counted_and_listed(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(20))
    (tmp_path / "b.jsonl").write_bytes(
        b'{"text": "x", "id": "q"}\n{"text": \n{"text": "\xff", "id": "r"}\n{"id": "d3", "text": "again"}\n'
        b'{"id": "d4", "text": "document 4"}\n' + b"broken\n" * 1200
    )
    run = run_documents(bad_documents="skip", id_field="id")
    audit = files.read_json(run.audit_documents)
    assert audit["dropped"] == {"empty": 0, "short": 0, "duplicate": 1, "bad": 1203}
    assert len(audit["bad_documents"]) == 1000
    assert audit["bad_documents"][0] == {
        "file": "b.jsonl",
        "line": 2,
        "reason": "malformed JSON: Expecting value at column 10",
    }
    assert audit["bad_documents"][1]["line"] == 3
    used = [row["text"] for split in SPLITS for row in rows(run, split)]
    assert len(used) == 21
    assert ("again" in used) != ("document 3" in used)


def test_one_id_with_two_texts_is_fatal_and_names_both(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(20))
    (tmp_path / "b.jsonl").write_text('{"id": "d7", "text": "another"}\n')
    with pytest.raises(InputError) as caught:
        run_documents(id_field="id")
    assert f"{tmp_path / 'a.jsonl'}:8" in str(caught.value)
    assert f"{tmp_path / 'b.jsonl'}:1" in str(caught.value)
    assert caught.value.key == "id"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_file_is_an_error_even_when_bad_documents_are_skipped(tmp_path, run_documents, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    write(path, range(1000))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=rf"a.jsonl{suffix}:\d+: truncated"):
        run_documents(inputs=[f"*{suffix}"], bad_documents="skip")


def test_a_corpus_too_small_says_how_much_is_missing_and_why(tmp_path, run_documents):
    write(tmp_path / "a.jsonl", range(9))
    (tmp_path / "b.jsonl").write_text('{"text": ""}\n{"text": "document 1"}\n{"text": 1}\n')
    with pytest.raises(InputError) as caught:
        run_documents(train=10, valid=2, test=2, oracle=4, bad_documents="skip")
    assert caught.value.key == "documents.train"
    file = tmp_path / "run" / "logs" / "documents" / "audit.json"
    assert str(caught.value).endswith(
        "the corpus is too small: 18 documents are needed (train 10, oracle 4, valid 2, test 2), 9 are usable "
        f"(12 read; dropped: 1 empty, 0 short, 1 duplicate, 1 bad); see {file}"
    )
    audit = files.read_json(file)
    assert audit["inputs"] == {"a.jsonl": 9, "b.jsonl": 3} and audit["usable"] == 9
    assert audit["needed"] == {"train": 10, "oracle": 4, "valid": 2, "test": 2}
    assert audit["bad_documents"] == [{"file": "b.jsonl", "line": 3, "reason": "'text': must be a string, not number"}]


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


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_matches_and_is_no_file_is_an_error_or_counted(tmp_path, run_documents, kind, capsys):
    write(tmp_path / "a.jsonl", range(20))
    path = tmp_path / "b.jsonl"
    if kind == "link":
        path.symlink_to(tmp_path / "gone.jsonl")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    reason = {"link": f"is a link to {tmp_path / 'gone.jsonl'}, which does not exist", "folder": "is a folder"}
    with pytest.raises(InputError) as caught:
        run_documents()
    assert str(caught.value).startswith(f"{path}: 'documents.inputs': {reason.get(kind, 'is not a regular file')}")
    run = run_documents(bad_documents="skip")
    assert files.read_json(run.audit_documents)["skipped_inputs"] == [
        {"file": "b.jsonl", "reason": reason.get(kind, "is not a regular file")}
    ]
    assert f"documents: skipped {path}" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"'documents\.inputs'"):
        run_documents("none", inputs=["b.jsonl"], bad_documents="skip")


def test_two_stars_match_folders_on_their_way(tmp_path, run_documents):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    write(tmp_path / "deep" / "deeper" / "a.jsonl", range(20))
    assert files.read_json(run_documents(inputs=["deep/**"]).audit_documents)["read"] == 20


def test_the_counts_of_what_was_dropped_are_said(tmp_path, run_documents, capsys):
    write(tmp_path / "a.jsonl", range(20))
    (tmp_path / "b.jsonl").write_text('{"text": ""}\n{"\\u001b[31mtitle\\n": 1}\n')
    run_documents(bad_documents="skip")
    said = capsys.readouterr().err
    assert "documents: dropped 1 empty, 1 bad of 22 that were read" in said
    assert r"b.jsonl:2: 'text': field is missing; there are: \x1b[31mtitle\n" in said and "\x1b" not in said


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


@pytest.fixture
def stopped(tmp_path, run_documents, monkeypatch):
    """A run that was interrupted in its fourth shard of six, its settings, and what an undisturbed one has."""
    write(tmp_path / "a.jsonl", range(60))
    settings = {"train": 40, "valid": 8, "test": 8, "oracle": 0, "documents_per_shard": 10}
    whole = contents(run_documents("whole", **settings))
    assert not any("parts" in name for name in whole)
    write_shard, names = cutting.write_shard, []

    def counted(path, *args, **kwargs):
        names.append(f"{path.parent.name}/{path.name[:5]}")
        if len(names) == 4 and stops:
            raise KeyboardInterrupt
        return write_shard(path, *args, **kwargs)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(cutting, "write_shard", counted)
    stops = True
    with pytest.raises(KeyboardInterrupt):
        run_documents("stopped", **settings)
    stops = False
    names.clear()
    parts = tmp_path / "stopped" / "documents" / "parts"
    assert (parts / "00000.rows").exists()
    return parts, lambda: contents(run_documents("stopped", **settings)) == whole, names


def test_killed_while_writing_it_goes_on_and_ends_with_the_same_bytes(stopped, capsys):
    _, again, written = stopped
    assert again()
    assert written == ["train/00001", "train/00002", "train/00003"]
    assert "documents: 3 of 6 shards are already written" in capsys.readouterr().err
    assert again() and len(written) == 3


def test_shards_that_changed_while_it_was_interrupted_are_written_again(stopped):
    parts, again, written = stopped
    shard = parts.parent / "test" / "00000.jsonl.zst"
    shard.write_bytes(shard.read_bytes()[:-1])
    (parts.parent / "ids" / "valid" / "00000.parquet").unlink()
    assert again()
    assert written == ["test/00000", "valid/00000", "train/00001", "train/00002", "train/00003"]


def test_a_note_that_was_cut_off_does_not_count(stopped):
    parts, again, written = stopped
    notes = parts / written_shards.NAME
    notes.write_bytes(notes.read_bytes()[:-9])
    assert again()
    assert written == ["train/00000", "train/00001", "train/00002", "train/00003"]


def test_shards_cut_from_parts_that_were_read_again_are_written_again(stopped):
    parts, again, written = stopped
    (parts / "00000.rows").unlink()
    assert again()
    assert len(written) == 6


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


def at_most(groups: int, monkeypatch) -> None:
    monkeypatch.setattr(input_groups, "ALONE", groups)
    monkeypatch.setattr(input_groups, "MOST", groups)


def various(folder: Path) -> None:
    """Fifteen files of several formats: one is empty, ids and texts occur twice, and some rows are bad or short."""
    for number in range(12):
        write(folder / f"{number:02d}.jsonl{('', '.gz', '.zst')[number % 3]}", range(9 * number, 9 * number + 12))
    (folder / "04b.jsonl").touch()
    again = "".join(f'{{"id": "d{n}", "text": "again {n}"}}\n\n' for n in (3, 70, 2))
    (folder / "07b.jsonl").write_text(f'\n{{"id": "e", "text": " "}}\nbroken\n{again}{{"id": "f", "text": "f"}}\n\n')
    table = pyarrow.table({"id": [f"p{n}" for n in range(9)] + ["d1"], "text": [f"row {n}" for n in range(10)]})
    pyarrow.parquet.write_table(table, folder / "08b.parquet")


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


def test_two_texts_with_one_id_are_told_by_their_own_files(tmp_path, run_documents, monkeypatch):
    various(tmp_path)
    (tmp_path / "07b.jsonl").write_text('\n{"id": "d200", "text": "new"}\n\n{"id": "d70", "text": "again"}\n')
    messages = []
    for most in (512, 3):
        at_most(most, monkeypatch)
        with pytest.raises(InputError, match=r"'id': this id has a different text at ") as caught:
            run_documents(f"run{most}", inputs=["*.jsonl*"], id_field="id")
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "07b.jsonl:4" in messages[0]


def test_parts_of_an_earlier_version(tmp_path, run_documents):
    """They are of one file each, and say so without a list."""
    write(tmp_path / "a.jsonl", range(30))
    write(tmp_path / "b.jsonl", range(25, 55))
    expected = run_documents("whole", id_field="id")
    run = run_documents("run", id_field="id", shard=(2, 2))
    notes = run.document_parts / "00001.json"
    about = files.read_json(notes)
    del about["counts"][0]["lines_before"]
    settings = {"inputs": ["*.jsonl"], "train": 4, "valid": 2, "test": 2, "id_field": "id"}
    corpus.read_part(Documents(**settings), 1, [tmp_path / "a.jsonl"], run.document_parts / "00000")
    files.write_json(notes, {**about, "counts": about["counts"][0]})
    parts = [run.document_parts / name for name in ("00000", "00001")]
    rejected = tmp_path / "rejected.json"
    output = tmp_path / "output"
    corpus.join_parts(Documents(**settings), 1, parts, output, folder=tmp_path, rejection_audit=rejected)
    found = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert found == contents(expected)
