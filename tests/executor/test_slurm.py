"""What can be said about the jobs without a Slurm: commands, options, the environment of a rank."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import stage_toys as toys

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import slurm, slurm_queue
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

REPOSITORY = Path(__file__).parents[2]


class Kind(Stage):
    """A stage that is only looked at."""

    def __init__(self, name: str, device: str, sharded: bool, *reads: str):
        self.name, self.title, self.device, self.sharded, self._reads = name, name, device, sharded, reads

    def reads(self, run: Run):
        return dict.fromkeys(self._reads, ("*",))


@pytest.fixture
def no_slurm(monkeypatch, tmp_path):
    """No Slurm client is found."""
    (tmp_path / "bin").mkdir()
    for program in ("bash", "mkdir", "cat"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def commands(text: str) -> dict[str, list[str]]:
    """Words of every sbatch command in what a dry run prints, by variable."""
    lines = [line.partition("=$(") for line in text.splitlines() if "=$(sbatch" in line]
    return {name: shlex.split(command.removesuffix(")")) for name, _, command in lines}


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
        assert {"--account=research", "--qos=long", "--exclusive", "--mem=0", "--time=24:00:00"} <= set(command)
        assert command[-len(words) - 2 :] == [name.replace("_", "-"), str(file), *words]
        on_gpu = name not in ("documents", "tokenize")
        assert (f"--partition={'gpu' if on_gpu else 'cpu'}") in command
    assert "--array=1-128" in found["tokenize"] and "--array=1-128" in found["embed"]
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
    ranks = ["bash", str(slurm.SCRIPTS / "rank.sh"), "python"]
    assert slurm.srun_words(run.recipe) == ["srun", *tasks, *container, *ranks]


@pytest.mark.parametrize(
    ("runtime", "further", "words"),
    [
        ("pyxis", [], ["--container-image=i.sqsh"]),
        ("edf", [], ["--environment=i.sqsh"]),
        ("apptainer", [], ["apptainer", "exec", "--nv", "i.sqsh"]),
        ("apptainer", ["slurm.container_mounts=/a:/b"], ["apptainer", "exec", "--nv", "--bind", "/a:/b", "i.sqsh"]),
        ("apptainer", ["launch.device=cpu"], ["apptainer", "exec", "i.sqsh"]),
    ],
)
def test_ranks_run_the_containers_python(runtime, further, words):
    """The interpreter of this environment is not in it."""
    given = [f"slurm.container_runtime={runtime}", "slurm.container_image=i.sqsh", *further]
    recipe = load_recipe(REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml", given)
    found = slurm.srun_words(recipe)
    assert found[6 : 6 + len(words)] == words and found[-1] == "python"
    assert sys.executable not in found
    outside = load_recipe(REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml")
    assert slurm.srun_words(outside)[-1] == sys.executable


def test_jobs_of_some_stages_ask_for_something_else(no_slurm, tmp_path, capsys):
    """By kind, verb and stage; the later of these wins."""
    jobs = "{cpu: {memory: 16G, time: '1:00:00'}, gpu: {gpus_per_node: 2, constraint: a100}, "
    jobs += "tokenize: {memory: 8G, cpus_per_task: 48, sbatch: [--nice=5]}, train-baseline: {qos: big}, "
    jobs += "train: {}, 'tune.random': {partition: small}, tune: {partition: wide, time: '9:00:00'}}"
    words = [f"run_folder={tmp_path / 'run'}", f"slurm.stages={jobs.replace('train: {}, ', '')}", "slurm.memory='0'"]
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
    assert {"--partition=small", "--time=9:00:00"} <= found["tune.random"]


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


@pytest.mark.parametrize("engine", ["exact", "scann"])
@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "examples").glob("*/recipe.yaml")), ids=lambda file: file.parent.name
)
def test_every_stage_that_uses_a_gpu_asks_for_one(no_slurm, tmp_path, capsys, file, engine):
    """Of every recipe in examples/: on GPU nodes, whoever looks at launch.device gets one, and nobody else."""
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


def test_no_gpu_is_asked_for_without_gpus_per_node(no_slurm, tmp_path, capsys):
    run = toys.make_run(tmp_path)
    slurm.submit(
        run, run.recipe.source, [], [Kind("embed", "gpu", True), Kind("train", "training", False)], dry_run=True
    )
    text = capsys.readouterr().out
    assert "gpus" not in text and "cpu_array.sbatch" in text


def test_finished_stages_are_not_submitted(no_slurm, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("a\nbb")
    run, graph = toys.make_run(tmp_path), toys.graph()
    for stage in graph[:2]:
        StageRunner(run, stage, graph).execute()
    slurm.submit(run, run.recipe.source, [], graph, dry_run=True)
    text = capsys.readouterr().out
    assert "# words: already complete" in text and "# lengths: already complete" in text
    assert list(commands(text)) == ["total"] and "--dependency" not in text
    # After a change all that depends on it is submitted, even what looks finished as long as the change is not through.
    changed = toys.make_run(tmp_path, "note=upper")
    slurm.submit(changed, run.recipe.source, ["note=upper"], graph, dry_run=True)
    found = commands(capsys.readouterr().out)
    assert list(found) == ["words", "lengths", "total"]
    assert "--dependency=afterok:${words%%;*}" in found["lengths"]


def test_without_slurm(no_slurm, tmp_path):
    (tmp_path / "words.txt").write_text("a\nbb")
    run = toys.make_run(tmp_path)
    with pytest.raises(InputError, match="sbatch: not found: there is no Slurm here"):
        slurm.submit(run, run.recipe.source, [], toys.graph())
    assert slurm_queue.jobs_of(run) == []
    slurm_queue.remember(run, slurm_queue.Job("words", "12", 4))
    assert [str(job) for job in slurm_queue.jobs_of(run)] == [
        "job 12 (array of 4), words: unknown (Slurm does not answer)"
    ]


def test_a_node_that_failed_twice_is_excluded_and_that_is_said(no_slurm, tmp_path, capsys):
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    words = [f"run_folder={tmp_path / 'run'}", "slurm.sbatch=[--exclude=bad]"]
    run = Run.of(load_recipe(file, words))
    faults = run.root / "logs" / "slurm" / "faults"
    faults.mkdir(parents=True)
    (faults / "3.jsonl").write_text('{"node": "n1"}\n{"node": "n2"}\n{"node": "n1", "cause": "other"}\n')
    graph = [Kind("documents", "cpu", False)]
    slurm.submit(run, file, words, graph, dry_run=True)
    text = capsys.readouterr().out
    assert "# n1 is excluded: 2 different faults of this run were on it" in text and "n2 is excluded" not in text
    command = commands(text)["documents"]
    assert [word for word in command if "exclude" in word and "=" in word][:1] == ["--exclude=bad,n1"]
    slurm.submit(Run.of(load_recipe(file, [*words, "slurm.exclude_after=0"])), file, words, graph, dry_run=True)
    assert "--exclude=bad" in commands(capsys.readouterr().out)["documents"]


HOSTILE = [
    "a ${IFS}$(touch x)",
    "`touch x`",
    "$HOME;touch x",
    "a' 'b\"; touch x #",
    "${documents%%;*} *",
    "--x\\",
    "!!",
]


def test_a_printed_script_submits_the_very_words(tmp_path, monkeypatch, capsys):
    """Run by bash with an sbatch that notes its words: no value of a recipe is code, and job numbers are filled in."""
    monkeypatch.chdir(tmp_path)
    setup = "module load 'x y'\nexport A=\"$(date)\" # ${B}"
    values = iter(HOSTILE)
    words = [f"run_folder={tmp_path / 'run $(touch x)'}"]
    words += [f"slurm.{key}={yaml_text(next(values))}" for key in ("account", "qos", "partition", "constraint")]
    words += [f"slurm.sbatch={json.dumps([next(values), next(values)])}", f"slurm.setup={json.dumps(setup)}"]
    words += [f"slurm.container_image={yaml_text(next(values))}", f"note={yaml_text(HOSTILE[0])}"]
    file = REPOSITORY / "examples" / "quickstart" / "recipe.yaml"
    recipe = load_recipe(file, words)
    graph = [
        Kind("documents", "cpu", False),
        Kind("embed", "gpu", True, "documents"),
        Kind("train-baseline", "training", False, "documents", "embed"),
    ]
    slurm.submit(Run.of(recipe), file, words, graph, dry_run=True)
    script = tmp_path / "script.sh"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "sbatch"
    fake.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "with open('jobs', 'a') as file:\n    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + '\\n')\n"
        "print(f\"{open('jobs').read().count(chr(10))};cluster\")\n"
    )
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    jobs = [json.loads(line) for line in (tmp_path / "jobs").read_text().splitlines()]
    assert not (tmp_path / "x").exists()
    dependencies = [[word for word in job if word.startswith("--dependency")] for job, _ in jobs]
    assert dependencies == [[], ["--dependency=afterok:1"], ["--dependency=afterok:1:2"]]
    for job, variables in jobs:
        expected = {f"--{key}={text}" for key, text in zip(("account", "qos", "partition"), HOSTILE, strict=False)}
        expected |= {f"--constraint={HOSTILE[3]}", *HOSTILE[4:6]}
        assert expected <= set(job)
        assert job[-len(words) :] == words
        assert variables["SBP_SETUP"] == setup and variables["SBP_CONTAINER_IMAGE"] == HOSTILE[6]
    assert (tmp_path / "run $(touch x)" / "logs" / "slurm").is_dir()


def yaml_text(text: str) -> str:
    """A text as YAML, whatever is in it: JSON is YAML."""
    return json.dumps(text)
