"""Models for scoring: from an exported folder or from weights in memory, with the same logits."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from support.made_up_model import hugging_face_model, shape

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.model import device_name, load_model, model_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_and_its_weights_are_the_same_model(tmp_path, tied):
    hugging_face_model(tmp_path, shape(tied, True, layers=1), 60, dtype="bfloat16")
    loaded = load_model(tmp_path, CPU)
    config = json.loads((tmp_path / "config.json").read_text())
    tensors = {name: tensor.float() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    made = model_of(config, tensors, CPU)
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(tokens).logits, made(tokens).logits)
    for model in (loaded, made):
        assert not model.training and {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"config.json is missing"):
        load_model(tmp_path, CPU)
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(InputError, match="transformers cannot load this checkpoint") as caught:
        load_model(tmp_path, CPU)
    assert caught.value.file == tmp_path


def test_the_name_of_the_device():
    assert device_name(CPU) == "cpu"
