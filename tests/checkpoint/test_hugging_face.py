"""The exported checkpoint gives Megatron's logits, and what does not fit is named."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from support.made_up_model import logits_of, shape
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import safetensors_files
from megatron_sbp.checkpoint.hugging_face import export, read_weights
from megatron_sbp.evaluation.model import load_model, model_of
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
                "model": model.model_dump(), "vocabulary": PADDED, "tokens": tokens, "seed": seed,
                "logits": str(case.logits), "save": str(case.checkpoint),
                "dtype": "bfloat16" if name == "bf16" else "float32",
            }
        )  # fmt: skip
        found[name] = case
    run_megatron(jobs, folder)
    return found


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


@pytest.mark.parametrize("name", ["tied-norm", "untied-plain"])
def test_weights_in_memory_are_those_of_the_export(cases, name, tokenizer_folder, tmp_path):
    case = cases[name]
    export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "export")
    config, tensors = read_weights(case.checkpoint, case.model, tokenizer_folder)
    assert config == files.read_json(tmp_path / "export" / "config.json")
    found, device = {}, torch.device("cpu")
    for where, model in (
        ("disk", load_model(tmp_path / "export", device)),
        ("memory", model_of(config, tensors, device)),
    ):
        with torch.inference_mode():
            found[where] = model(torch.from_numpy(np.asarray(case.tokens))).logits
    assert torch.equal(found["disk"], found["memory"])


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
    monkeypatch.setattr(safetensors_files, "SHARD_BYTES", 100_000)
    many = export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "many")
    assert one == many
    shards = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert shards == [f"model-{number:05d}-of-00007.safetensors" for number in range(1, 8)]
    assert all(file.stat().st_size < 103_000 for file in (tmp_path / "many").glob("*.safetensors"))
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
    own = load_tokenizer(tokenizer_folder)
    assert one["tokenizer"] == {"vocab_size": own.vocab_size, "digest": own.vocabulary_digest} == three["tokenizer"]
    assert files.read_json(tmp_path / "two/provenance.json") == three
    assert not (tmp_path / ".two.partial").exists()
    (tmp_path / "two/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"two: holds thesis.txt, which this program did not write"):
        export(first.checkpoint, first.model, tokenizer_folder, tmp_path / "two")
    assert (tmp_path / "two/thesis.txt").exists() and files.read_json(tmp_path / "two/provenance.json") == three


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
        export(case.checkpoint, case.model.model_copy(update=change), tokenizer_folder, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_tensor_without_counterpart_is_named(cases, tokenizer_folder, tmp_path):
    model = cases["multi-head"].model.model_copy(update={"qk_layernorm": False})
    with pytest.raises(InputError, match=r"k_layernorm\.weight': has no counterpart in the recipe's model"):
        export(cases["multi-head"].checkpoint, model, tokenizer_folder, tmp_path / "export")


def test_a_shape_that_transformers_refuses(cases, tokenizer_folder, tmp_path):
    case = cases["tied-plain"]
    model = case.model.model_copy(update={"num_attention_heads": 6})
    with pytest.raises(InputError, match="6 does not divide hidden_size 64"):
        export(case.checkpoint, model, tokenizer_folder, tmp_path / "export")


def test_a_folder_that_is_no_checkpoint(cases, tokenizer_folder, tmp_path):
    case = cases["tied-norm"]
    with pytest.raises(InputError, match="not a torch_dist checkpoint"):
        export(tmp_path, case.model, tokenizer_folder, tmp_path / "export")
    broken = tmp_path / "iter_0000007"
    shutil.copytree(case.checkpoint, broken)
    (broken / ".metadata").write_bytes((broken / ".metadata").read_bytes()[:100])
    with pytest.raises(InputError, match="not a torch_dist checkpoint"):
        export(broken, case.model, tokenizer_folder, tmp_path / "export")


def test_the_stage_exports_the_chosen_iteration(cases, tokenizer_folder, tmp_path):
    from support.finished_stage import mark_finished

    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.recipe import load_recipe
    from megatron_sbp.stages.export import ExportStage
    from megatron_sbp.stages.run_folder import Run

    case = cases["tied-norm"]
    shapes = {key: value for key, value in case.model.model_dump().items() if value is not None}
    (tmp_path / "recipe.yaml").write_text(
        f"""
