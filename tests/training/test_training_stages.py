"""The training stages around Megatron: what they do when the last start was killed at the very end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from megatron_ranks import END, PADDING, SEPARATOR, markov_documents, write_indexed

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.train import TrainStage
from megatron_sbp.training.flags import megatron_arguments

RECIPE = Path(__file__).resolve().parents[1] / "end_to_end" / "recipe.yaml"


def folder_with(run: Run, training: str, iterations: list[int], valid: dict[int, float]) -> Path:
    """A training folder with closed (and otherwise empty) checkpoints and validation rows."""
    folder = run.model(training)
    for iteration in iterations:
        (folder / f"iter_{iteration:07d}").mkdir(parents=True)
        (folder / f"iter_{iteration:07d}" / "metadata.json").touch()
    (folder / "latest_checkpointed_iteration.txt").write_text(str(iterations[-1]))
    rows = [{"kind": "valid", "iteration": iteration, "loss": loss} for iteration, loss in valid.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.of(load_recipe(RECIPE, [f"run_folder={tmp_path}", "tuning.patience=2"]))


def ended(run: Run, training: str, samples: int) -> bool:
    return TrainStage("train", training, "")._ended(run, samples)


def test_a_training_in_the_middle_goes_on(run):
    folder_with(run, "baseline", [8, 16], {})
    assert not ended(run, "baseline", 40 * 8)


def test_the_last_checkpoint_with_its_evaluation_is_the_end(run):
    folder = folder_with(run, "baseline", [32, 40], {40: 5.0})
    assert ended(run, "baseline", 40 * 8)
    assert (folder / "stopped.txt").read_text() == "end of the plan"


def test_without_its_evaluation_the_last_steps_are_done_again(run):
    folder = folder_with(run, "baseline", [32, 40], {20: 5.0})
    assert not ended(run, "baseline", 40 * 8)
    assert (folder / "latest_checkpointed_iteration.txt").read_text() == "32"
    assert not (folder / "stopped.txt").exists()


def test_without_an_earlier_checkpoint_it_begins_anew(run):
    folder = folder_with(run, "baseline", [40], {})
    assert not ended(run, "baseline", 40 * 8)
    assert not (folder / "latest_checkpointed_iteration.txt").exists()


def test_a_tuning_that_was_out_of_patience_stays_so(run):
    folder = folder_with(run, "synthesizer", [5, 10, 15], {0: 4.0, 5: 3.0, 10: 3.1, 15: 3.2})
    assert ended(run, "synthesizer", 800)
    assert (folder / "stopped.txt").read_text() == "no better validation loss in 2 evaluations"


def test_rows_after_the_checkpoint_do_not_count(run):
    folder_with(run, "synthesizer", [5, 10], {0: 4.0, 5: 3.0, 10: 3.1, 15: 3.2})
    assert not ended(run, "synthesizer", 800)


def test_the_packing_of_the_plan_is_the_one_that_ranks_use(run):
    """Made once: the ranks find the file that the launcher wrote. A pair that does not fit is named."""
    from megatron_sbp.training.data.data_file import DataFile, Source
    from megatron_sbp.training.data.datasets import build_train

    folder, length = run.model("synthesizer"), run.recipe.tuning_sequence_length
    run.tokens("pairs").parent.mkdir(parents=True)
    pairs = zip(markov_documents(90, 1, 5, 30), markov_documents(90, 2, 5, 30), strict=True)
    write_indexed(run.tokens("pairs"), [[seed, [*target, END]] for seed, target in pairs])
    samples = TrainStage("tune", "synthesizer", "")._pair_samples(run)
    [file] = (folder / "cache").glob("*.index")
    source = Source("pairs", os.path.relpath(run.tokens("pairs"), folder), samples)
    data = DataFile("pairs", [source], source, length, run.recipe.seed, "strict", END, PADDING, SEPARATOR)
    data.write(folder / "data.json")
    tokenizer = SimpleNamespace(vocab_size=300, eod=END, pad=PADDING, unique_identifiers={})
    blend = build_train(folder / "data.json", tokenizer, folder / "cache")
    assert [*(folder / "cache").glob("*.index")] == [file]
    epochs, batch = run.recipe.tuning.max_epochs, run.recipe.tuning.global_batch_size
    assert 0 <= samples - int(epochs * len(blend.datasets[0].packing)) < batch and samples % batch == 0
    write_indexed(run.tokens("pairs"), [[[5] * length, [6, END]]])
    with pytest.raises(InputError, match=rf"pairs: 'pairs': a pair of {length + 2} tokens does not fit"):
        TrainStage("tune", "synthesizer", "")._pair_samples(run)


def test_the_arms_have_the_same_samples_on_megatrons_command_line(run):
    words = {arm: megatron_arguments(run, arm) for arm in ("baseline", "sbp", "oracle")}
    same = {arm: words[arm][words[arm].index("--train-samples") + 1] for arm in words}
    assert set(same.values()) == {str(ledger.train_samples(run.recipe))}
    for arm in words:
        text = " ".join(words[arm]).replace(f"/{arm}", "/ARM")
        assert text == " ".join(words["baseline"]).replace("/baseline", "/ARM"), "only the folders may differ"


def test_megatron_flags_of_the_recipe_pass_through(run):
    run.recipe.training.megatron = {"recompute-granularity": "full", "async-save": True, "log-throughput": False}
    words = megatron_arguments(run, "baseline")
    assert words[words.index("--recompute-granularity") + 1] == "full"
    assert "--async-save" in words and "--log-throughput" not in words
