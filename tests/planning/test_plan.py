"""The plan against values worked out by hand, against Megatron's own formula and against a built model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.planned_recipe import REPOSITORY, paper, recipe_of

from megatron_sbp.executor.preflight import plan_run
from megatron_sbp.planning import cost, plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import Launch, load_recipe
from megatron_sbp.stages.run_folder import Run


@pytest.mark.parametrize(
    ("name", "steps", "sbp_epochs", "share", "oracle_epochs"),
    [
        ("sbp_3b_200b", 23_842, 12.5, 0.375, 1.0),
        ("sbp_3b_1t", 119_210, 17.5, 0.125, 2.08),
        ("sbp_6b_1t", 119_210, 15.0, 0.25, 2.08),
    ],
)
def test_paper_settings(name, steps, sbp_epochs, share, oracle_epochs):
    """The table of docs/paper.md: 20 epochs of the baseline, steps, epochs and share of the SBP arm."""
    arms = plan.make_plan(paper(name))["arms"]
    assert {arm["samples"] for arm in arms.values()} == {steps * 2048}
    assert all(arm["steps"] == steps and arm["train_tokens"] == steps * 2048 * 4096 for arm in arms.values())
    assert arms["baseline"]["real_epochs"] == pytest.approx(20, abs=0.01)
    assert arms["sbp"]["real_epochs"] == pytest.approx(sbp_epochs, abs=0.01)
    assert arms["sbp"]["synthetic_share"] == pytest.approx(share, abs=1e-4)
    assert arms["oracle"]["real_epochs"] == pytest.approx(oracle_epochs, abs=0.01)
    assert sum(part["samples"] for part in arms["sbp"]["datasets"].values()) == steps * 2048


def test_tokens_are_estimated_by_the_first_documents_of_the_corpus(tmp_path):
    """81 bytes at 4.5 bytes a token, and one token for the end: 19 tokens a document, in 1,000 of them."""
    recipe = recipe_of(tmp_path, "tokenizer.vocab_size=49152")
    sample = {"file": "a.jsonl", "documents": 7, "bytes": 81.0, "corpus": None}
    made = plan.make_plan(recipe, sample=sample)
    assert made["unique_tokens"]["real"] == {"documents": 1_000, "tokens": 19_000, "from": "estimated"}
    assert made["arms"]["baseline"]["real_epochs"] == 784 * 128 / 19_000
    told = "~ estimated: 19 tokens a document, of 4.5 bytes each (from the first 7 of a.jsonl), until"
    assert told in format_plan(made)
    measured = {"real": {"documents": 1_000, "tokens": 18_000}}
    assert plan.make_plan(recipe, measured, sample=sample)["unique_tokens"]["real"]["tokens"] == 18_000


def test_a_smaller_vocabulary_makes_more_tokens_of_the_same_text(tmp_path):
    """Quick start: 82,438 tokens in 400 documents of 609.7 bytes in the mean; at 4.5 bytes a token it was 54,322."""
    sample = {"file": "foldoc.jsonl.zst", "documents": 1_000, "bytes": 606.6, "corpus": None}
    words = ("tokenizer.vocab_size=2048", "documents.train=400")
    tokens = plan.make_plan(recipe_of(tmp_path, *words), sample=sample)["unique_tokens"]["real"]["tokens"]
    assert tokens == pytest.approx(82_438, rel=0.02)


def test_further_documents_of_a_corpus_that_was_looked_at_whole_are_known(tmp_path):
    sample = {"file": "a.jsonl", "documents": 60, "bytes": 81.0, "corpus": 60}
    words = ["documents.train=30", "documents.oracle=null", "documents.valid=10", "documents.test=10"]
    unique = plan.make_plan(recipe_of(tmp_path, *words), sample=sample)["unique_tokens"]
    assert unique["oracle"]["documents"] == 40 and unique["oracle"]["from"] == "estimated"


def test_small_by_hand(tmp_path):
    """100,000 tokens are 97.66 steps of 8 x 128 tokens: 98 steps, 784 samples; 30,000 // 128 = 234 synthetic."""
    made = plan.make_plan(recipe_of(tmp_path))
    arms = made["arms"]
    assert arms["baseline"]["steps"] == 98
    assert arms["sbp"]["datasets"]["synthetic"] == {
        "samples": 234,
        "tokens": 29_952,
        "unique_tokens": 29_952,
        "epochs": 1.0,
        "from": "recipe",
    }
    assert arms["sbp"]["datasets"]["real"]["samples"] == 784 - 234
    assert arms["baseline"]["real_epochs"] == 784 * 128 / 828_000
    assert arms["baseline"]["unique_real_tokens"] == 784 * 128  # less than an epoch: no more than it reads
    assert made["unique_tokens"]["oracle"] == {"documents": 10_000, "tokens": 8_280_000, "from": "estimated"}
    # vocabulary 1,000 -> 1,024; a layer: 64 (64 + 2 x 32) + 64 x 64 + 3 x 64 x 192, norms 2 x 64 + 2 x 16
    layer = 8_192 + 4_096 + 36_864 + 160
    assert made["model"]["padded_vocab_size"] == 1_024
    assert made["model"]["parameters"] == 1_024 * 64 + 2 * layer + 64
    # FLOPs: 6 per weight of a product and token, and 6 q s^2 per layer and sequence
    products = 2 * (layer - 160) + 1_024 * 64
    assert arms["oracle"]["flops"] == 784 * (128 * 6 * products + 6 * 2 * 64 * 128**2)


