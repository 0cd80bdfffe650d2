"""The data file of a training and its lock: what is read back, what is refused, what a resume may not change."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.training.data.data_file import DataFile, Source, dataset_digest, lock


def dataset(prefix: Path, tokens: int = 30) -> Path:
    with write_indexed(prefix, np.uint16) as writer:
        writer.add(np.arange(tokens).astype(np.uint16), np.array([tokens]))
    return prefix


def made(**changes) -> DataFile:
    values = {
        "kind": "documents", "train": [Source("real", "real", 6), Source("synthetic", "synthetic", 2, once=True)],
        "valid": Source("valid", "valid", 4), "sequence_length": 8, "seed": 1, "epochs": "strict",
        "end_of_document": 0, "padding": 1, "separator": 2,
    }  # fmt: skip
    return DataFile(**{**values, **changes})


@pytest.fixture
def path(tmp_path) -> Path:
    for name in ("real", "synthetic", "valid"):
        dataset(tmp_path / name)
    made().write(tmp_path / "data.json")
    return tmp_path / "data.json"


@pytest.mark.parametrize("order", ["mixed", "listed"])
def test_what_is_written_is_read(tmp_path, order):
    made(order=order).write(tmp_path / "d.json")
    assert DataFile.read(tmp_path / "d.json") == made(order=order)
    # Locks of training runs that began before there was a choice of order still agree.
    assert ("order" in files.read_json(tmp_path / "d.json")) == (order == "listed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.pop("seed"), "seed"),
        (lambda tree: tree.update(wait=1), "wait"),
        (lambda tree: tree["train"][0].update(weight=1), "weight"),
        (lambda tree: tree["valid"].pop("prefix"), "prefix"),
        (lambda tree: tree.update(train=3), "not a data file"),
        (lambda tree: tree.update(kind="images"), "'kind': must be documents or pairs, not 'images'"),
        (lambda tree: tree.update(epochs="any"), "'epochs': must be strict or joint"),
        (lambda tree: tree.update(order="reversed"), "'order': must be mixed or listed"),
        (lambda tree: tree.update(sequence_length=0), "'sequence_length': must be positive, not 0"),
    ],
)
def test_a_wrong_file_is_refused_by_key(path, change, message):
    tree = files.read_json(path)
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=message) as caught:
        DataFile.read(path)
    assert caught.value.file == path


def test_a_digest_sees_other_documents_and_a_truncated_file(tmp_path):
    one, same, other = (dataset(tmp_path / name, size) for name, size in (("a", 30), ("b", 30), ("c", 31)))
    assert dataset_digest(one) == dataset_digest(same) != dataset_digest(other)
    with open(tmp_path / "b.bin", "ab") as file:
        file.write(b"..")
    assert dataset_digest(one) != dataset_digest(same)
    (tmp_path / "b.idx").unlink()
    with pytest.raises(InputError, match="this file of the dataset is missing") as caught:
        dataset_digest(same)
    assert caught.value.file == tmp_path / "b.idx"


def test_a_resume_with_the_same_data_passes(path):
    first = lock(path, resumed=False)
    assert lock(path, resumed=True) == first == files.read_json(path.with_name("blend.lock.json"))
    assert first["train"][0]["bin_bytes"] == 60


def test_a_resume_with_other_data_names_every_difference_with_both_values(path):
    lock(path, resumed=False)
    before = path.with_name("blend.lock.json").read_bytes()
    dataset(path.parent / "synthetic", 31)
    made(seed=2).write(path)
    with pytest.raises(InputError) as caught:
        lock(path, resumed=True)
    message = str(caught.value)
    assert "seed was 1, is 2" in message and "train[1].bin_bytes was 60, is 62" in message
    assert "train[1].idx_sha256 was" in message and "train[0]" not in message
    assert path.with_name("blend.lock.json").read_bytes() == before


def test_a_resume_may_evaluate_on_another_number_of_sequences(path):
    """`training.eval_sequences` changes nothing that a training computes (fingerprint.py)."""
    first = lock(path, resumed=False)
    made(valid=Source(**{**dataclasses.asdict(made().valid), "samples": 64})).write(path)
    assert lock(path, resumed=True)["valid"]["samples"] == 64 != first["valid"]["samples"]


def test_another_number_of_sources_is_a_difference_too(path):
    lock(path, resumed=False)
    made(train=[Source("real", "real", 8)]).write(path)
    with pytest.raises(InputError, match="train was"):
        lock(path, resumed=True)


def test_a_training_without_a_checkpoint_takes_the_present_data(path):
    lock(path, resumed=False)
    made(seed=2).write(path)
    assert lock(path, resumed=False)["seed"] == 2 == files.read_json(path.with_name("blend.lock.json"))["seed"]


def test_a_lost_lock_is_written_again(path):
    lock(path, resumed=False)
    path.with_name("blend.lock.json").unlink()
    assert lock(path, resumed=True)["seed"] == 1 and path.with_name("blend.lock.json").exists()
