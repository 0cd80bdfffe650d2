"""Submission without a Slurm: what is submitted, in which order, with which words; and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import stage_toys as toys
from support.slurm_clients import Kind, asked, commands

from megatron_sbp.base.errors import InputError
from megatron_sbp.cli import main
from megatron_sbp.executor import slurm, slurm_queue
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.state import StageState
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

REPOSITORY = Path(__file__).parents[2]


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


def test_a_submission_asks_for_each_thing_once(clients, tmp_path, monkeypatch):
    """The files of the corpus were found up to five times, the plan was always made, and scontrol asked twice."""
    (tmp_path / "words.txt").write_text("a\nbb")
    run, graph = toys.make_run(tmp_path), toys.graph()
    clients("sbatch", "7\n")
    clients("scontrol", "ClusterName = here\nMaxArraySize = 11\n")
    looks, plans = [], []
    monkeypatch.setattr(toys.Words, "external", lambda self, run: looks.append(1) or [tmp_path / "words.txt"])
    monkeypatch.setattr(slurm, "planned_units", lambda *_: plans.append(1) or {"lengths": 5})
    StageRunner(run, graph[0], graph).execute((1, 2))
    looks.clear()
    slurm.submit(run, run.recipe.source, [], graph)
    # The check that the files are there, and one look; lengths waits for words, so the plan says how large it is.
    assert len(looks) == 2 and len(plans) == sum(stage.sharded for stage in graph[1:])
    assert [words[0] for words in asked(tmp_path)].count("scontrol") == 1
    clients("squeue")
    StageRunner(run, graph[0], graph).execute()
    StageRunner(run, graph[1], graph).execute()
    plans.clear()
    slurm.submit(run, run.recipe.source, [], graph)
    assert not plans


def test_nothing_is_submitted_while_the_state_of_former_jobs_is_unknown(clients, tmp_path):
    """All of it was submitted a second time, and the running jobs were forgotten, so they could not be canceled."""
    (tmp_path / "words.txt").write_text("a\nbb")
    run, graph = toys.make_run(tmp_path), toys.graph()
    clients("sbatch", "7\n")
    clients("squeue", error="Unable to contact slurm controller", status=1)
    slurm.submit(run, run.recipe.source, [], graph)  # the first time there is nothing to ask for
    assert [command[0] for command in asked(tmp_path)] == ["sbatch"] * 3
    with pytest.raises(
        InputError, match=r"Unable to contact .*whether jobs of this run are queued or running is unknown"
    ):
        slurm.submit(run, run.recipe.source, [], graph)
    assert "sbatch" not in [command[0] for command in asked(tmp_path)[3:]]
    clients("squeue", "7 RUNNING\n")
    assert slurm.submit(run, run.recipe.source, [], graph) == []
    assert [job.id for job in slurm_queue.live_jobs(run)] == ["7"] * 3


def test_an_array_of_which_a_task_has_failed_is_not_passed_over_in_silence(clients, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("a\nbb")
    run, graph = toys.make_run(tmp_path), toys.graph()
    clients("sbatch", "7\n")
    slurm.submit(run, run.recipe.source, [], graph)
    for answer, told in (("7 RUNNING\n7 COMPLETED\n", 0), ("7 RUNNING\n7 FAILED\n", 2)):
        clients("squeue", answer)
        capsys.readouterr()
        assert slurm.submit(run, run.recipe.source, [], graph) == []
        assert capsys.readouterr().err.count("a task has failed") == told  # of words and lengths, not of total


@pytest.fixture
def costly(clients, tmp_path, monkeypatch):
    """All is finished, and cost more than may be replaced without asking; calls are noted in RUN/calls."""
    (tmp_path / "words.txt").write_text("a\nbb\nccc")
    run, graph = toys.make_run(tmp_path), toys.graph()
    for stage in graph:
        StageRunner(run, stage, graph).execute()
    monkeypatch.setattr(StageState, "keep_seconds", -1.0)
    clients("sbatch", "7\n")
    return run


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_a_job_would_refuse_is_refused_at_once(costly, tmp_path, capsys, dry_run):
    changed, begun = toys.make_run(tmp_path, "note=upper"), []
    words = (changed.recipe.source, ["note=upper"], toys.graph())
    with pytest.raises(InputError, match=r"words was made under other settings .*add --discard words to move it"):
        slurm.submit(changed, *words, dry_run=dry_run, begins=lambda: begun.append("refused"))
    (costly.manifests / "words.json").write_text("{")
    with pytest.raises(InputError, match=r"this manifest is damaged.*--discard words"):
        slurm.submit(costly, costly.recipe.source, [], toys.graph(), dry_run=dry_run)
    assert not (tmp_path / "asked").exists() and capsys.readouterr().out == ""
    allowed = {"discard": ["words"], "begins": lambda: begun.append("now")}
    slurm.submit(costly, costly.recipe.source, [], toys.graph(), dry_run=dry_run, **allowed)
    assert begun == ([] if dry_run else ["now"])


def test_permissions_reach_only_the_jobs_of_the_stages_they_name(costly, clients, tmp_path, capsys):
    run, graph = toys.make_run(tmp_path, "note=upper"), toys.graph()
    slurm.submit(run, run.recipe.source, [], graph, dry_run=True, discard=["words"], repair=["words", "total"])
    found = commands(capsys.readouterr().out)
    assert found["words"][-4:] == ["--discard", "words", "--repair", "words"]
    assert found["lengths"][-1] == str(run.recipe.source) and found["total"][-2:] == ["--repair", "total"]
    slurm.submit(run, run.recipe.source, [], graph, discard=["all"])
    assert [command[-2:] for command in asked(tmp_path) if command[0] == "sbatch"] == [
        ["--discard", name] for name in ("words", "lengths", "total")
    ]
    clients("squeue", "7 PENDING\n")
    capsys.readouterr()
    assert slurm.submit(run, run.recipe.source, [], graph, discard=["words"]) == []
    said = capsys.readouterr().err
    assert "words: is in the queue already, as job 7; --discard words is not passed on to it\n" in said
    assert "lengths: is in the queue already, as job 7\n" in said
    assert slurm.submit(run, run.recipe.source, [], graph, discard=["all"], asked=False) == []
    said = capsys.readouterr().err
    assert "words: is in the queue already, as job 7\n" in said and "passed on" not in said


@pytest.mark.parametrize("cause", ["settings", "manifest", "unfinished"])
def test_a_job_that_may_discard_and_starts_again_keeps_what_it_has_made(costly, tmp_path, cause):
    if cause == "unfinished":
        (costly.manifests / "words.json").unlink()
    if cause == "manifest":
        (costly.manifests / "words.json").write_text("{")
    run, graph = toys.make_run(tmp_path, *(["note=upper"] if cause != "manifest" else [])), toys.graph()

    def start(shard: tuple[int, int]) -> list[str]:
        (run.root / "calls").unlink(missing_ok=True)
        StageRunner(run, graph[0], graph, discard=True).execute(shard)
        return (run.root / "calls").read_text().splitlines() if (run.root / "calls").exists() else []

    assert start((1, 3)) == ["words 00000"]
    aside = sorted(run.aside.rglob("*"))
    assert start((1, 3)) == []  # the job was requeued
    assert start((1, 1)) == ["words 00001", "words 00002", "words finish"]
    assert start((1, 1)) == []
    assert cause == "settings" or sorted(run.aside.rglob("*")) == aside  # they were replaced when they were complete
    assert [file.name for file in sorted(run.aside.rglob("joint.txt"))] == ["joint.txt"]


def test_submit_takes_the_words_of_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SBP_COMMAND", "my sbp")
    file = REPOSITORY / "examples" / "quickstart" / "recipe.yaml"
    words = ["submit", str(file), f"run_folder={tmp_path / 'run'}", "--dry-run"]
    assert main([*words, "--discard", "tune.random", "--repair", "train-sbp"]) == 0
    printed = capsys.readouterr().out
    found = commands(printed)
    assert "export SBP_COMMAND='my sbp'\n" in printed
    assert [name for name, command in found.items() if "--discard" in command] == ["tune_random"]
    assert [name for name, command in found.items() if "--repair" in command] == ["train_sbp"]
    with pytest.raises(SystemExit) as left:
        main([*words, "--discard", "tune.randem"])
    assert left.value.code == 2 and "invalid choice: 'tune.randem'" in capsys.readouterr().err


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


def test_a_job_that_needs_a_failing_node_is_not_refused(clients, tmp_path, capsys):
    refused = "Batch job submission failed: Requested node configuration is not available"
    body = f"if '--exclude=n1' in sys.argv:\n    sys.stderr.write({refused!r})\n    sys.exit(1)"
    clients("sbatch", "7\n", body=body)
    clients("scontrol", "ClusterName = here\n")
    (tmp_path / "words.txt").write_text("a\nbb")
    run = toys.make_run(tmp_path)
    faults = run.root / "logs" / "slurm" / "faults"
    faults.mkdir(parents=True)
    (faults / "3.jsonl").write_text('{"node": "n1"}\n{"node": "n1", "cause": "other"}\n')
    [job, *_] = slurm.submit(run, run.recipe.source, [], toys.graph())
    assert job.id == "7" and f"{job.stage}: may run on n1 all the same: there are too few other nodes" in (
        capsys.readouterr().err
    )
    clients("sbatch", error=refused, status=1)
    (run.root / "logs" / "slurm" / "jobs.json").unlink()
    with pytest.raises(InputError, match="configuration is not available"):
        slurm.submit(run, run.recipe.source, [], toys.graph())


HOSTILE = [
    "a ${IFS}$(touch x)",
    "`touch x`",
    "$HOME;touch x",
    "a' 'b\"; touch x #",
    "${documents%%;*} *",
    "--x\\",
    "!!",
]


def submitted_by(script: str, folder: Path) -> list[tuple[list[str], dict[str, str]]]:
    """Words and environment of every job, from job 1: runs a printed script by bash, with an sbatch that notes them."""
    (folder / "script.sh").write_text(script)
    (folder / "bin").mkdir()
    fake = folder / "bin" / "sbatch"
    fake.write_text(
        f"#!{sys.executable} -S\nimport json, os, sys\n"
        "with open('jobs', 'a') as file:\n    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + '\\n')\n"
        "print(f\"{open('jobs').read().count(chr(10))};cluster\")\n"
    )
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "script.sh"], env=environment, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in (folder / "jobs").read_text().splitlines()]


def test_a_printed_script_submits_the_stages_of_replicates_and_further_synthesizers(tmp_path, monkeypatch, capsys):
    """Once each, after the jobs of all that it reads from; an arm `sbp__2` is not the second replicate of `sbp`."""
    monkeypatch.chdir(tmp_path)
    file = REPOSITORY / "examples" / "quickstart" / "recipe.yaml"
    words = [
        f"run_folder={tmp_path / 'run'}",
        "replicates=2",
        "arms.sbp__2.synthetic=random",
        "arms.sbp_2.synthetic=null",
    ]
    run = Run.of(load_recipe(file, words))
    graph = all_stages(run.recipe)
    names = [stage.name for stage in graph]
    assert {"tune.random.2", "train-sbp.2", "train-sbp_2", "train-sbp__2"} <= set(names)
    slurm.submit(run, file, words, graph, dry_run=True)
    jobs = [job for job, _ in submitted_by(capsys.readouterr().out, tmp_path)]
    assert [job[-len(words) - 2] for job in jobs] == names
    for stage, job in zip(graph, jobs, strict=True):
        waits = {word.partition(":")[2] for word in job if word.startswith("--dependency=afterok:")}
        numbers = [str(names.index(name) + 1) for name in stage.reads(run)]
        assert waits == ({":".join(numbers)} if numbers else set()), stage.name


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
    jobs = submitted_by(capsys.readouterr().out, tmp_path)
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


INTERACTIVE = {"SLURM_JOB_ID": "5", "SLURM_MEM_PER_NODE": "8192", "SLURM_GPUS_PER_NODE": "1", "SLURM_CONF": "/etc/s"}


def test_jobs_submitted_inside_of_a_job_do_not_inherit_its_variables(clients, tmp_path, monkeypatch):
    """Else srun of a training refuses to start: MEM_PER_CPU and MEM_PER_NODE are exclusive, and a job lacks GPUs."""
    (tmp_path / "words.txt").write_text("a\nbb")
    clients("sbatch", "7\n", body=f"json.dump(dict(os.environ), open({str(tmp_path / 'environment')!r}, 'w'))")
    for name, value in INTERACTIVE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SBP_COMMAND", "of the surrounding job")
    slurm.submit(toys.make_run(tmp_path), tmp_path / "recipe.yaml", [], toys.graph(), command="ours")
    passed = json.loads((tmp_path / "environment").read_text())
    assert {name: passed[name] for name in passed if name.startswith("SLURM_")} == {"SLURM_CONF": "/etc/s"}
    assert passed["SBP_COMMAND"] == "ours"


@pytest.mark.parametrize("inside", [True, False])
def test_a_printed_script_passes_no_variables_of_a_job_on(tmp_path, monkeypatch, capsys, inside):
    (tmp_path / "words.txt").write_text("a\nbb")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    slurm.submit(toys.make_run(tmp_path), tmp_path / "recipe.yaml", [], toys.graph(), dry_run=True)
    given = INTERACTIVE if inside else {"SLURM_CONF": "/etc/s", "SLURM_UMASK": "22"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    expected = {"SLURM_CONF": "/etc/s"} if inside else given
    for _, variables in submitted_by(capsys.readouterr().out, tmp_path):
        assert {name: variables[name] for name in variables if name.startswith("SLURM_")} == expected


def yaml_text(text: str) -> str:
    """A text as YAML, whatever is in it: JSON is YAML."""
    return json.dumps(text)
