"""What every kind of job asks for, without a Slurm: as the printed commands say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import stage_toys as toys
from support.slurm_clients import Kind, commands

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.sample import sample_of
from megatron_sbp.executor import slurm, slurm_launch, slurm_request
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

REPOSITORY = Path(__file__).parents[2]


def test_options_of_every_kind_of_job(no_slurm, tmp_path, capsys):
    words = [
        f"run_folder={tmp_path / 'run'}",
        "slurm.account=research",
        "slurm.qos=long",
        "slurm.sbatch=[--exclusive, --mem=0]",
        "slurm.setup='module load cuda'",
        "slurm.container_image=image.sqsh",
        "slurm.container_mounts=/data:/data",
    ]
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    run = Run.of(load_recipe(file, words))
    graph = [
        Kind("documents", "cpu", False),
        Kind("tokenize", "cpu", True, "documents"),
        Kind("embed", "gpu", True, "documents"),
        Kind("train-baseline", "training", False, "tokenize"),
        Kind("evaluate", "gpu", False, "train-baseline", "embed"),
    ]
    assert slurm.submit(run, file, words, graph, dry_run=True) == []
    text = capsys.readouterr().out
    assert not run.root.exists()
    assert "export SBP_SETUP='module load cuda'" in text and "SBP_CONTAINER_IMAGE=image.sqsh" in text
    found = commands(text)
    scripts = {name: next(word for word in words if word.endswith(".sbatch")) for name, words in found.items()}
    assert {name: Path(script).name for name, script in scripts.items()} == {
        "documents": "single.sbatch",
        "tokenize": "cpu_array.sbatch",
        "embed": "gpu_array.sbatch",
        "train_baseline": "training.sbatch",
        "evaluate": "single.sbatch",
    }
    assert all(Path(script).exists() for script in scripts.values())
    for name, command in found.items():
        assert {"--account=research", "--qos=long", "--exclusive", "--mem=0"} <= set(command)
        assert command[-len(words) - 2 :] == [name.replace("_", "-"), str(file), *words]
        on_gpu = name not in ("documents", "tokenize")
        assert (f"--partition={'gpu' if on_gpu else 'cpu'}") in command
    # What a stage needs; slurm.time is the most, and that of training runs.
    assert {"--time=04:00:00", "--mem=16G", "--cpus-per-task=12"} <= set(found["tokenize"])
    assert {"--time=12:00:00", "--mem=32G"} <= set(found["embed"]) and "--time=24:00:00" in found["train_baseline"]
    assert "--array=1-128" in found["tokenize"] and "--array=1-123" in found["embed"]  # of 123 shards
    assert {"--nodes=16", "--ntasks-per-node=8", "--gpus-per-node=8"} <= set(found["train_baseline"])
    assert "--gpus-per-node=1" in found["embed"] and "--gpus-per-node=1" in found["evaluate"]
    assert not any(word.startswith("--gpus") for word in found["documents"] + found["tokenize"])
    assert "--dependency=afterok:${train_baseline%%;*}:${embed%%;*}" in [
        word.replace("${embed%%;*}:${train_baseline%%;*}", "${train_baseline%%;*}:${embed%%;*}")
        for word in found["evaluate"]
    ]
    assert all("--kill-on-invalid-dep=yes" in found[name] for name in found if name != "documents")
    tasks = ["--nodes", "16", "--ntasks-per-node", "8", "--kill-on-bad-exit=1"]
    container = ["--container-image=image.sqsh", "--container-mounts=/data:/data"]
    ranks = ["bash", str(slurm_launch.SCRIPTS / "rank.sh"), "python"]
    assert slurm_launch.srun_words(run.recipe) == ["srun", *tasks, *container, *ranks]


def test_jobs_of_some_stages_ask_for_something_else(no_slurm, tmp_path, capsys):
    """By kind, verb and stage; the later of these wins."""
    jobs = "{cpu: {memory: 16G, time: '1:00:00'}, gpu: {gpus_per_node: 2, constraint: a100}, "
    jobs += "tokenize: {memory: 8G, cpus_per_task: 48, sbatch: [--nice=5]}, train-baseline: {qos: big}, "
    jobs += "train: {}, 'tune.random': {partition: small}, tune: {partition: wide, time: '9:00:00'}}"
    words = [f"run_folder={tmp_path / 'run'}", f"slurm.stages={jobs.replace('train: {}, ', '')}", "slurm.memory='0'"]
    words += [
        "synthesizers={related: {}, random: {pairs: {relation: random}}}",
        "arms={baseline: {}, sbp: {synthetic: related}, control: {synthetic: random}}",
    ]
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    run = Run.of(load_recipe(file, words))
    graph = [
        Kind("documents", "cpu", False), Kind("tokenize", "cpu", True), Kind("embed", "gpu", True),
        Kind("train-baseline", "training", False), Kind("tune", "training", False),
        Kind("tune.random", "training", False),
    ]  # fmt: skip
    slurm.submit(run, file, words, graph, dry_run=True)
    found = {name: set(command) for name, command in commands(capsys.readouterr().out).items()}
    assert {"--mem=16G", "--time=1:00:00", "--partition=cpu"} <= found["documents"]
    assert {"--mem=8G", "--time=1:00:00", "--cpus-per-task=48", "--nice=5"} <= found["tokenize"]
    assert {"--gpus-per-node=2", "--constraint=a100", "--mem=0"} <= found["embed"] and "--nice=5" not in found["embed"]
    assert {"--qos=big", "--gpus-per-node=8", "--time=24:00:00"} <= found["train_baseline"]
    assert {"--partition=wide", "--time=9:00:00"} <= found["tune"]
    assert {"--partition=small", "--time=9:00:00"} <= found["tune_random"]


def test_the_pilot_asks_for_what_synthesis_asks_for(no_slurm, tmp_path, capsys):
    jobs = (
        "{synthesize: {memory: 90G, time: '3:00:00', constraint: h100}, pilot: {time: '0:30:00'}, judge: {memory: 7G}}"
    )
    words = [f"run_folder={tmp_path / 'run'}", f"slurm.stages={jobs}"]
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    run = Run.of(load_recipe(file, words))
    slurm.submit(run, file, words, all_stages(run.recipe), dry_run=True)
    found = {name: set(command) for name, command in commands(capsys.readouterr().out).items()}
    assert {"--mem=90G", "--constraint=h100", "--time=0:30:00"} <= found["pilot"]
    assert {"--mem=90G", "--constraint=h100", "--time=3:00:00"} <= found["synthesize"]
    assert "--mem=7G" in found["judge"] and "--mem=7G" in found["judge_pilot"] and "--mem=90G" not in found["filter"]


def test_vllm_gets_as_many_gpus_as_share_its_weights(no_slurm, tmp_path, capsys):
    file = REPOSITORY / "examples" / "sbp_100m_2b" / "recipe.yaml"

    def gpus(*words: str) -> dict[str, set[str]]:
        given = [f"run_folder={tmp_path / 'run'}", "synthesis.vllm.tensor_parallel=2", *words]
        run = Run.of(load_recipe(file, given))
        slurm.submit(run, file, given, all_stages(run.recipe), dry_run=True)
        found = commands(capsys.readouterr().out)
        return {name: {word for word in found[name] if word.startswith("--gpus")} for name in found}

    usual = gpus("synthesis.engine=vllm")
    assert usual["synthesize"] == usual["pilot"] == usual["synthesize_random"] == {"--gpus-per-node=2"}
    assert usual["embed"] == usual["evaluate"] == {"--gpus-per-node=1"} and not usual["filter"]
    assert gpus("synthesis.engine=transformers")["synthesize"] == {"--gpus-per-node=1"}
    own = gpus("synthesis.engine=vllm", "slurm.stages={synthesize: {gpus_per_node: 4}}")
    assert own["synthesize"] == own["pilot"] == {"--gpus-per-node=4"}


def test_arrays_have_a_task_for_every_missing_unit(no_slurm, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    graph = toys.graph()

    def arrays(size: int) -> dict[str, tuple[str, str]]:
        run = toys.make_run(tmp_path, f"slurm.array_size={size}")
        slurm.submit(run, tmp_path / "recipe.yaml", [], graph, dry_run=True)
        found = {}
        for name, command in commands(capsys.readouterr().out).items():
            numbers = [word.partition("=")[2] for word in command if word.startswith("--array=")]
            shards = [word.rpartition("=")[2] for word in command if "SBP_SHARDS" in word]
            found[name] = (*numbers, *shards)
        return found

    # What the second stage has to do is known only when the first one is finished.
    assert arrays(64) == {"words": ("1-5", "5"), "lengths": ("1-64", "64"), "total": ()}
    assert arrays(2)["words"] == ("1-2", "2")
    run = toys.make_run(tmp_path)
    StageRunner(run, graph[0], graph).execute((2, 5))
    assert arrays(64)["words"] == ("1,3-5", "5") and arrays(3)["words"] == ("1-3", "3")
    StageRunner(run, graph[0], graph).execute()
    assert arrays(64) == {"lengths": ("1-5", "5"), "total": ()}
    StageRunner(run, graph[1], graph).execute((3, 5))
    StageRunner(run, graph[1], graph).execute((4, 5))
    assert arrays(64)["lengths"] == ("1-2,5", "5")


@pytest.mark.parametrize("words", ["slurm.gpus_per_node=4", "slurm.stages={tune: {gpus_per_node: 4}}"])
def test_more_ranks_than_gpus_are_refused_before_anything_is_submitted(no_slurm, tmp_path, capsys, words):
    """The training would fail for want of a device, after days of embedding and pairing."""
    file = REPOSITORY / "examples" / "sbp_1b_20b" / "recipe.yaml"
    run = Run.of(load_recipe(file, [f"run_folder={tmp_path / 'run'}", words]))
    with pytest.raises(InputError, match=r"'launch.ranks_per_node': 8 ranks on a node, but the job of t.* 4 GPUs"):
        slurm.submit(run, file, [], all_stages(run.recipe), dry_run=True)
    assert capsys.readouterr().out == ""
    for device in ("cpu", "auto"):
        run = Run.of(load_recipe(file, [f"run_folder={tmp_path / 'run'}", words, f"launch.device={device}"]))
        slurm.submit(run, file, [], all_stages(run.recipe), dry_run=True)


def test_arrays_that_wait_have_no_more_tasks_than_the_recipe_has_units(no_slurm, tmp_path, capsys):
    """What depends on an array waits for all of its tasks, and each asks for a GPU."""
    words = [f"run_folder={tmp_path / 'run'}", "slurm.array_size=64", "replicates=2"]
    file = REPOSITORY / "examples" / "sbp_1b_20b" / "recipe.yaml"
    run = Run.of(load_recipe(file, words))
    slurm.submit(run, file, words, all_stages(run.recipe), dry_run=True)
    found = commands(capsys.readouterr().out)
    tasks = {name: [word for word in command if word.startswith("--array=")] for name, command in found.items()}
    for end in ("", "_random", "_2", "_random_2"):
        assert tasks["pilot" + end] == ["--array=1"] and "SBP_SHARDS=1" in str(found["pilot" + end])
        assert tasks["deduplicate" + end] == ["--array=1-33"]
        assert tasks["synthesize" + end] == ["--array=1-64"]  # depends on what the pilot says
    assert tasks["neighbors"] == ["--array=1-33"]  # blocks of shards: each reads all vectors
    # Five arms, quality and reading of two synthesizers.
    assert tasks["evaluate"] == tasks["evaluate_2"] == ["--array=1-9"]


WRITTEN = ("synthesize", "compare", "judge", "filter", "tokenize-synthetic", "scan-corpus")
"""Arrays with up to a fifth more tasks than planned: more text may turn out to be needed."""


@pytest.mark.parametrize("words", [(), ("filter.contaminated=null", "filter.duplicates=exact", "replicates=2")])
@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "examples").glob("*/recipe.yaml")), ids=lambda file: file.parent.name
)
def test_arrays_are_as_wide_as_the_plan_says(no_slurm, tmp_path, capsys, file, words):
    given = [f"run_folder={tmp_path / 'run'}", *words]
    recipe = load_recipe(file, given)
    slurm.submit(Run.of(recipe), file, given, all_stages(recipe), dry_run=True)
    found = {}
    for name, command in commands(capsys.readouterr().out).items():
        for word in command:
            if word.startswith("--array="):
                found[name] = int(word.rpartition("-")[2].rpartition("=")[2])
    sample, _ = sample_of(recipe.documents, recipe.folder)  # as `sbp plan` does
    planned = make_plan(recipe, sample=sample)["arrays"]
    expected = {}
    for stage, entry in planned.items():
        verb = stage.partition(".")[0]
        scans = verb == "scan-corpus" and recipe.filter.contaminated is None
        most = -(-entry["units"] * 6 // 5) if verb in WRITTEN and not scans else entry["units"]
        shared = verb in ("tokenize", "embed", "neighbors", "index-corpus", "pairs", "tokenize-pairs")
        for number in range(1, 2 if shared else 1 + recipe.replicates):
            name = stage if number == 1 else f"{stage}.{number}"
            expected[name.replace("-", "_").replace(".", "_")] = min(most, recipe.slurm.array_size)
    del found["documents"]  # units are files of the corpus
    assert found == expected


@pytest.mark.parametrize("engine", ["exact", "scann"])
@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "examples").glob("*/recipe.yaml")), ids=lambda file: file.parent.name
)
def test_every_stage_that_uses_a_gpu_asks_for_one(no_slurm, tmp_path, capsys, file, engine):
    """Of every recipe in examples/: on GPU nodes, exactly the stages that read launch.device get a GPU."""
    words = [f"run_folder={tmp_path / 'run'}", f"neighbors.engine={engine}"]
    run = Run.of(load_recipe(file, words))
    graph = all_stages()
    slurm.submit(run, file, words, graph, dry_run=True)
    found = commands(capsys.readouterr().out)
    asking = {name for name, command in found.items() if any(word.startswith("--gpus-per-node") for word in command)}
    using = {stage.name.replace("-", "_") for stage in graph if stage.device == "training"}
    using |= {"embed", "synthesize", "evaluate", *(["neighbors"] if engine == "exact" else [])}
    assert asking == (using if run.recipe.launch.device != "cpu" else set())
    partition = {name: word for name, command in found.items() for word in command if word.startswith("--partition")}
    assert {name for name in partition if partition[name] == "--partition=cpu"} == set(partition) - using
    for name in asking - {"evaluate"} - {stage.name.replace("-", "_") for stage in graph if stage.device == "training"}:
        assert any(word.endswith("gpu_array.sbatch") for word in found[name])


def test_a_training_may_have_nodes_of_its_own(no_slurm, tmp_path, capsys):
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    graph = [Kind("train-baseline", "training", False), Kind("tune", "training", False)]

    def run_with(nodes: int) -> Run:
        return Run.of(load_recipe(file, [f"run_folder={tmp_path / 'run'}", f"slurm.stages.tune.nodes={nodes}"]))

    slurm.submit(run_with(4), file, [], graph, dry_run=True)
    found = commands(capsys.readouterr().out)
    assert "--nodes=16" in found["train_baseline"] and "--nodes=4" in found["tune"]
    # The job itself starts as many ranks.
    recipe = slurm_request.recipe_of_job(run_with(4), graph[1])
    assert slurm_launch.srun_words(recipe)[1:3] == ["--nodes", "4"] and recipe.launch.ranks_per_node == 8
    assert slurm_request.recipe_of_job(run_with(4), graph[0]).launch.nodes == 16
    with pytest.raises(InputError, match=r"global_batch_size.* is not a multiple of micro_batch_size x data-parallel"):
        slurm.submit(run_with(7), file, [], graph, dry_run=True)


def test_no_gpu_is_asked_for_without_gpus_per_node(no_slurm, tmp_path, capsys):
    run = toys.make_run(tmp_path)
    slurm.submit(
        run, run.recipe.source, [], [Kind("embed", "gpu", True), Kind("train", "training", False)], dry_run=True
    )
    text = capsys.readouterr().out
    assert "gpus" not in text and "cpu_array.sbatch" in text


def test_a_folder_with_a_percent_sign(no_slurm, tmp_path):
    """sbatch would take `%a` in it for the number of a task."""
    run = toys.make_run(tmp_path, f"run_folder={tmp_path}/50%alpha")
    options = slurm_request.options_of(run, Kind("documents", "cpu", False), None, run.root / "logs")
    assert f"--output={tmp_path}/50%%alpha/logs/%x-%j.out" in options
