"""`tuning.start`: the synthesizer begins as a Hugging Face checkpoint, as the baseline at its best, or as nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.finished_stage import mark_finished
from support.made_up_model import hugging_face_model, shape

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.initial_weights import (
    check_start,
    check_tokenizer,
    prepare_start,
    remove_start,
    start_files,
)
from megatron_sbp.executor.preflight import plan_run
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.planning import cost
from megatron_sbp.recipe import load_recipe
from megatron_sbp.recipe.tuning_start import start_folder, start_word
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name
from megatron_sbp.stages.training_stage import arguments_of
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.training import finalize

MODEL = shape(True, True, 4, 2, layers=2)
RECIPE = """
name: start
documents: {inputs: [none.jsonl], train: 10, valid: 2, test: 2}
tokenizer: {}
model: %s
training: {train_tokens: 10_000, global_batch_size: 8, micro_batch_size: 1, precision: fp32, log_interval: 1}
tuning: {start: theirs, learning_rate: 1.0e-3, weight_decay: 0, max_epochs: 1, global_batch_size: 4, eval_interval: 1,
         eval_sequences: 4}
synthesis: {tokens: 1_000}
evaluation: {choice_context: 20, choice_continuation: 20}
launch: {device: cpu, ranks_per_node: 2, tensor_parallel: 2}
"""


@pytest.fixture
def run(tmp_path, tokenizer_folder) -> Run:
    """A run whose stages in front of the tuning are finished, except the baseline."""
    model = {key: value for key, value in MODEL.model_dump().items() if value is not None}
    (tmp_path / "recipe.yaml").write_text(RECIPE % json.dumps(model))
    folder = hugging_face_model(tmp_path / "theirs", MODEL, 290, seed=4)
    shutil.copytree(tokenizer_folder, folder, dirs_exist_ok=True)
    run = Run.of(load_recipe(tmp_path / "recipe.yaml", [f"run_folder={tmp_path / 'run'}"]))
    shutil.copytree(tokenizer_folder, run.tokenizer)
    return run


def write_pairs(run: Run) -> None:
    from megatron_sbp.tokenization.indexed import write_indexed

    random = np.random.default_rng(3)
    run.tokens("pairs").parent.mkdir()
    for name, count in (("pairs", 40), ("valid_pairs", 16)):
        lengths = random.integers(8, 24, 2 * count)
        with write_indexed(run.tokens(name), np.uint16) as writer:
            writer.add(random.integers(3, 290, lengths.sum()), lengths, sequences_per_document=2)
    for stage, paths in (("tokenizer", run.tokenizer.iterdir()), ("tokenize-pairs", run.tokens("x").parent.iterdir())):
        mark_finished(run, stage, paths)


def runner(run: Run) -> StageRunner:
    graph = all_stages()
    return StageRunner(run, by_name(graph, "tune"), graph)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tuning_begins_with_these_weights(run, tmp_path, monkeypatch):
    """Two tensor-parallel ranks, five steps of Adam: no weight is farther from the start than these can take it.

    There are five evaluations, each with a checkpoint; when the ranks have ended, three are left at most.
    """
    from safetensors.torch import load_file

    from megatron_sbp.checkpoint.hugging_face import export

    write_pairs(run)
    left = []
    as_usual = finalize.finalize
    monkeypatch.setattr(
        finalize, "finalize", lambda folder, *a, **k: left.extend(tracker.written(folder)) or as_usual(folder, *a, **k)
    )
    assert runner(run).execute()
    assert len(left) <= 3 and left[-2:] == [4, 5]
    consumed = files.read_json(run.model("synthesizer") / "consumed.json")
    assert consumed["iterations"] == 5 and consumed["valid_loss_before"] > 0
    checkpoint = run.model("synthesizer") / f"iter_{consumed['export_iteration']:07d}"
    export(checkpoint, MODEL, run.tokenizer, tmp_path / "tuned")
    begun, tuned = load_file(tmp_path / "theirs/model.safetensors"), load_file(tmp_path / "tuned/model.safetensors")
    assert begun.keys() == tuned.keys()
    moved = {name: (begun[name] - tuned[name]).abs().max().item() for name in begun}
    print({name: f"{distance:.4f}" for name, distance in moved.items()})
    assert all(1e-4 < distance < 0.01 for distance in moved.values())
    assert not run.model("start").exists()
    outputs = files.read_json(run.manifests / "tune.json")["outputs"]
    assert "models/synthesizer/start.json" in outputs
    start = files.read_json(run.model("synthesizer") / "start.json")
    assert (start["folder"], start["vocabulary"], start["padded"]) == ("theirs", 290, 384)
    log = run.log("tune", "training").read_text()
    assert "loading release distributed checkpoint" in log
    assert runner(run).finished()
    (tmp_path / "theirs/generation_config.json").write_text("{}")  # not read
    assert runner(run).finished()
    config = files.read_json(tmp_path / "theirs/config.json")
    files.write_json(tmp_path / "theirs/config.json", {**config, "max_position_embeddings": 99})
    assert not runner(run).finished() and "stale" in runner(run).why()


def test_the_stage_depends_on_the_folder_not_on_the_baseline(run, tmp_path):
    tune = runner(run).stage
    assert "train-baseline" not in tune.reads(run)
    names = [file.name for file in tune.external(run)]
    assert names[:2] == ["config.json", "model.safetensors"] and "tokenizer.json" in names
    words = arguments_of(run, "synthesizer")
    assert words[words.index("--pretrained-checkpoint") + 1] == str(run.model("start"))
    settings = tune.settings(run)
    run.recipe.tuning.start = None
    assert tune.settings(run) == settings
    assert "train-baseline" in tune.reads(run) and tune.external(run) == []
    words = arguments_of(run, "synthesizer")
    assert words[words.index("--pretrained-checkpoint") + 1] == str(run.model("baseline"))


def test_the_padded_vocabulary_is_the_one_that_megatron_asks_for(run):
    for parallel in (1, 2, 3, 4, 256):
        run.recipe.launch.tensor_parallel = parallel
        words = arguments_of(run, "synthesizer")
        multiple = int(words[words.index("--make-vocab-size-divisible-by") + 1]) * parallel
        assert cost.padded_vocab_size(run.recipe.model, 290, parallel) == -(-290 // multiple) * multiple


def test_the_plan_shows_how_the_start_is_made(run, tmp_path, capsys):
    from megatron_sbp.cli import main

    assert main(["plan", str(run.recipe.source), f"run_folder={run.root}", "--commands"]) == 0
    shown = capsys.readouterr().out
    assert f"tools/import_hf.py \\\n    --checkpoint {tmp_path / 'theirs'}" in shown
    assert f"--pretrained-checkpoint {run.model('start')}" in shown
    assert "tuning.start" not in shown
    run.recipe.model.norm_epsilon = 1e-6
    warned = plan_run(run)["warnings"]
    assert any("rms_norm_eps': is 1e-05, the recipe's model.norm_epsilon is 1e-06" in line for line in warned)


@pytest.mark.parametrize("verb", ["run", "submit"])
def test_a_start_of_another_shape_is_refused_before_anything_runs(run, capsys, verb):
    from megatron_sbp.cli import main

    shutil.rmtree(run.root)
    assert main([verb, str(run.recipe.source), f"run_folder={run.root}", "model.ffn_hidden_size=128"]) == 2
    assert "'intermediate_size': is 112, the recipe's model.ffn_hidden_size is 128" in capsys.readouterr().err
    assert not run.root.exists()


def test_a_folder_that_is_not_there(run, tmp_path):
    shutil.rmtree(tmp_path / "theirs")
    with pytest.raises(InputError, match=r"theirs/config.json: 'tuning.start': not a Hugging Face checkpoint"):
        start_files(run.recipe)
    write_pairs(run)
    assert runner(run).why().startswith(f"waiting ({tmp_path}/theirs/config.json: 'tuning.start': not a Hugging Face")


def change_tokenizer(folder: Path, change) -> None:
    described = json.loads((folder / "tokenizer.json").read_text())
    change(described)
    (folder / "tokenizer.json").write_text(json.dumps(described))


def swap_two_entries(described) -> None:
    vocabulary = described["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def forget_a_token(described) -> None:
    last = max(described["model"]["vocab"], key=described["model"]["vocab"].get)
    del described["model"]["vocab"][last]
    described["model"]["merges"].pop()


def cut_at_digits(described) -> None:
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, described["pre_tokenizer"]]}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_two_entries, r"theirs and .*tokenizer.json: '[ab]' is \d+ and \d+"),
        (forget_a_token, r"theirs and .*tokenizer.json: '.*' is missing and 289"),
        (cut_at_digits, "same vocabulary, different pre_tokenizer"),
    ],
)
def test_another_tokenizer_is_refused_and_both_named(run, tmp_path, change, message):
    check_tokenizer(tmp_path / "theirs", load_tokenizer(run.tokenizer))
    change_tokenizer(tmp_path / "theirs", change)
    with pytest.raises(InputError, match=message):
        check_tokenizer(tmp_path / "theirs", load_tokenizer(run.tokenizer))


def test_a_start_without_tokenizer_is_refused(run, tmp_path):
    for file in (tmp_path / "theirs").glob("*token*"):
        file.unlink()
    (tmp_path / "theirs/roles.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        check_tokenizer(tmp_path / "theirs", load_tokenizer(run.tokenizer))


def test_the_tokens_that_a_run_adds_are_no_difference(tmp_path, tokenizer_folder):
    from megatron_sbp.tokenization.hugging_face import adopt_tokenizer
    from megatron_sbp.tokenization.tokenizer import save_tokenizer

    shutil.copytree(tokenizer_folder, tmp_path / "theirs")
    wanted = {"end_of_document": "<|endoftext|>", "padding": "<|pad|>", "separator": "<|new|>"}
    save_tokenizer(tmp_path / "ours", adopt_tokenizer(tmp_path / "theirs", wanted))
    ours = load_tokenizer(tmp_path / "ours")
    assert ours.vocab_size == 291
    check_tokenizer(tmp_path / "theirs", ours)


def test_words_are_starts_and_everything_else_is_a_folder(run, tmp_path):
    expected = {None: ("last", None), "last": ("last", None), "best": ("best", None), "scratch": ("scratch", None)}
    expected |= {"./best": (None, tmp_path / "best"), "theirs": (None, tmp_path / "theirs")}
    for value, (word, folder) in expected.items():
        run.recipe.tuning.start = value
        assert (start_word(run.recipe), start_folder(run.recipe)) == (word, folder)
    run.recipe.tuning.start = "bset"
    with pytest.raises(InputError, match=r"a start that is not a folder is last, best, scratch"):
        check_start(run.recipe)


def words_of(run: Run, training: str) -> dict[str, str]:
    words = arguments_of(run, training, 100)
    return {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}


def test_from_scratch_there_is_no_checkpoint_and_another_seed(run):
    run.recipe.tuning.start = "scratch"
    tune = runner(run).stage
    assert "train-baseline" not in tune.reads(run) and tune.external(run) == []
    words = words_of(run, "synthesizer")
    assert "--pretrained-checkpoint" not in words
    assert words["--seed"] != words_of(run, "baseline")["--seed"] == str(run.recipe.seed)
    assert 0 <= int(words["--seed"]) < 2**31
    assert words["--lr-decay-style"] == "constant"
    run.recipe.tuning.min_learning_rate = 1e-4
    words = words_of(run, "synthesizer")
    assert (words["--lr-decay-style"], words["--min-lr"], words["--lr-decay-samples"]) == ("cosine", "0.0001", "100")


def test_each_start_is_another_tuning(run):
    seen = []
    for value in (None, "best", "scratch"):
        run.recipe.tuning.start = value
        seen.append(runner(run).stage.settings(run))
    assert seen[0] != seen[1] != seen[2] != seen[0]
    run.recipe.tuning.start = "last"
    assert runner(run).stage.settings(run) == seen[0]


def test_for_the_best_start_the_baseline_saves_at_its_evaluations(run):
    training = run.recipe.training
    assert words_of(run, "baseline")["--save-interval"] == str(training.save_interval)
    run.recipe.tuning.start = "best"
    assert words_of(run, "baseline")["--save-interval"] == str(training.eval_interval) != str(training.save_interval)
    assert words_of(run, "sbp")["--save-interval"] == str(training.save_interval)
    assert words_of(run, "synthesizer")["--pretrained-checkpoint"] == str(run.model("start"))
    assert "models/baseline/consumed.json" in runner(run).stage.reads(run)["train-baseline"]


def prepare(run: Run) -> None:
    prepare_start(
        run.recipe,
        arm=run.model("baseline"),
        tokenizer=run.tokenizer,
        tuning=run.model("synthesizer"),
        prepared=run.model("start"),
    )


def test_the_best_checkpoint_is_linked_and_removed_without_harm(run):
    run.recipe.tuning.start = "best"
    folder = run.model("baseline") / "iter_0000020"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text("{}")
    (folder / "weights.distcp").write_bytes(b"weights")
    best = {"iteration": 20, "valid_loss": 3.5, "kept": True}
    files.write_json(run.model("baseline") / "consumed.json", {"best": best})
    run.model("synthesizer").mkdir()
    prepare(run)
    assert tracker.read(run.model("start")) == 20
    assert (run.model("start") / "iter_0000020" / "weights.distcp").read_bytes() == b"weights"
    record = files.read_json(run.model("synthesizer") / "start.json")
    assert (record["arm"], record["iteration"]) == ("baseline", 20) and "baseline_iteration" not in record
    remove_start(run.model("start"))
    assert (folder / "weights.distcp").read_bytes() == b"weights"
    files.write_json(run.model("baseline") / "consumed.json", {"best": {**best, "kept": False}})
    with pytest.raises(InputError, match="the arm baseline did not keep its best checkpoint"):
        prepare(run)


def write_documents(run: Run) -> None:
    from megatron_sbp.tokenization.indexed import write_indexed

    random = np.random.default_rng(5)
    for name, count in (("real", 60), ("valid", 20)):
        lengths = random.integers(20, 60, count)
        with write_indexed(run.tokens(name), np.uint16) as writer:
            writer.add(random.integers(3, 290, lengths.sum()), lengths)
    paths = [path for path in run.tokens("x").parent.iterdir() if path.name.split(".")[0] in ("real", "valid")]
    mark_finished(run, "tokenize", paths)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.exhaustive  # the recipes of examples/people tune from both
@pytest.mark.parametrize("start", ["best", "scratch"])
def test_real_ranks_tune_from_the_best_baseline_and_from_scratch(run, start):
    """The baseline overfits noise at a high rate, so that its best checkpoint is not its last one.

    Two ranks: see `test_the_tuning_begins_with_these_weights`."""
    write_pairs(run)
    write_documents(run)
    run.recipe.tuning.start = start
    training = run.recipe.training
    training.train_tokens, training.eval_interval, training.learning_rate = 64 * 8 * 40, 8, 1e-2
    training.micro_batch_size, run.recipe.launch.ranks_per_node, run.recipe.launch.tensor_parallel = 8, 1, 1
    graph = all_stages()
    log = run.log("tune", "training")
    if start == "best":
        baseline = StageRunner(run, by_name(graph, "train-baseline"), graph)
        assert baseline.execute()
        consumed = files.read_json(run.model("baseline") / "consumed.json")
        assert consumed["best"]["kept"] and 0 < consumed["best"]["iteration"] < consumed["iterations"]
        kept = sorted(path.name for path in run.model("baseline").glob("iter_*"))
        assert kept == [f"iter_{consumed['best']['iteration']:07d}", f"iter_{consumed['iterations']:07d}"]
        assert StageRunner(run, by_name(graph, "train-baseline"), graph).finished()
    assert runner(run).execute()
    said = log.read_text()
    if start == "best":
        assert f"at iteration {consumed['best']['iteration']}" in said
        assert files.read_json(run.model("synthesizer") / "start.json")["iteration"] == consumed["best"]["iteration"]
    else:
        assert "--pretrained-checkpoint" not in said and not run.model("baseline").exists()
    assert not run.model("start").exists() and runner(run).finished()
