"""Safetensors: read by rows and written in order, in files that the library itself accepts."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import safetensors_files
from megatron_sbp.checkpoint.hugging_face_folder import INDEX, ONE_FILE
from megatron_sbp.checkpoint.safetensors_files import SafetensorsReader, SafetensorsWriter

TENSORS = {"a": torch.arange(12.0).reshape(4, 3), "b": torch.tensor([1.5, -2.0]), "c": torch.ones(2, 2, 2)}


def write(folder, tensors=TENSORS, dtype=torch.float32) -> None:
    folder.mkdir(exist_ok=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    with SafetensorsWriter(folder, shapes, dtype) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_library_reads_what_is_written_and_the_reader_too(tmp_path, dtype):
    write(tmp_path, dtype=dtype)
    found, reader = load_file(tmp_path / ONE_FILE), SafetensorsReader(tmp_path)
    assert found.keys() == TENSORS.keys() == reader.shapes.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor.to(dtype)) and torch.equal(reader.read(name), tensor.to(dtype))
        assert reader.dtype(name) == dtype and reader.shapes[name] == tuple(tensor.shape)


def test_rows_of_a_tensor(tmp_path):
    write(tmp_path)
    reader = SafetensorsReader(tmp_path)
    assert torch.equal(reader.read("a", 1, 3), TENSORS["a"][1:3])
    assert reader.read("a", 2, 2).shape == (0, 3)


def test_shards_have_an_index_and_none_is_larger_than_it_must_be(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_files, "SHARD_BYTES", 60)
    write(tmp_path)
    index = files.read_json(tmp_path / INDEX)
    assert index["metadata"]["total_size"] == 88
    assert index["weight_map"] == {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors",
    }
    reader = SafetensorsReader(tmp_path)
    assert all(torch.equal(reader.read(name), tensor) for name, tensor in TENSORS.items())


def test_another_type_is_named_and_no_checkpoint_too(tmp_path):
    save_file({"ids": torch.ones(2, dtype=torch.int64)}, tmp_path / ONE_FILE)
    with pytest.raises(InputError, match="'ids': has type I64, only"):
        SafetensorsReader(tmp_path).dtype("ids")
    (tmp_path / ONE_FILE).write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(InputError, match="is not a safetensors file"):
        SafetensorsReader(tmp_path)


def test_an_index_that_promises_too_much(tmp_path):
    write(tmp_path)
    files.write_json(tmp_path / INDEX, {"weight_map": {"missing": ONE_FILE}})
    with pytest.raises(InputError, match="'missing': is missing, though"):
        SafetensorsReader(tmp_path)


def test_a_writer_that_is_left_by_an_error_writes_no_index(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_files, "SHARD_BYTES", 60)
    shapes = {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    with pytest.raises(RuntimeError), SafetensorsWriter(tmp_path, shapes, torch.float32) as writer:
        writer.add("a", TENSORS["a"])
        raise RuntimeError
    assert not (tmp_path / INDEX).exists()
