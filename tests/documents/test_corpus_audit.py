"""What audit.json counts and lists, and what is said of dropped documents."""

from __future__ import annotations

import json
import os

import pytest
from support.small_corpus import at_most, contents, rows, various, write

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents import corpus
from megatron_sbp.recipe import Documents
from megatron_sbp.stages.run_folder import SPLITS


def test_empty_short_and_duplicate_documents_are_dropped_and_counted(tmp_path, run_documents):
    lines = [{"text": text} for text in ("", "  \n\t", "\u3000", "ab", " ab ", "long enough", "long enough ", "x" * 9)]
    lines += [{"text": f"document {n}"} for n in range(8)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = run_documents(min_characters=3)
    audit = files.read_json(run.audit_documents)
    assert audit["dropped"] == {"empty": 3, "short": 2, "duplicate": 1, "bad": 0}
    assert sum(split["documents"] for split in audit["splits"].values()) == 10


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


def test_the_counts_of_what_was_dropped_are_said(tmp_path, run_documents, capsys):
    write(tmp_path / "a.jsonl", range(20))
    (tmp_path / "b.jsonl").write_text('{"text": ""}\n{"\\u001b[31mtitle\\n": 1}\n')
    run_documents(bad_documents="skip")
    said = capsys.readouterr().err
    assert "documents: dropped 1 empty, 1 bad of 22 that were read" in said
    assert r"b.jsonl:2: 'text': field is missing; there are: \x1b[31mtitle\n" in said and "\x1b" not in said


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