name: export
documents: {{inputs: [none.jsonl], train: 10, valid: 2, test: 2}}
tokenizer: {{}}
model: {shapes}
training: {{train_tokens: 10_000, global_batch_size: 8, micro_batch_size: 1}}
tuning: {{global_batch_size: 8}}
synthesis: {{tokens: 1_000}}
evaluation: {{choice_context: 20, choice_continuation: 20}}
""".replace("True", "true")
    )
    run = Run.of(load_recipe(tmp_path / "recipe.yaml", [f"run_folder={tmp_path / 'run'}"]))
    shutil.copytree(tokenizer_folder, run.tokenizer)
    shutil.copytree(case.checkpoint, run.model("synthesizer") / "iter_0000007")
    (run.model("synthesizer") / "iter_0000009").mkdir()  # the last one, not the best
    files.write_json(run.model("synthesizer") / "consumed.json", {"export_iteration": 7})
    for name, folder in (("tokenizer", run.tokenizer), ("tune", run.model("synthesizer"))):
        mark_finished(run, name, [path for path in folder.rglob("*") if path.is_file()])
    stage = ExportStage("export-synthesizer", ("synthesizer",))
    assert StageRunner(run, stage, [stage]).execute()
    provenance = files.read_json(run.export("synthesizer") / "provenance.json")
    assert (provenance["model"], provenance["iteration"]) == ("synthesizer", 7)
    outputs = set(files.read_json(run.manifests / "export-synthesizer.json")["outputs"])
    wanted = {"model.safetensors", "config.json", "generation_config.json", "provenance.json", "tokenizer.json"}
    assert {f"export/synthesizer/{name}" for name in wanted | {"tokenizer_config.json", "roles.json"}} == outputs
    assert StageRunner(run, stage, [stage]).finished()


def test_the_tool_takes_megatrons_flags(cases, tokenizer_folder, tmp_path):
    import json

    case = cases["untied-norm"]
    words = ["--checkpoint", case.checkpoint, "--tokenizer", tokenizer_folder, "--output", tmp_path / "tool"]
    words += ["--rotary-base", "500000", "--qk-layernorm"]
    words += "--num-layers 3 --hidden-size 64 --ffn-hidden-size 112 --num-attention-heads 6 --kv-channels 16".split()
    words += "--num-query-groups 2 --max-position-embeddings 64".split()
    done = run_tool("export_hf.py", tmp_path, *words, "--untie-embeddings-and-output-weights")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == export(case.checkpoint, case.model, tokenizer_folder, tmp_path / "function")
    for file in (tmp_path / "function").iterdir():
        assert files.sha256(file) == files.sha256(tmp_path / "tool" / file.name), file.name
    done = run_tool("export_hf.py", tmp_path, *words)
    assert done.returncode == 2 and "output_layer.weight" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.exhaustive  # test_initial_weights.py exports one, and test_layouts.py compares the logits of every layout
def test_a_trained_checkpoint_of_two_ranks(tokenizer_folder, run_megatron, tmp_path):
    """Tensor parallelism, optimizer and all, as the training stages write it."""
    checkpoint, model = _train(tokenizer_folder, tmp_path)
    tokens = np.random.default_rng(1).integers(3, 290, (2, 48)).tolist()
    job = {"model": model.model_dump(), "vocabulary": PADDED, "tokens": tokens, "load": str(checkpoint)}
    run_megatron([{**job, "logits": str(tmp_path / "logits.npy")}], tmp_path)
    written = export(checkpoint, model, tokenizer_folder, tmp_path / "export")
    assert (written["model"], written["iteration"]) == ("trained", 3)
    theirs, ours = np.load(tmp_path / "logits.npy")[..., :290], logits_of(tmp_path / "export", tokens)
    difference = np.abs(theirs - ours).max()
    print(f"trained on two ranks: largest logit difference {difference:.1e}, logits up to {np.abs(ours).max():.1f}")
    assert difference <= 1e-4 and np.abs(ours).max() > 0.1


def _train(tokenizer_folder: Path, folder: Path) -> tuple[Path, Model]:
    """Three steps of Megatron on two tensor-parallel CPU ranks; returns the checkpoint."""
    import os
    import subprocess
    import sys

    from megatron_sbp.tokenization.indexed import write_indexed
    from megatron_sbp.training.data.data_file import DataFile, Source

    random = np.random.default_rng(5)
    with write_indexed(folder / "real", np.uint16) as writer:
        writer.add(random.integers(3, 290, 4000), np.full(40, 100))
    target = folder / "trained"
    target.mkdir()
    sources = {"train": [Source("real", "../real", 24)], "valid": Source("real", "../real", 8)}
    special = {"end_of_document": 0, "padding": 1, "separator": 2}
    DataFile(kind="documents", **sources, sequence_length=64, seed=1, epochs="strict", **special).write(
        target / "data.json"
    )
    flags = (
        "--num-layers 2 --hidden-size 64 --ffn-hidden-size 112 --num-attention-heads 4 --group-query-attention "
        "--num-query-groups 2 --kv-channels 16 --qk-layernorm --untie-embeddings-and-output-weights --swiglu "
        "--normalization RMSNorm --disable-bias-linear --position-embedding-type rope --rotary-base 500000 "
        "--max-position-embeddings 64 --attention-dropout 0 --hidden-dropout 0 --init-method-std 0.05 --seq-length 64 "
        "--spec megatron_sbp.training.megatron.layer_spec layer_spec --tensor-model-parallel-size 2 "
        "--micro-batch-size 2 --global-batch-size 8 --train-samples 24 --lr 1e-2 --lr-decay-style constant "
        "--ckpt-format torch_dist "
        "--make-vocab-size-divisible-by 192 --save-interval 3 --eval-interval 10 --eval-iters 1 --seed 1 "
        f"--tokenizer-type HuggingFaceTokenizer --tokenizer-model {tokenizer_folder} --save {target} --load {target} "
        f"--sbp-data {target}/data.json"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "megatron_sbp.training.pretrain", "--sbp-device", "cpu", *flags.split()],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1",
             "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "rror" in line)
    model = shape(tied=False, norm=True, heads=4).model_copy(update={"num_layers": 2})
    return target / "iter_0000003", model
