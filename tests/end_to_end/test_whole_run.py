"""From raw documents to a report; what changes when the recipe does; SIGKILL at random instants.

One file, so that one worker of xdist makes the undisturbed run that all of it compares with.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
import torch
from support.checkpoint_tensors import checkpoint_tensors
from support.whole_program import DETERMINED, ONE_WORKER, RECIPE, digests, environment, run_sbp, sbp

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.training.metrics import read_metrics

pytestmark = pytest.mark.timeout(1800)

KILLS = 4
STAGES = len(all_stages())


def test_results_have_every_figure(whole_run):
    folder, printed = whole_run
    results = json.loads((folder / "results.json").read_text())
    recipe = load_recipe(RECIPE)
    figures = (
        "train_tokens unique_real_tokens synthetic_tokens real_epochs valid_loss test_loss choice_accuracy "
        "choice_stderr tokens_per_second seconds"
    ).split()
    for arm in ("baseline", "sbp", "oracle"):
        assert set(figures) <= results["arms"][arm].keys()
    budget = ledger.train_samples(recipe) * recipe.model.sequence_length
    assert {results["arms"][arm]["train_tokens"] for arm in results["arms"]} == {budget}
    synthetic = ledger.synthetic_samples(recipe) * recipe.model.sequence_length
    assert [results["arms"][arm]["synthetic_tokens"] for arm in ("baseline", "sbp", "oracle")] == [0, synthetic, 0]
    assert results["gap_closed"] is not None or results["gap_closed_reason"]
    assert set("documents candidates kept dropped recall_at_k".split()) <= results["pairs"].keys()
    quality = "documents tokens dropped repetition duplicate copying similarity_to_seed similarity_random_pairs".split()
    assert set(quality) <= results["synthetic"].keys()
    assert results["synthetic"]["before_filters"]["similarity_to_seed"] is not None
    assert all("seconds" in stage for stage in results["stages"].values()) and len(results["stages"]) >= 17
    assert results["environment"] and results["recipe"]["name"] == "tiny"
    assert "baseline" in printed and "oracle" in printed and "index.html" in printed


def test_report_is_one_offline_page(whole_run):
    page = (whole_run[0] / "report" / "index.html").read_text()
    assert "data-chart=" in page and "<script src" not in page
    own = re.sub("<script>.*?</script>", "", page, flags=re.DOTALL)
    assert 'src="http' not in own and 'href="http' not in own.replace('href="https://arxiv', "")


def test_synthetic_documents_know_their_parents(whole_run):
    from megatron_sbp.base.files import read_jsonl_zst, sha256

    folder = whole_run[0]
    seeds = {row["id"] for file in (folder / "documents" / "train").iterdir() for row in read_jsonl_zst(file)}
    rows = [row for file in sorted((folder / "synthetic").glob("0*.zst")) for row in read_jsonl_zst(file)]
    digest = json.loads((folder / "export" / "synthesizer" / "provenance.json").read_text())["weights_sha256"]
    assert rows and {row["seed_id"] for row in rows} <= seeds
    assert {row["synthesizer"] for row in rows} == {digest}
    assert {row["pairs"] for row in rows} == {sha256(folder / "pairs" / "pairs.parquet")}
    assert len({row["id"] for row in rows}) == len(rows)


def test_the_tuning_kept_few_of_its_checkpoints(whole_run):
    """It had one at every evaluation; what was removed while it ran and at its end has no seal either."""
    folder = whole_run[0] / "models" / "synthesizer"
    evaluations = [row for row in read_metrics(folder / "metrics.jsonl", "valid") if row["iteration"]]
    assert len(evaluations) > 3
    left = {int(path.name.removeprefix("iter_")) for path in folder.glob("iter_*")}
    assert {int(path.stem) for path in (folder / "seals").iterdir()} == left
    assert left == {evaluations[-1]["iteration"], min(evaluations, key=lambda row: row["loss"])["iteration"]}
    assert len(list((whole_run[0] / "models" / "baseline" / "seals").iterdir())) == 1


def test_a_synthetic_document_is_traced_and_the_run_is_published(whole_run, tmp_path):
    from transformers import AutoModelForCausalLM

    from megatron_sbp.base.files import read_jsonl_zst

    folder, _ = whole_run
    before = digests(folder)
    row = next(read_jsonl_zst(folder / "synthetic" / "00000.jsonl.zst"))
    found = json.loads(run_sbp("trace", folder, row["id"], "--json"))
    assert (found["text"], found["filters"]["verdict"]) == (row["text"], "kept")
    assert found["seed"]["id"] == row["seed_id"] and found["pairs"]["as_seed"] == len(found["pairs"]["tuned_on"])
    run_sbp("publish", folder, "--to", tmp_path / "hub")
    models = sorted((tmp_path / "hub" / "models").iterdir())
    assert [path.name for path in models] == [
        f"tiny-{name}" for name in ("baseline", "oracle", "sbp", "synthesizer-related")
    ]
    for path in models:
        AutoModelForCausalLM.from_pretrained(path)
        assert str(folder) not in (path / "README.md").read_text()
    assert digests(folder) == before


def test_a_second_call_does_nothing(whole_run):
    folder, _ = whole_run
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "stages" in path.parts}
    printed = run_sbp("run", RECIPE, f"run_folder={folder}", ONE_WORKER)
    assert printed.count("already complete") == STAGES
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert run_sbp("status", "--check", folder).count("finished in") == STAGES


def test_a_changed_recipe_runs_what_depends_on_it_and_says_so(whole_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    printed = run_sbp(
        "run", RECIPE, f"run_folder={folder}", "pairs.max_targets_per_seed=1", "--until", "tokenize-pairs"
    )
    assert "max_targets_per_seed was 2, is 1" in printed
    run_sbp("status", "--check", RECIPE, f"run_folder={folder}", "pairs.max_targets_per_seed=1", status=4)
    for stage in ("documents", "tokenizer", "tokenize", "embed", "neighbors"):
        assert f"] {stage}: already complete" in printed
    assert "] pairs: already complete" not in printed
    before, after = digests(whole_run[0]), digests(folder)
    assert {name for name in before if before[name] != after[name]} == {
        "pairs/pairs.parquet", "pairs/valid_pairs.parquet", "tokens/pairs.bin", "tokens/pairs.idx",
        "tokens/valid_pairs.bin", "tokens/valid_pairs.idx",
    }  # fmt: skip


@pytest.mark.exhaustive  # every second sequence of test_chaos.py has two workers, and the bytes of this run's one
def test_the_number_of_workers_changes_no_byte(whole_run, tmp_path):
    """Sharded stages again, by two workers in another order."""
    from megatron_sbp.stages.run_folder import Run

    recipe = load_recipe(RECIPE, [f"run_folder={tmp_path / 'run'}"])
    shutil.copytree(whole_run[0], tmp_path / "run")
    run = Run.of(recipe)
    for stage, owned in (("synthesize", run.generations), ("tokenize", None)):
        (run.manifests / f"{stage}.json").unlink()
        shutil.rmtree(run.manifests / stage)
        if owned:
            shutil.rmtree(owned)
        for shard in ("2/2", "1/2"):
            run_sbp(stage, RECIPE, f"run_folder={run.root}", "--shard", shard)
    assert digests(run.root) == digests(whole_run[0])


@pytest.mark.parametrize("recorded", [True, False])
def test_a_training_without_manifest_is_not_taken_for_one_of_other_settings(whole_run, tmp_path, recorded):
    """settings.json in its folder knows; so does the lock of its data, for runs from before there were settings."""
    from megatron_sbp.stages.run_folder import Run
    from megatron_sbp.stages.train import TrainStage

    shutil.copytree(whole_run[0], tmp_path / "run")
    run = Run.of(load_recipe(RECIPE, [f"run_folder={tmp_path / 'run'}", "seed=4"]))
    model = run.model("oracle")
    if not recorded:
        (model / "settings.json").unlink()
    with pytest.raises(InputError, match=rf"seed was 3, is 4.*move {model} away to train again"):
        TrainStage("train-oracle", "oracle", "train").run_unit(run, "all")


def test_damaged_output_is_made_again(whole_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    target = folder / "pairs" / "pairs.parquet"
    target.write_bytes(target.read_bytes()[:-20])
    printed = run_sbp("run", RECIPE, f"run_folder={folder}", "--until", "tokenize-pairs")
    assert "] pairs: already complete" not in printed and "] tokenize-pairs: already complete" in printed
    assert digests(folder) == digests(whole_run[0])


HOW = (
    "training.micro_batch_size=2", "training.eval_interval=10", "training.eval_sequences=8", "training.precision=bf16",
    "training.save_interval=5", "training.log_interval=1", "tuning.micro_batch_size=2",
    "training.megatron={num-workers: 0, recompute-granularity: full, recompute-method: uniform, "
    "recompute-num-layers: 1}",
)  # fmt: skip
"""Settings that change how a training is done, not what it computes."""


def test_how_a_training_is_done_discards_none(whole_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    before = digests(folder, ("models/**/*",))
    printed = run_sbp("run", RECIPE, f"run_folder={folder}", *HOW, "--until", "evaluate")
    assert printed.count("already complete") == STAGES - 1, printed
    assert digests(folder, ("models/**/*",)) == before


NOTES = {"plan.json", "resolved.yaml"}
"""What a run writes about itself; it holds the place of the run folder, which is another in a copy."""


def damage_checkpoint(folder, gone: bool):
    """A shard of a checkpoint removed, or 64 bytes in it changed; its name below the run folder."""
    file = max(folder.glob("iter_*/*.distcp"))
    if gone:
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[1000:1064] = bytes(64)
        file.write_bytes(data)
    return file


@pytest.mark.parametrize("gone", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_a_damaged_checkpoint_of_a_finished_training(whole_run, tmp_path, gone):
    """It is named, and nothing is done about it unasked: neither a manifest over it, nor a training after it."""
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    file = damage_checkpoint(folder / "models" / "baseline", gone)
    name = str(file.relative_to(folder))
    before = digests(folder, ("**/*",))
    for verb in ("run", "train-baseline"):
        printed = run_sbp(verb, RECIPE, f"run_folder={folder}", status=2)
        assert name in printed and "--discard train-baseline" in printed and "Traceback" not in printed
    after = digests(folder, ("**/*",))
    assert {name for name in before | after if before.get(name) != after.get(name)} <= NOTES
    assert f"damaged: {name}" in run_sbp("status", folder)
    assert name in run_sbp("verify", folder, status=1)
    if gone:
        return  # what happens after --discard: test_chaos.py, and the other case
    run_sbp("run", RECIPE, f"run_folder={folder}", "--discard", "train-baseline")
    assert digests(folder, (*DETERMINED, "export/*/*.safetensors")) == digests(
        whole_run[0], (*DETERMINED, "export/*/*.safetensors")
    )
    assert list(folder.glob("aside/train-baseline*/baseline/consumed.json"))


@pytest.mark.exhaustive  # tests/training/test_damage.py has the rule itself
def test_a_damaged_checkpoint_with_another_one_before_it(whole_run, tmp_path):
    """A tuning long enough to be better before its end than at it keeps two checkpoints."""
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    model = folder / "models" / "synthesizer"
    words = (RECIPE, f"run_folder={folder}", "tuning.learning_rate=0.005", "tuning.max_epochs=4", "--until", "tune")
    run_sbp("run", *words, "--discard", "tune")
    earlier, last = sorted(path for path in model.glob("iter_*") if path.is_dir())
    before = checkpoint_tensors(last)
    file = damage_checkpoint(model, gone=False)
    assert file.parent == last
    printed = run_sbp("run", *words, status=2)
    assert str(file.relative_to(folder)) in printed and "--repair tune" in printed
    printed = run_sbp("run", *words, "--repair", "tune")
    assert f"going back to iteration {int(earlier.name[5:])}" in printed
    after = checkpoint_tensors(last)
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_a_setting_that_fails_leaves_the_former_outputs(whole_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    before = digests(folder, ("**/*.*",))
    for word in ("embedding.model=someone/none", "tokenizer.path=someone/none", "pairs.alpha=0.99"):
        run_sbp("run", RECIPE, f"run_folder={folder}", word, "--until", "tokenize-pairs", status=2)
    run_sbp("run", RECIPE, f"run_folder={folder}", "--until", "evaluate")
    after = digests(folder, ("**/*.*",))
    assert {name for name, value in before.items() if after.get(name) != value} <= NOTES


def processes_of(folder) -> list[str]:
    """Command lines of running processes that name the run folder."""
    listing = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(folder) in line and " Z" not in line]


def kill_after(folder, log, stage: int, delay: float) -> int:
    """Starts the run and kills the one process that the user started, `delay` seconds after it began to work on stage
    number `stage` or a later one. Returns the stage that was hit, 0 when the run ended before."""
    with open(log, "w+") as output:
        process = subprocess.Popen(
            sbp("run", RECIPE, f"run_folder={folder}"), env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            said = re.findall(rf"\[(\d+)/{STAGES}\] \S+: (.*)", log.read_text())
            begun = [int(number) for number, rest in said if "before" not in rest]
            if begun and begun[-1] >= stage:
                time.sleep(delay)
                break
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0, log.read_text()[-3000:]
            return 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = [int(number) for number, _ in re.findall(rf"\[(\d+)/{STAGES}\] (\S+): ", log.read_text())]
    return begun[-1]


@pytest.mark.exhaustive  # `make test` kills in test_chaos.py
def test_killed_at_random_instants(whole_run, tmp_path):
    folder = tmp_path / "run"
    rng = random.Random(20250915)
    plan = sorted(rng.sample(range(1, STAGES), KILLS))
    hit = []
    for stage in plan:
        hit.append(kill_after(folder, tmp_path / "log", stage, rng.uniform(0.0, 6.0)))
        deadline = time.monotonic() + 5
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not processes_of(folder)
    assert sum(1 for stage in hit if stage) >= KILLS - 1, hit
    run_sbp("run", RECIPE, f"run_folder={folder}")
    assert digests(folder) == digests(whole_run[0])
    # On CPU even the trained weights are the same bytes.
    assert digests(folder, ("export/*/model.safetensors",)) == digests(whole_run[0], ("export/*/model.safetensors",))
