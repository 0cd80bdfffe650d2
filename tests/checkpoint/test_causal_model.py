"""Weights that a checkpoint does not have are named, not made up."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.made_up_model import hugging_face_model, shape

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.causal_model import load_causal_model
from megatron_sbp.evaluation.model import load_model


def with_config(folder: Path, **changes) -> None:
    config = files.read_json(folder / "config.json")
    config.pop("layer_types", None)  # one for each layer
    files.write_json(folder / "config.json", {**config, **changes})


def without_a_tensor(folder: Path) -> None:
    file = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if name != "model.layers.1.mlp.up_proj.weight"}
    save_file(kept, file, metadata={"format": "pt"})


def with_a_tensor(name: str, folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), name: torch.ones(4)}, file, metadata={"format": "pt"})


def test_what_a_model_computes_itself_may_be_there(tmp_path):
    hugging_face_model(tmp_path, shape(True, True, layers=2), 60)
    with_a_tensor("model.layers.0.self_attn.rotary_emb.inv_freq", tmp_path)
    load_causal_model(tmp_path, torch.float32, "sdpa")


@pytest.mark.parametrize("tied", [True, False])
def test_all_weights(tmp_path, tied):
    hugging_face_model(tmp_path, shape(tied, True, layers=2), 60)
    model = load_causal_model(tmp_path, torch.bfloat16, "sdpa")
    there = load_file(tmp_path / "model.safetensors")
    found = {name: tensor for name, tensor in model.state_dict().items() if name in there}
    assert len(found) == len(there) and model.dtype == torch.bfloat16
    assert all(torch.equal(tensor, there[name].to(torch.bfloat16)) for name, tensor in found.items())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: os.truncate(folder / "model.safetensors", 5000), "cannot load this checkpoint .*header"),
        (lambda folder: files.write_text(folder / "model.safetensors", "version https://git-lfs"), "cannot load"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load"),
        (
            lambda folder: with_config(folder, quantization_config={"quant_method": "gptq", "bits": 4}),
            r"cannot load this checkpoint \(Loading a GPTQ quantized model requires",
        ),
        (
            lambda folder: with_config(folder, hidden_act="nothing"),
            r"cannot load this checkpoint \(KeyError: 'nothing'",
        ),
        (lambda folder: with_config(folder, hidden_size="64"), "cannot load .*hidden_size"),
        (without_a_tensor, r"lacks model\.layers\.1\.mlp\.up_proj\.weight of the model"),
        (lambda folder: with_config(folder, num_hidden_layers=3), r"lacks model\.layers\.2.* and \d+ more tensors"),
        (lambda folder: with_config(folder, num_hidden_layers=1), r"has model\.layers\.1.* and \d+ more tensors that"),
        (functools.partial(with_a_tensor, "score.bias"), r"has score\.bias that the model of config\.json does not"),
        (
            lambda folder: with_config(folder, intermediate_size=48),
            r"has the shape \[\d+, \d+\], but config",
        ),
    ],
)
def test_weights_that_are_damaged_or_not_there(tmp_path, damage, said):
    hugging_face_model(tmp_path, shape(True, True, layers=2), 60)
    damage(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        load_causal_model(tmp_path, torch.float32, "sdpa")
    assert caught.value.file == tmp_path
    with pytest.raises(InputError, match=said):
        load_model(tmp_path, torch.device("cpu"))


def test_code_of_a_checkpoint_is_not_run_and_nobody_is_asked(tmp_path, monkeypatch):
    hugging_face_model(tmp_path, shape(True, True, layers=2), 60)
    names = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    with_config(tmp_path, model_type="of its own", auto_map=names)
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail(question))
    with pytest.raises(InputError, match=r"cannot load this checkpoint .*custom code"):
        load_causal_model(tmp_path, torch.float32, "sdpa")
