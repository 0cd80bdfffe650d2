"""The exported checkpoint gives Megatron's logits, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp import files
from megatron_sbp.checkpoint import hugging_face
from megatron_sbp.checkpoint.hugging_face import export
from megatron_sbp.errors import InputError
from megatron_sbp.recipe import Model
from megatron_sbp.tokenization.tokenizer import load_tokenizer

pytestmark = pytest.mark.timeout(300)
PADDED = 384


@dataclass
class Case:
    """A checkpoint and what Megatron says with it."""

    name: str
    model: Model
    checkpoint: Path
    logits: Path
    tokens: list[list[int]]


def shape(tied: bool, norm: bool, heads: int = 6, groups: int = 2, kv_channels: int = 16) -> Model:
    return Model(
        num_layers=3, hidden_size=64, ffn_hidden_size=112, num_attention_heads=heads, num_query_groups=groups,
        sequence_length=64, kv_channels=kv_channels, qk_layernorm=norm, tied_embeddings=tied, norm_epsilon=1e-5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory, run_megatron) -> dict[str, Case]:
    """Checkpoints with random weights (norms included), made by Megatron; heads of 16, not of hidden size / heads."""
    folder = tmp_path_factory.mktemp("megatron")
    tokens = np.random.default_rng(1).integers(3, 290, (2, 48)).tolist()
    models = {
        f"{'tied' if tied else 'untied'}-{'norm' if norm else 'plain'}": shape(tied, norm, heads=6 if norm else 8)
        for tied in (True, False)
        for norm in (True, False)
    }
    models["multi-head"] = shape(False, True, heads=4, groups=4)
    models["multi-query"] = shape(True, False, heads=4, groups=1)
    models["bf16"] = shape(False, True)
    found, jobs = {}, []
    for seed, (name, model) in enumerate(models.items()):
        case = Case(name, model, folder / name / "iter_0000007", folder / f"{name}.npy", tokens)
        jobs.append(
            {
                "model": dataclasses.asdict(model), "vocabulary": PADDED, "tokens": tokens, "seed": seed,
                "logits": str(case.logits), "save": str(case.checkpoint),
                "dtype": "bfloat16" if name == "bf16" else "float32",
            }
        )  # fmt: skip
        found[name] = case
    run_megatron(jobs, folder)
    return found


def logits_of(folder: Path, tokens: list[list[int]]) -> np.ndarray:
    import torch
    from transformers import AutoModelForCausalLM

    model, problems = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(problems[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), problems
    with torch.inference_mode():
        return model(torch.tensor(tokens)).logits.float().numpy()


@pytest.mark.parametrize(
    "name", ["tied-norm", "tied-plain", "untied-norm", "untied-plain", "multi-head", "multi-query"]
)
def test_logits_are_megatrons(cases, name, tokenizer_folder, tmp_path):
    case = cases[name]
    written = export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "export")
    theirs, ours = np.load(case.logits), logits_of(tmp_path / "export", case.tokens)
    assert theirs.shape == (2, 48, PADDED) and ours.shape == (2, 48, 290)
    difference = np.abs(theirs[..., :290] - ours).max()
    print(f"{name}: largest logit difference {difference:.1e}, logits up to {np.abs(ours).max():.1f}")
    assert difference <= 1e-4
    assert np.abs(ours).max() > 1
    assert written["architecture"] == ("Qwen3ForCausalLM" if case.model.qk_layernorm else "LlamaForCausalLM")
    assert (written["model"], written["iteration"], written["dtype"]) == (name, 7, "float32")


def test_bf16_keeps_its_values(cases, tokenizer_folder, tmp_path):
    from safetensors.torch import load_file

    case = cases["bf16"]
    export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "bf16")
    export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "fp32", precision="fp32")
    half, full = load_file(tmp_path / "bf16/model.safetensors"), load_file(tmp_path / "fp32/model.safetensors")
    assert {str(value.dtype) for value in half.values()} == {"torch.bfloat16"}
    assert {str(value.dtype) for value in full.values()} == {"torch.float32"}
    assert all((half[name].float() == full[name]).all() for name in full)
    theirs, ours = np.load(case.logits)[..., :290], logits_of(tmp_path / "bf16", case.tokens)
    assert np.abs(theirs - ours).max() < 0.05 * np.abs(theirs).max()  # bf16 has 8 bits; order of sums differs


def test_config_says_what_the_model_is(cases, tokenizer_folder, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    case = cases["tied-norm"]
    export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "export")
    config = AutoConfig.from_pretrained(tmp_path / "export")
    tokenizer = load_tokenizer(tmp_path / "export")
    assert (config.vocab_size, config.head_dim, config.rms_norm_eps) == (290, 16, 1e-5)
    assert config.rope_parameters["rope_theta"] == 500_000 and config.tie_word_embeddings
    assert not config.attention_bias and not config.use_sliding_window
    assert set(config.layer_types) == {"full_attention"}
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.end_of_document, tokenizer.padding)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert theirs("a network")["input_ids"] == tokenizer.encode_batch(["a network"])[0]


def test_many_files_hold_the_same_weights(cases, tokenizer_folder, tmp_path, monkeypatch):
    case = cases["untied-norm"]
    one = export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "one")
    monkeypatch.setattr(hugging_face, "ONE_FILE", 1000)
    many = export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "many")
    assert one == many
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) == 11
    assert not (tmp_path / "many/model.safetensors").exists()
    assert (logits_of(tmp_path / "one", case.tokens) == logits_of(tmp_path / "many", case.tokens)).all()


def test_same_bytes_again_and_other_weights_another_digest(cases, tokenizer_folder, tmp_path):
    first, other = cases["tied-norm"], cases["untied-norm"]
    one = export(first.checkpoint, first.model, tokenizer_folder, tmp_path / "one")
    (tmp_path / ".two.partial").mkdir()
    (tmp_path / ".two.partial/left over").write_text("by a run that was killed")
    two = export(first.checkpoint, first.model, tokenizer_folder, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all(files.sha256(tmp_path / "one" / name) == files.sha256(tmp_path / "two" / name) for name in names)
    assert one == two
    three = export(other.checkpoint, other.model, tokenizer_folder, tmp_path / "two")
    assert three["weights_sha256"] != one["weights_sha256"]
    assert files.read_json(tmp_path / "two/provenance.json") == three
    assert not (tmp_path / ".two.partial").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_query_groups": 3},
            r"linear_qkv.weight': has shape \(3, 160, 64\), the recipe's model has \(3, 192, 64\)",
        ),
        ({"num_layers": 2}, "has shape"),
        ({"ffn_hidden_size": 128}, "mlp.linear_fc1.weight"),
        ({"tied_embeddings": False}, "output_layer.weight': is missing from the checkpoint"),
        ({"qk_layernorm": True}, "q_layernorm.weight': is missing from the checkpoint"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(cases, tokenizer_folder, tmp_path, change, message):
    case = cases["multi-query" if "qk_layernorm" in change else "tied-norm"]
    with pytest.raises(InputError, match=message):
        export(case.checkpoint, dataclasses.replace(case.model, **change), tokenizer_folder, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_tensor_without_counterpart_is_named(cases, tokenizer_folder, tmp_path):
    model = dataclasses.replace(cases["multi-head"].model, qk_layernorm=False)
    with pytest.raises(InputError, match=r"k_layernorm\.weight': has no counterpart in the recipe's model"):
        export(cases["multi-head"].checkpoint, model, tokenizer_folder, tmp_path / "export")


def test_a_shape_that_transformers_refuses(cases, tokenizer_folder, tmp_path):
    case = cases["tied-plain"]
    model = dataclasses.replace(case.model, num_attention_heads=6)
    with pytest.raises(InputError, match="6 does not divide hidden_size 64"):
        export(case.checkpoint, model, tokenizer_folder, tmp_path / "export")


def test_a_folder_that_is_no_checkpoint(cases, tokenizer_folder, tmp_path):
    case = cases["tied-norm"]
    with pytest.raises(InputError, match="no torch_dist checkpoint"):
        export(tmp_path, case.model, tokenizer_folder, tmp_path / "export")
    broken = tmp_path / "iter_0000007"
    shutil.copytree(case.checkpoint, broken)
    (broken / ".metadata").write_bytes((broken / ".metadata").read_bytes()[:100])
    with pytest.raises(InputError, match="no torch_dist checkpoint"):
        export(broken, case.model, tokenizer_folder, tmp_path / "export")
