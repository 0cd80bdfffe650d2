"""Which files of a Hugging Face folder count."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.hugging_face_folder import INDEX, ONE_FILE, tokenizer_files, weight_files, weight_map


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_one_file(tmp_path):
    with pytest.raises(InputError, match=f"holds neither {ONE_FILE} nor"):
        weight_map(tmp_path)
    touch(tmp_path, ONE_FILE, "pytorch_model.bin")
    assert weight_map(tmp_path) == {tmp_path / ONE_FILE: None}
    assert weight_files(tmp_path) == [tmp_path / ONE_FILE]


def test_an_index_decides_and_counts_itself(tmp_path):
    touch(tmp_path, ONE_FILE, "a.safetensors", "b.safetensors")
    files.write_json(
        tmp_path / INDEX, {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}
    )
    assert weight_map(tmp_path) == {tmp_path / "b.safetensors": ["x", "z"], tmp_path / "a.safetensors": ["y"]}
    assert weight_files(tmp_path) == [tmp_path / INDEX, tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(InputError, match="is missing, though") as caught:
        weight_map(tmp_path)
    assert caught.value.file == tmp_path / "a.safetensors"


@pytest.mark.parametrize("index", [{}, [], {"weight_map": ["x"]}, {"weight_map": None}, {"weight_map": {"x": 3}}])
def test_an_index_that_is_none(tmp_path, index):
    files.write_json(tmp_path / INDEX, index)
    with pytest.raises(InputError, match="has no weight_map"):
        weight_map(tmp_path)


def test_files_of_a_tokenizer_once_each_and_no_folder(tmp_path):
    touch(tmp_path, "tokenizer.json", "tokenizer_config.json", "roles.json", "config.json", "chat_template.jinja")
    (tmp_path / "tokenizer_old").mkdir()
    assert [file.name for file in tokenizer_files(tmp_path)] == [
        "chat_template.jinja", "roles.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
