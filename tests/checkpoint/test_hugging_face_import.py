"""What an import refuses, and what it leaves behind. That Megatron loads it: test_layouts, test_initial_weights."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support.made_up_model import hugging_face_model, shape
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import torch_dist
from megatron_sbp.checkpoint.hugging_face_config import read_config
from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint
from megatron_sbp.checkpoint.torch_dist import TorchDistReader

QWEN, LLAMA = shape(True, True), shape(False, False, heads=8)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    return hugging_face_model(tmp_path_factory.mktemp("qwen"), QWEN, 290, 1)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return hugging_face_model(tmp_path_factory.mktemp("llama"), LLAMA, 290, 2, shards="100KB")


def copy(source: Path, target: Path, **config) -> Path:
    """A copy with other values in config.json; None removes a key."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).hardlink_to(file)
    former = files.read_json(source / "config.json")
    changed = {key: value for key, value in {**former, **config}.items() if value is not None}
    files.write_json(target / "config.json", changed)
    return target


def change_tensors(folder: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    change(tensors)
    save_file({name: value.clone() for name, value in tensors.items()}, folder / "model.safetensors")


def test_both_are_described_by_their_config(qwen, llama):
    for folder, model in ((qwen, QWEN), (llama, LLAMA)):
        assert read_config(folder / "config.json") == (model, 290)
    import transformers

    with_defaults = {"hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 4}
    for kind, config in (("llama", transformers.LlamaConfig), ("qwen3", transformers.Qwen3Config)):
        theirs = config(**with_defaults, num_key_value_heads=None, vocab_size=290, max_position_embeddings=64)
        file = llama.parent / f"{kind}.json"
        plain = {"model_type": kind, "vocab_size": 290, "max_position_embeddings": 64, **with_defaults}
        files.write_json(file, plain)
        model, _ = read_config(file)
        assert model.kv_channels == theirs.head_dim and model.num_query_groups == theirs.num_key_value_heads
        assert model.norm_epsilon == theirs.rms_norm_eps and model.tied_embeddings == theirs.tie_word_embeddings
        assert model.rotary_base == theirs.rope_parameters["rope_theta"]
        files.write_json(file, {**plain, "rope_theta": 1e6, "rope_scaling": None})  # as transformers 4 wrote it
        assert read_config(file)[0].rotary_base == 1e6


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mistral"}, "model_type': is 'mistral', it must be one of llama, qwen3"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "architectures': is .*SequenceClassification"),
        ({"attention_bias": True}, "attention_bias': is True, it must be False"),
        ({"mlp_bias": True}, "mlp_bias': is True"),
        ({"use_sliding_window": True}, "use_sliding_window': is True"),
        ({"layer_types": ["sliding_attention"] * 3}, "layer_types': has sliding_attention"),
        ({"hidden_act": "gelu"}, "hidden_act': is 'gelu', it must be 'silu'"),
        ({"num_experts": 8}, "num_experts': is 8: a mixture of experts"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config': is"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling': is .*only unscaled RoPE"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5e5}}, "rope_parameters': is .*yarn"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor': is 0.5"),
        ({"num_hidden_layers": None}, "num_hidden_layers': is missing"),
        ({"num_hidden_layers": 0}, "num_hidden_layers': must be above 0, not 0"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps': must be a number, not 'small'"),
        (
            {"rope_parameters": {"rope_theta": 10_000.0}},
            "rope_theta': is 10000.0, the recipe's model.rotary_base",
        ),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps': is 1e-06, the recipe's model.norm_epsilon is 1e-05"),
        ({"head_dim": 32}, "head_dim': is 32, the recipe's model.kv_channels is 16"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings': is False, the recipe's model.tied_embeddings is True"),
        ({"num_key_value_heads": 6}, "num_key_value_heads': is 6, the recipe's model.num_query_groups is 2"),
        (
            {"model_type": "llama", "architectures": None},
            r"model_type': is llama \(no QK-norm\), .* is True",
        ),
        ({"vocab_size": 200}, "vocab_size': is 200, the tokenizer has 290 entries"),
        ({"vocab_size": 300}, r"embed_tokens.weight': has shape \(290, 64\), config.json makes it \(300, 64\)"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_name(qwen, tmp_path, config, message):
    source = copy(qwen, tmp_path / "theirs", **config)
    with pytest.raises(InputError, match=message) as refusal:
        import_checkpoint(source, QWEN, vocabulary=290, padded=384, target=tmp_path / "ours")
    assert str(source) in str(refusal.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]


def without_norm(tensors):
    del tensors["model.layers.1.self_attn.q_norm.weight"]


def with_bias(tensors):
    tensors["model.layers.2.self_attn.q_proj.bias"] = tensors["model.norm.weight"]


def with_other_output(tensors):
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1


def with_integers(tensors):
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].char()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_norm, r"layers.1.self_attn.q_norm.weight': is missing from the checkpoint"),
        (with_bias, r"layers.2.self_attn.q_proj.bias': has no counterpart"),
        (with_other_output, "lm_head.weight': differs from model.embed_tokens.weight"),
        (with_integers, r"layers.0.mlp.up_proj.weight': has type I8, only F32, BF16, F16"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(qwen, tmp_path, change, message):
    source = copy(qwen, tmp_path / "theirs")
    change_tensors(source, change)
    with pytest.raises(InputError, match=message):
        import_checkpoint(source, QWEN, vocabulary=290, padded=384, target=tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_what_old_checkpoints_carry_along_is_left_out(qwen, tmp_path):
    source = copy(qwen, tmp_path / "theirs")

    def more(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = tensors["model.norm.weight"][:8]

    change_tensors(source, more)
    written = import_checkpoint(source, QWEN, vocabulary=290, padded=384, target=tmp_path / "ours")
    assert (
        written["parameters"]
        == import_checkpoint(qwen, None, vocabulary=290, padded=384, target=tmp_path / "same")["parameters"]
    )
    assert "output_layer.weight" not in TorchDistReader(tmp_path / "ours/release").shapes


def test_files_that_are_missing_or_cut_off_are_named(qwen, llama, tmp_path):
    with pytest.raises(InputError, match=r"config.json: not a Hugging Face checkpoint"):
        import_checkpoint(tmp_path, None, vocabulary=290, padded=384, target=tmp_path / "ours")
    source = copy(qwen, tmp_path / "no weights")
    (source / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds neither model\.safetensors nor model"):
        import_checkpoint(source, None, vocabulary=290, padded=384, target=tmp_path / "ours")
    (source / "model.safetensors").write_bytes((qwen / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"model.safetensors: is not a safetensors file"):
        import_checkpoint(source, None, vocabulary=290, padded=384, target=tmp_path / "ours")
    source = copy(llama, tmp_path / "a shard less")
    shard = sorted(source.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(InputError, match=rf"{shard.name}: is missing, though model.safetensors.index.json names it"):
        import_checkpoint(source, None, vocabulary=290, padded=384, target=tmp_path / "ours")


def test_an_import_replaces_the_former_as_a_whole(qwen, tmp_path, monkeypatch):
    target = tmp_path / "ours"
    monkeypatch.setattr(torch_dist, "FILE_BYTES", 20_000)
    first = import_checkpoint(qwen, QWEN, vocabulary=290, padded=384, target=target)
    assert (target / "latest_checkpointed_iteration.txt").read_text() == "release"
    assert len(list((target / "release").glob("*.distcp"))) > 15  # tensors cut over several files
    (tmp_path / ".ours.partial").mkdir()
    (tmp_path / ".ours.partial/left over").write_text("by a process that was killed")
    (target / "old").write_text("not ours")
    with pytest.raises(InputError, match="ours: holds old, which this program did not write"):
        import_checkpoint(qwen, None, vocabulary=290, padded=512, target=target, precision="bf16")
    (target / "old").unlink()
    assert import_checkpoint(qwen, None, vocabulary=290, padded=512, target=target, precision="bf16") == {
        **first,
        "padded": 512,
        "dtype": "bfloat16",
    }
    assert sorted(path.name for path in target.iterdir()) == [
        "import.json", "latest_checkpointed_iteration.txt", "release",
    ]  # fmt: skip
    assert TorchDistReader(target / "release").shapes["embedding.word_embeddings.weight"] == (512, 64)
    assert not (tmp_path / ".ours.partial").exists()


def test_a_checkpoint_with_a_hole_is_no_export(qwen, tmp_path):
    """Chunks that do not cover a tensor are found out, not filled with what was in memory."""
    import torch

    from megatron_sbp.checkpoint.torch_dist import Chunk, write_torch_dist

    half = Chunk("weight", (4, 2), (0, 0), (2, 2), torch.float32, lambda: torch.ones(2, 2))
    write_torch_dist(tmp_path / "release", [half], {})
    reader = TorchDistReader(tmp_path / "release")
    assert reader.read("weight", (1, 0), (1, 2), torch.float32).tolist() == [[1, 1]]
    with pytest.raises(InputError, match="'weight': 4 of 8 values are in the checkpoint"):
        reader.read("weight", (0, 0), (4, 2), torch.float32)


def test_the_tool(llama, tokenizer_folder, tmp_path):
    def run(*more) -> subprocess.CompletedProcess:
        return run_tool("import_hf.py", tmp_path, "--checkpoint", llama, "--output", tmp_path / "ours", *more)

    done = run("--tokenizer", tokenizer_folder, "--make-vocab-size-divisible-by", "100", "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["rows"], shown["vocabulary"], shown["padded"], shown["dtype"]) == (290, 290, 300, "bfloat16")
    assert shown["model"] == LLAMA.model_dump()
    done = run()
    assert done.returncode == 2 and "no tokenizer" in done.stderr and "Traceback" not in done.stderr
