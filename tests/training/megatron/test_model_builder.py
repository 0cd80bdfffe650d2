"""HybridModel in GPTModel's place: the same losses, gradients, weights and checkpoints, to the last bit.

After a step from zero, Adam's first moment is a multiple of the gradient; the checkpoints that are compared hold it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.checkpoint_tensors import checkpoint_tensors
from support.megatron_ranks import Megatron, ServedMegatron

from megatron_sbp.checkpoint import tracker
from megatron_sbp.recipe import Model, Training, load_recipe
from megatron_sbp.training.fingerprint import arm_settings, tuning_settings
from megatron_sbp.training.megatron.model_builder import (
    BUILDERS,
    DEFAULT,
    REFUSED_BY_HYBRID,
    choose_builder,
    layer_pattern,
)

pytestmark = pytest.mark.timeout(900)

STEPS, BATCH = 3, 8
HYBRID = ["--sbp-model-builder", "hybrid"]
GPT = ["--sbp-model-builder", "gpt"]
COMMON = ["--num-layers", "4", "--log-interval", "1", "--save-interval", "1"]
DISTRIBUTED = ["--use-distributed-optimizer", "--dist-ckpt-optim-fully-reshardable"]
TENSOR = ["--tensor-model-parallel-size", "2", "--make-vocab-size-divisible-by", "64"]
ONE_RANK = ["--make-vocab-size-divisible-by", "128"]
PIPELINE = ["--pipeline-model-parallel-size", "2"]
KINDS = {
    "documents": ({"real": 60, "synthetic": 20}, []),
    "pairs": ({"pairs": 80}, ["--calculate-per-token-loss"]),
}
CASES = {
    "one rank": (1, "documents", []),
    "one rank, pairs": (1, "pairs", []),
    "untied": (1, "documents", ["--untie-embeddings-and-output-weights"]),
    "layers recomputed in groups": (
        1,
        "pairs",
        ["--recompute-granularity", "full", "--recompute-method", "uniform", "--recompute-num-layers", "2"],
    ),
    "some layers recomputed": (
        1,
        "documents",
        ["--recompute-granularity", "full", "--recompute-method", "block", "--recompute-num-layers", "3"],
    ),
    "bf16, distributed optimizer": (2, "documents", ["--bf16", *DISTRIBUTED, "--overlap-grad-reduce"]),
    "tensor": (2, "pairs", TENSOR),
    "pipeline": (2, "pairs", PIPELINE),
    "uneven pipeline": (2, "documents", [*PIPELINE, "--decoder-first-pipeline-num-layers", "1"]),
    "virtual pipeline": (2, "pairs", [*PIPELINE, "--num-virtual-stages-per-pipeline-rank", "2"]),
    "tensor and pipeline": (4, "documents", [*TENSOR, *PIPELINE]),
}


def entries(checkpoint: Path) -> set[str]:
    """Names of everything in a checkpoint, states of modules included."""
    from torch.distributed.checkpoint import FileSystemReader

    return set(FileSystemReader(checkpoint).read_metadata().state_dict_metadata)


def assert_same(one: Path, other: Path, steps: int = STEPS) -> None:
    """Checkpoints of equal entries and equal bits."""
    one, other = (folder / f"iter_{steps:07d}" for folder in (one, other))
    assert entries(one) == entries(other)
    left, right = checkpoint_tensors(one), checkpoint_tensors(other)
    assert any("exp_avg" in name for name in left) and "decoder.final_layernorm.weight" in left
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


FEW = ("one rank, pairs", "layers recomputed in groups")
"""Cases of every `make test`; the others are for `make test-all`."""


@pytest.mark.parametrize(
    "case", [case if case in FEW else pytest.param(case, marks=pytest.mark.exhaustive) for case in CASES]
)
def test_trainings_are_bit_equal(megatron, case):
    ranks, kind, flags = CASES[case]
    sources, needed = KINDS[kind]
    for name, builder in (("gpt", GPT), ("hybrid", HYBRID)):
        megatron.data(name, sources, kind)
        megatron.train(name, STEPS * BATCH, *COMMON, *needed, *flags, *builder, ranks=ranks)
    losses = megatron.losses("hybrid")
    assert losses == megatron.losses("gpt") and losses[STEPS] < losses[1]
    assert megatron.losses("hybrid", "valid") == megatron.losses("gpt", "valid")
    assert_same(megatron.folder / "gpt", megatron.folder / "hybrid", 1)
    assert_same(megatron.folder / "gpt", megatron.folder / "hybrid")


def cut_back(megatron: Megatron, source: str, name: str) -> Path:
    """A copy of a finished training as it was after its first step."""
    target = megatron.folder / name
    shutil.copytree(megatron.folder / source, target)
    for step in range(2, STEPS + 1):
        shutil.rmtree(target / f"iter_{step:07d}")
    (target / "stopped.txt").unlink()
    (target / tracker.NAME).write_text("1")
    return target


@pytest.mark.parametrize(
    ("optimizer", "first", "second"),
    [
        pytest.param(DISTRIBUTED, GPT, HYBRID, id="distributed optimizer-gpt to hybrid"),
        pytest.param([], HYBRID, GPT, id="optimizer-hybrid to gpt", marks=pytest.mark.exhaustive),
        pytest.param([], GPT, HYBRID, id="optimizer-gpt to hybrid", marks=pytest.mark.exhaustive),
        pytest.param(DISTRIBUTED, HYBRID, GPT, id="distributed optimizer-hybrid to gpt", marks=pytest.mark.exhaustive),
    ],
)
def test_one_resumes_from_a_checkpoint_of_the_other(megatron, first, second, optimizer):
    """In the same layout, to the last bit; with two tensor-parallel ranks, within 1e-5."""
    megatron.data("whole", KINDS["documents"][0])
    megatron.train("whole", STEPS * BATCH, *COMMON, *ONE_RANK, *optimizer, *first)
    resumed = cut_back(megatron, "whole", "resumed")
    text = megatron.train("resumed", STEPS * BATCH, *COMMON, *ONE_RANK, *optimizer, *second)
    assert f"step 1 of {STEPS}" in text
    assert_same(megatron.folder / "whole", resumed)
    assert megatron.losses("resumed") == megatron.losses("whole")
    cut_back(megatron, "whole", "tensor")
    megatron.train("tensor", STEPS * BATCH, *COMMON, *TENSOR, *optimizer, *second, ranks=2)
    losses, expected = megatron.losses("tensor"), megatron.losses("whole")
    assert max(abs(losses[step] - expected[step]) for step in expected) <= 1e-5


def test_export_and_import(corpus, megatron):
    """A hybrid model's checkpoint becomes a Hugging Face one, which the hybrid model loads again."""
    from megatron_sbp.checkpoint.hugging_face import export
    from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint

    # The model of megatron_ranks.MODEL.
    model = Model(
        num_layers=4, hidden_size=32, ffn_hidden_size=64, num_attention_heads=4, num_query_groups=2, kv_channels=8,
        sequence_length=96, qk_layernorm=True, tied_embeddings=True, rotary_base=500000, norm_epsilon=1e-5,
    )  # fmt: skip
    digests = set()
    for name, builder in (("gpt", GPT), ("hybrid", HYBRID)):
        megatron.data(name, KINDS["documents"][0])
        megatron.train(name, STEPS * BATCH, *COMMON, *builder)
        checkpoint = megatron.folder / name / f"iter_{STEPS:07d}"
        written = export(checkpoint, model, corpus / "tokenizer", megatron.folder / f"{name}-export")
        digests.add(written["weights_sha256"])
    assert len(digests) == 1
    imported = megatron.folder / "imported"
    import_checkpoint(megatron.folder / "hybrid-export", model, vocabulary=300, padded=384, target=imported)
    start = ["--pretrained-checkpoint", str(imported)]
    for name, builder in (("gpt-on", GPT), ("hybrid-on", HYBRID)):
        megatron.data(name, KINDS["documents"][0])
        megatron.train(name, STEPS * BATCH, *COMMON, *start, *builder)
    assert_same(megatron.folder / "gpt-on", megatron.folder / "hybrid-on")
    assert megatron.losses("hybrid-on")[1] < megatron.losses("hybrid")[1]