def test_warnings(tmp_path):
    def warnings(*overrides):
        return " | ".join(plan_run(Run.of(recipe_of(tmp_path, *overrides)))["warnings"])

    (tmp_path / "model").mkdir()
    calm = ("documents.train=60", "documents.oracle=200", "embedding.model=model")
    assert re.fullmatch(r"documents\.inputs: the run will be refused: 'x\.jsonl' matches no file .*", warnings(*calm))
    assert "hf download someone/none" in warnings(*calm, "embedding.model=someone/none")
    assert "no such folder" in warnings(*calm, "embedding.model=./none")
    assert "nothing to compare" in warnings()
    assert "true oracle" in warnings("documents.train=60", "documents.oracle=40")
    assert "unknown" in warnings("documents.train=60", "documents.oracle=null")
    assert "more than half" in warnings(*calm, "synthesis.tokens=60_000")
    assert "AdamW" in warnings(*calm, "training.learning_rate=1e-2")
    assert "on disk" in warnings(
        "documents.oracle=1_000_000_000_000_000", "documents.documents_per_shard=10_000_000_000"
    )
    assert "a rank needs" in warnings(
        *calm, "training.micro_batch_size=1_000_000", "training.global_batch_size=1_000_000"
    )


def test_distributed_optimizer_memory():
    """bf16: 18 bytes a parameter, or 6 + 12 / data-parallel ranks (Megatron's theoretical_memory_usage.py)."""
    recipe = paper("sbp_3b_200b")
    launch = recipe.launch.model_copy(update={"tensor_parallel": 2, "pipeline_parallel": 2})
    plain = cost.memory(recipe.model, recipe.training, launch, 49_152, distributed_optimizer=False)
    divided = cost.memory(recipe.model, recipe.training, launch, 49_152, distributed_optimizer=True)
    assert plain.weights + plain.gradients + plain.optimizer == 18 * plain.parameters
    assert divided.optimizer == pytest.approx(12 * plain.parameters / 32, abs=1)
    layer = 3072 * 5120 + 3072 * 3072 + 3 * 3072 * 8064
    assert plain.parameters == 13 * (layer // 2 + 2 * 3072 + 256) + 49_152 * 3072 // 2 + 3072


def test_format_names_every_arm_and_assumption():
    text = format_plan(plan.make_plan(paper("sbp_3b_200b")))
    assert all(word in text for word in ("baseline", "sbp", "oracle", "37.5 %", "~12.50", "23,842", "828 tokens"))
    assert max(map(len, text.splitlines())) <= 140


def test_plan_is_json_and_needs_no_torch(tmp_path):
    """In a fresh process: the plan is JSON without NaN, and no heavy library was loaded for it."""
    program = (
        "import json, sys\n"
        "from megatron_sbp.recipe import load_recipe\n"
        "from megatron_sbp.planning.plan import make_plan\n"
        "from megatron_sbp.planning.text import format_plan\n"
        f"plan = make_plan(load_recipe({str(REPOSITORY / 'examples/sbp_3b_200b/recipe.yaml')!r}))\n"
        "json.dumps(plan, allow_nan=False); format_plan(plan)\n"
        "print([name for name in ('torch', 'numpy', 'transformers', 'pyarrow', 'megatron') if name in sys.modules])\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout
    assert json.loads(output.replace("'", '"')) == []


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_layernorm", [True, False])
def test_parameters_equal_transformers(tied, qk_layernorm):
    """Qwen3 (with QK-norm) and Llama (without), built on the meta device, count the same."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

    model = paper("sbp_3b_200b").model.model_copy(update={"tied_embeddings": tied, "qk_layernorm": qk_layernorm})
    config = (Qwen3Config if qk_layernorm else LlamaConfig)(
        vocab_size=49_152,
        hidden_size=model.hidden_size,
        intermediate_size=model.ffn_hidden_size,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_query_groups,
        head_dim=model.head_size,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    assert cost.parameters(model, 49_152).total == sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.slow
def test_flops_equal_megatron():
    """Megatron's own count of a global batch, for all three of the paper's shapes."""
    megatron = pytest.importorskip("megatron.training.training")
    for name in ("sbp_3b_200b", "sbp_6b_1t"):
        model = paper(name).model
        arguments = SimpleNamespace(
            seq_length=model.sequence_length,
            hidden_size=model.hidden_size,
            ffn_hidden_size=model.ffn_hidden_size,
            num_layers=model.num_layers,
            num_attention_heads=model.num_attention_heads,
            num_query_groups=model.num_query_groups,
            kv_channels=model.head_size,
            group_query_attention=True,
            padded_vocab_size=49_152,
            swiglu=True,
            num_experts=None,
            mtp_num_layers=None,
            moe_ffn_hidden_size=None,
            moe_latent_size=None,
            moe_shared_expert_intermediate_size=None,
            multi_latent_attention=False,
            attention_output_gate=False,
            experimental_attention_variant=None,
            hybrid_layer_pattern=None,
            is_hybrid_model=False,
        )
        theirs = megatron.num_floating_point_operations(arguments, 2048)
        assert cost.training_flops(model, 49_152, 2048) == pytest.approx(theirs, rel=1e-12)


def test_launch_defaults_are_one_rank():
    """A recipe without `launch` plans for one rank that holds everything."""
    recipe = paper("sbp_3b_200b")
    entry = cost.memory(recipe.model, recipe.training, Launch(), 49_152, distributed_optimizer=False)
    assert entry.parameters == cost.parameters(recipe.model, 49_152).total


def test_the_vocabulary_of_a_tokenizer_from_the_hub(tmp_path, monkeypatch):
    """That of the local cache, not the 49,152 entries of a tokenizer that is trained."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--someone--large" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 128_255}}}))
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    file = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"
    model = plan.make_plan(load_recipe(file, ["tokenizer.path=someone/large"]))["model"]
    assert model["vocab_size"] == {"tokens": 128_256, "from": "estimated"} and model["padded_vocab_size"] == 128_256
    assert model["parameters"] == 2_737_739_264 + (128_256 - 49_152) * 3072
