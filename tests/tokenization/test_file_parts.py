"""Files tokenized by several processes give the bytes of one, and leave nothing but the dataset."""

from __future__ import annotations

import contextlib
import json
import os
import pickle

import psutil
import pytest

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.tokenization import documents, file_parts, pieces
from megatron_sbp.tokenization.documents import preprocess_documents
from megatron_sbp.tokenization.file_parts import alike


@pytest.fixture
def corpus(tmp_path, foldoc):
    """Files of different lengths: one has only an empty text, and one a bad row at its end."""
    for number, (begin, end) in enumerate([(0, 90), (90, 91), (91, 91), (91, 200)]):
        rows = [{"text": text} for text in foldoc[begin:end]] or [{"text": " "}]
        (tmp_path / f"{number} [a].jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tmp_path / "3 [a].jsonl").open("a") as file:
        file.write('{"body": 1}\n')
    return [str(tmp_path / "*.jsonl")]


@pytest.fixture
def in_processes(monkeypatch):
    monkeypatch.setattr(pieces, "IN_PROCESSES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(documents, "share_rows", None)  # these files go one by one


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("end_of_document", [True, False])
def test_the_bytes_and_counts_of_one_process(tmp_path, corpus, tokenizer, request, end_of_document):
    expected = preprocess_documents(
        corpus, tmp_path / "one" / "out", tokenizer, bad_documents="skip", end_of_document=end_of_document
    )
    assert (expected["documents"], expected["empty"], expected["bad"]) == (200, 1, 1)
    request.getfixturevalue("in_processes")
    found = preprocess_documents(
        corpus, tmp_path / "two" / "out", tokenizer, bad_documents="skip", end_of_document=end_of_document
    )
    assert found == expected
    assert written(tmp_path / "two") == written(tmp_path / "one") != {}


def test_errors_are_those_of_one_process(tmp_path, corpus, tokenizer, in_processes):
    with pytest.raises(InputError, match="field is missing") as caught:
        preprocess_documents(corpus, tmp_path / "out" / "data", tokenizer)
    assert (caught.value.file, caught.value.line) == (tmp_path / "3 [a].jsonl", 110)
    assert written(tmp_path / "out") == {}
    for file in tmp_path.glob("*.jsonl"):
        file.write_text('{"text": ""}\n')
    with pytest.raises(InputError, match=r"no usable row \(4 empty, 0 bad\)"):
        preprocess_documents(corpus, tmp_path / "out" / "data", tokenizer)
    assert written(tmp_path / "out") == {}


def test_a_killed_process_is_a_fault_and_leaves_nothing(tmp_path, corpus, tokenizer, in_processes, monkeypatch):
    def kill(*_):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile, or a zombie
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()

    monkeypatch.setattr(file_parts.Progress, "advance", kill)
    with pytest.raises(Fault, match="a process that tokenizes was killed, probably out of memory"):
        preprocess_documents(corpus, tmp_path / "out" / "data", tokenizer, bad_documents="skip")
    assert written(tmp_path / "out") == {}


def test_files_are_alike_if_none_keeps_one_process_busy_alone(tmp_path):
    for number, size in enumerate((100, 100, 120, 900)):
        (tmp_path / str(number)).write_bytes(b"x" * size)
    paths = sorted(tmp_path.iterdir())
    assert alike(paths[:3], 3) and alike(paths[:3], 2)
    assert not alike(paths[:3], 4), "fewer files than processes"
    assert not alike(paths, 3), "one has most of the text"


def test_a_tokenizer_of_another_process_is_the_same(tokenizer):
    again = pickle.loads(pickle.dumps(tokenizer))
    text = ["<|endoftext|> in a text is text"]
    assert again.encode_batch(text) == tokenizer.encode_batch(text)
    assert again.end_of_document == tokenizer.end_of_document not in again.encode_batch(text)[0]
    assert (again.roles, again.before_text) == (tokenizer.roles, tokenizer.before_text)