def test_what_was_not_compared_is_refused(megatron: ServedMegatron):
    megatron.data("refused", KINDS["documents"][0])
    text = megatron.train("refused", STEPS * BATCH, *COMMON, *HYBRID, "--use-rope-scaling", status=2)
    assert "sbp: error: --use-rope-scaling True: " in text and "Set training.model_builder to gpt" in text


def arguments(**given) -> SimpleNamespace:
    return SimpleNamespace(**{"sbp_model_builder": "hybrid", **given})


def chosen(on_cpu: bool, **given) -> str:
    args = arguments(**given)
    choose_builder(args, on_cpu)
    return args.sbp_model_builder


def test_refusals():
    accepted = {"num_experts": None, "attention_backend": SimpleNamespace(name="auto"), "cp_comm_type": ["p2p"]}
    for on_cpu in (True, False):
        assert chosen(on_cpu) == chosen(on_cpu, **accepted) == "hybrid"
    for name in REFUSED_BY_HYBRID:
        with pytest.raises(ValueError, match=r"Set training\.model_builder to gpt"):
            chosen(True, **{name: "something"})
        assert chosen(True, **{name: "something"}, sbp_model_builder="gpt") == "gpt"
    with pytest.raises(ValueError, match="--cp-comm-type"):
        chosen(True, cp_comm_type=["p2p", "a2a"])
    for builder in BUILDERS:
        with pytest.raises(ValueError, match="--hybrid-layer-pattern"):
            chosen(True, hybrid_layer_pattern="*-", sbp_model_builder=builder)


