"""Data files of people who start the trainer themselves, by tools/make_data_file.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.megatron_ranks import write_indexed
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import save_tokenizer
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.datasets import build_train, build_valid

ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
TOKENIZER = SimpleNamespace(vocab_size=259, eod=0, pad=1, unique_identifiers={})
DOCUMENTS = ("--repeated", "data/real", "--once", "data/synthetic", "--valid", "data/valid")
PAIRS = ("--pairs", "data/pairs", "--valid", "data/pairs", "--global-batch-size", 4)


@pytest.fixture
def folder(tmp_path) -> Path:
    save_tokenizer(tmp_path / "tokenizer", train_bpe(["a b"], 259, ROLES))
    (tmp_path / "data").mkdir()
    for name, lengths in {"real": [30, 40], "synthetic": [25, 30], "valid": [50]}.items():
        write_indexed(tmp_path / "data" / name, [[[3] * (length - 1) + [0]] for length in lengths])
    write_indexed(tmp_path / "data/pairs", [[[3] * 2, [4] * 3]] * 9)
    write_indexed(tmp_path / "data/foreign", [[[3, 259, 0]] * 9])
    return tmp_path


def make(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    fixed = ("--tokenizer", "tokenizer", "--sequence-length", 10, "--valid-samples", 4, "--output", "m/data.json")
    return run_tool("make_data_file.py", folder, *fixed, *words)


def test_documents(folder):
    done = make(folder, *DOCUMENTS, "--train-samples", 20, "--seed", 7)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"train_samples": 20, "samples": {"data/real": 15, "data/synthetic": 5}}
    found = DataFile.read(folder / "m/data.json")
    assert found.train == [Source("real", "../data/real", 15), Source("synthetic", "../data/synthetic", 5, once=True)]
    assert (found.kind, found.seed, found.valid) == ("documents", 7, Source("valid", "../data/valid", 4))
    blend = build_train(folder / "m/data.json", TOKENIZER)
    assert np.bincount([blend[place]["dataset_id"] for place in range(len(blend))]).tolist() == [15, 5]
    assert len(build_valid(folder / "m/data.json", TOKENIZER, 8)) == 8


def test_pairs_are_packed_and_fill_whole_batches(folder):
    done = make(folder, *PAIRS, "--epochs", 1.5)
    assert done.returncode == 0, done.stderr
    # A pair takes six tokens, separator included, and five as input: two in a sequence. 7 in a pass and a half.
    assert json.loads(done.stdout) == {"train_samples": 8, "samples": {"data/pairs": 8}}
    blend = build_train(folder / "m/data.json", TOKENIZER)
    assert len(blend) == 8 and sum(int(blend[place]["loss_mask"].sum()) for place in range(5)) == 9 * 3


def test_documents_without_an_end_are_told(folder):
    write_indexed(folder / "data/real", [[[3] * 80]])
    done = make(folder, *DOCUMENTS, "--train-samples", 20)
    assert done.returncode == 0
    assert "warning: data/real: the first document does not end with <|endoftext|>" in done.stderr


def test_datasets_of_one_name_are_told_apart(folder):
    for file in (folder / "data").glob("real.*"):
        (folder / "more").mkdir(exist_ok=True)
        (folder / "more" / file.name).write_bytes(file.read_bytes())
    assert make(folder, *DOCUMENTS, "--once", "more/real:2", "--train-samples", 20).returncode == 0
    assert [source["name"] for source in files.read_json(folder / "m/data.json")["train"]] == [
        "data/real", "synthetic", "more/real",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*DOCUMENTS, "--train-samples", 5), "none is left for it"),
        ((*DOCUMENTS, "--train-samples", 20, "--valid-samples", 0), "'--valid-samples': must be positive, not 0"),
        ((*DOCUMENTS, "--train-samples", 20, "--tokenizer", "nowhere"), "nowhere: no such folder"),
        ((*PAIRS, "--epochs", 0), "'--epochs': must be positive, not 0.0"),
        ((*PAIRS, "--sequence-length", 4), "data/pairs: 'pairs'"),
        ((*PAIRS, "--epochs", "inf"), "'--epochs': must be positive, not inf"),
        ((*DOCUMENTS, "--train-samples", 10**20), f"'--train-samples': {10**20:,} sequences of 10 tokens are"),
        ((*DOCUMENTS, "--train-samples", 20, "--valid-samples", 10**20), f"'--valid-samples': {10**20:,} sequences"),
        ((*PAIRS, "--sequence-length", 10**20), f"4 sequences of {10**20:,} tokens are"),
        ((*PAIRS, "--epochs", 1e20), f"tokens; a training run has fewer than {2**53:,}"),
        ((*PAIRS, "--global-batch-size", 10**20), f"'--global-batch-size': {10**20:,} sequences of 10 tokens are"),
        ((*PAIRS, "--pairs", "data/real"), "data/real: is a dataset of documents, not of pairs"),
        ((*PAIRS, "--valid", "data/valid"), "data/valid: is a dataset of documents, not of pairs"),
        (
            (*DOCUMENTS, "--train-samples", 20, "--valid", "data/pairs"),
            "data/pairs: is a dataset of pairs, not of docu",
        ),
        ((*DOCUMENTS, "--train-samples", 20, "--valid", "data/none"), "data/none.idx: no such file"),
        (
            (*DOCUMENTS, "--train-samples", 20, "--once", "data/foreign"),
            "foreign: has the token id 259, but the tokenizer",
        ),
        ((*DOCUMENTS, "--train-samples", 20, "--epochs", 3), "--epochs and --global-batch-size go with --pairs"),
        ((*PAIRS, "--repeated", "data/real"), "--pairs goes with none of"),
        (PAIRS[:4], "--pairs needs --global-batch-size"),
        (DOCUMENTS, "give --repeated and --train-samples, or"),
    ],
)
def test_what_cannot_be_is_refused(folder, words, said):
    done = make(folder, *words)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (folder / "m/data.json").exists()