def test_the_hybrid_model_is_the_default_where_the_models_were_compared():
    assert chosen(True, sbp_model_builder="auto") == "hybrid"
    assert chosen(False, sbp_model_builder="auto") == "gpt"
    for name in REFUSED_BY_HYBRID:
        assert chosen(True, **{name: "something"}, sbp_model_builder="auto") == "gpt"


def test_the_default_trains_a_hybrid_model_here_and_the_startup_banner_says_so(megatron: ServedMegatron):
    megatron.data("plain", KINDS["documents"][0])
    assert " parameters, HybridModel, 4 layers" in megatron.train("plain", STEPS * BATCH, *COMMON)
    megatron.data("refused-by-hybrid", KINDS["documents"][0])
    text = megatron.train("refused-by-hybrid", STEPS * BATCH, *COMMON, "--use-rope-scaling")
    assert " parameters, GPTModel, 4 layers" in text


@pytest.mark.parametrize(
    "layers, ranks, chunks, more, pattern",
    [
        (3, 1, None, {}, "*-*-*-"),
        (4, 2, None, {}, "*-*-|*-*-"),
        (4, 2, 2, {}, "*-|*-|*-|*-"),
        (4, 2, None, {"num_layers_in_first_pipeline_stage": 1}, "*-|*-*-*-"),
        (3, 2, None, {"account_for_embedding_in_pipeline_split": True}, "*-|*-*-"),
    ],
)
def test_the_pattern_has_the_stages_of_a_gpt_model(layers, ranks, chunks, more, pattern):
    plain = {
        "num_layers_in_first_pipeline_stage": None,
        "num_layers_in_last_pipeline_stage": None,
        "account_for_embedding_in_pipeline_split": False,
        "account_for_loss_in_pipeline_split": False,
        "pipeline_model_parallel_layout": None,
    }
    transformer = SimpleNamespace(
        num_layers=layers, pipeline_model_parallel_size=ranks, virtual_pipeline_model_parallel_size=chunks,
        **{**plain, **more},
    )  # fmt: skip
    assert layer_pattern(transformer) == pattern


def test_the_default_of_the_recipe():
    field = Training.model_fields["model_builder"]
    assert field.default == DEFAULT and DEFAULT in BUILDERS


def test_the_choice_makes_no_training_stale():
    file = Path(__file__).resolve().parents[2] / "end_to_end" / "recipe.yaml"
    recipes = [load_recipe(file, [f"training.model_builder={builder}"]) for builder in BUILDERS]
    assert all(arm_settings(recipe) == arm_settings(recipes[0]) for recipe in recipes)
    assert all(tuning_settings(recipe) == tuning_settings(recipes[0]) for recipe in recipes)
    assert "model_builder" not in arm_settings(recipes[0]) | tuning_settings(recipes[0])
