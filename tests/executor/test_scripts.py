"""The batch scripts without a Slurm: installed with the package, quoting, the environment of a rank."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.slurm_clients import Kind, commands

from megatron_sbp.executor import slurm
from megatron_sbp.executor.job_rows import read_rows
from megatron_sbp.executor.slurm_launch import SCRIPTS, srun_words
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

REPOSITORY = Path(__file__).parents[2]
SAY_WORDS = "import os, sys; print(sys.argv[1:], os.environ.get('PYTHONPATH', ''))"


def run_script(name: str, *words: str, **variables: str) -> str:
    """Standard output of a batch script, run as a job would run it."""
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "2", **variables}
    environment = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MAX": "3", **environment}
    command = ["bash", str(SCRIPTS / name), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("name", "added"),
    [("single.sbatch", []), ("cpu_array.sbatch", ["--shard", "2/3"]), ("gpu_array.sbatch", ["--shard", "2/3"])],
)
def test_a_python_whose_path_has_a_space(tmp_path, name, added):
    python = tmp_path / "my python"
    python.symlink_to(sys.executable)
    command = shlex.join([str(python), "-c", SAY_WORDS])
    said = run_script(name, "pairs", "my recipe.yaml", SBP_HOME=str(REPOSITORY), SBP_COMMAND=command)
    assert said == f"{['pairs', 'my recipe.yaml', *added]} {REPOSITORY}\n"


@pytest.mark.parametrize("name", ["cpu_array.sbatch", "gpu_array.sbatch"])
def test_some_tasks_of_an_array_again(name):
    """--array=2,9 of sixteen: the tasks keep their units."""
    command = shlex.join([sys.executable, "-c", SAY_WORDS])
    said = run_script(name, "embed", "r.yaml", SBP_HOME=str(REPOSITORY), SBP_COMMAND=command, SBP_SHARDS="16")
    assert said == f"{['embed', 'r.yaml', '--shard', '2/16']} {REPOSITORY}\n"
    by_hand = run_script(
        name, "embed", "r.yaml", SBP_HOME=str(REPOSITORY), SBP_COMMAND=command, SLURM_ARRAY_TASK_MAX="9"
    )
    assert by_hand == f"{['embed', 'r.yaml', '--shard', '2/9']} {REPOSITORY}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "1"}, ["1", "1"]),
        ({"SLURM_CPUS_PER_TASK": "4096"}, [str(len(os.sched_getaffinity(0)))] * 2),  # an overcommitted node
        ({"SLURM_CPUS_PER_TASK": "4096", "OMP_NUM_THREADS": "7"}, ["7", str(len(os.sched_getaffinity(0)))]),
    ],
)
def test_a_task_has_no_more_threads_than_cores(given, expected):
    say = "import os; print([os.environ[name] for name in ('OMP_NUM_THREADS', 'RAYON_NUM_THREADS')])"
    command = shlex.join([sys.executable, "-c", say])
    assert run_script("single.sbatch", "x", SBP_HOME=str(REPOSITORY), SBP_COMMAND=command, **given) == f"{expected}\n"


def test_by_hand_in_a_clone_its_own_environment_runs(tmp_path):
    """Without SBP_HOME and SBP_COMMAND: the folder where sbatch was called, and the .venv in it."""
    clone = tmp_path / "my clone"
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "setup.py").touch()
    shutil.copytree(SCRIPTS, clone / "megatron_sbp" / "executor" / "scripts")
    python = clone / ".venv" / "bin" / "python"
    python.write_text('#!/bin/bash\necho "$@" "$PYTHONPATH"\n')
    python.chmod(0o755)
    said = run_script("single.sbatch", "pairs", "recipe.yaml", SLURM_SUBMIT_DIR=str(clone))
    assert said == f"-P -m megatron_sbp pairs recipe.yaml {clone}\n"


def test_setup_lines_may_name_variables_that_are_not_set():
    """As conda's activation scripts and many sites' profiles do."""
    command = shlex.join([sys.executable, "-c", SAY_WORDS])
    setup = "export PYTHONPATH=$NOT_SET_ANYWHERE/mine"
    said = run_script("single.sbatch", "pairs", SBP_HOME=str(REPOSITORY), SBP_COMMAND=command, SBP_SETUP=setup)
    assert said == f"['pairs'] {REPOSITORY}:/mine\n"


@pytest.mark.slow
def test_an_installed_package_can_submit(tmp_path):
    """`pip install` without the repository: a dry run prints jobs whose scripts are there and run."""
    source, installed = tmp_path / "source", tmp_path / "site-packages"
    shutil.copytree(REPOSITORY / "megatron_sbp", source / "megatron_sbp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "setup.py", source)
    build = "import sys, setuptools.build_meta as build; build.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, installed, "zip")
    shutil.rmtree(source)
    recipe = REPOSITORY / "examples" / "quickstart" / "recipe.yaml"
    words = [sys.executable, "-m", "megatron_sbp", "submit", str(recipe), "--dry-run", f"run_folder={tmp_path}/run"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scripts = {word for word in shlex.split(done.stdout.replace(")", "")) if word.endswith(".sbatch")}
    assert len(scripts) >= 3 and all(Path(script).is_relative_to(installed) for script in scripts)
    assert all(Path(script).exists() for script in scripts)
    command = shlex.join([sys.executable, "-c", SAY_WORDS])
    output = subprocess.run(
        ["bash", str(installed / "megatron_sbp" / "executor" / "scripts" / "single.sbatch"), "pairs"],
        env={"PATH": os.environ["PATH"], "SBP_HOME": str(installed), "SBP_COMMAND": command},
        capture_output=True,
        text=True,
    )
    # Not in front of the standard library and what a container has: Python finds an installed package itself.
    assert output.stdout == "['pairs'] \n", output.stderr


@pytest.mark.parametrize(("per_node", "local"), [("8(x16)", "8"), ("2,1", "2"), ("4", "4")])
def test_rank_environment(per_node, local):
    environment = {
        "PATH": os.environ["PATH"],
        "SLURM_PROCID": "5",
        "SLURM_NTASKS": "128",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "2",
        "SLURM_STEP_TASKS_PER_NODE": per_node,
        "SLURM_JOB_ID": "123456",
        "MASTER_ADDR": "10.0.0.1",
    }
    script = 'echo "$RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $NODE_RANK $MASTER_ADDR $MASTER_PORT $*"'
    words = ["bash", str(SCRIPTS / "rank.sh"), "bash", "-c", script, "x", "a b", "c"]
    output = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert output == f"5 128 1 {local} 2 10.0.0.1 {20000 + 123456 % 12000} a b c\n"


@pytest.mark.parametrize(
    ("runtime", "program", "words"),
    [
        ("pyxis", "srun", ["--ntasks=1", "--container-image=my image", "--container-mounts=/a b:/c"]),
        ("edf", "srun", ["--ntasks=1", "--environment=my image"]),
        ("apptainer", "apptainer", ["exec", "--nv", "--bind", "/a b:/c", "my image"]),
    ],
)
def test_a_stage_runs_in_the_container_and_a_training_is_launched_outside(tmp_path, runtime, program, words):
    """The programs that start containers are stand-ins that say their words."""
    for name in ("srun", "apptainer", "scontrol"):
        file = tmp_path / name
        file.write_text(f'#!{sys.executable}\nimport sys\nprint("{name}", sys.argv[1:])\n')
        file.chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SBP_HOME": str(REPOSITORY),
        "SBP_COMMAND": "python -m megatron_sbp",
        "SBP_OUTSIDE_COMMAND": "echo outside",
        "SBP_CONTAINER_RUNTIME": runtime,
        "SBP_CONTAINER_IMAGE": "my image",
        "SBP_CONTAINER_MOUNTS": "/a b:/c",
        "SLURM_JOB_GPUS": "0",
        "SLURM_JOB_NODELIST": "n1",
    }
    command = ["python", "-m", "megatron_sbp", "pairs", "r.yaml"]
    assert run_script("single.sbatch", "pairs", "r.yaml", **variables) == f"{program} {[*words, *command]}\n"
    assert run_script("training.sbatch", "tune", "r.yaml", **variables) == "outside tune r.yaml --launcher srun\n"


def test_an_unknown_runtime_is_refused(tmp_path):
    words = ["bash", str(SCRIPTS / "single.sbatch"), "pairs"]
    variables = {"SBP_HOME": str(REPOSITORY), "SBP_CONTAINER_IMAGE": "i", "SBP_CONTAINER_RUNTIME": "podman"}
    done = subprocess.run(words, env={**os.environ, "SLURM_JOB_ID": "1", **variables}, capture_output=True, text=True)
    assert done.returncode == 2 and "'podman' is not pyxis, apptainer, or edf" in done.stderr


def as_a_job(tmp_path: Path, name: str, command: str, tools: dict[str, str], **variables: str):
    """A batch script whose PATH has only what a node surely has, and `tools` (bash); its result and what they were
    called with."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for tool in ("bash", "grep", "mkdir", "timeout", "sed", "head", "cat", "sleep", "tail", "date"):
        if not (folder / tool).exists():
            (folder / tool).symlink_to(shutil.which(tool))
    for tool, text in tools.items():
        (folder / tool).write_text(f'#!/bin/bash\necho "{tool} $@" >>{tmp_path / "calls"}\n{text}\n')
        (folder / tool).chmod(0o755)
    environment = {"PATH": str(folder), "SLURM_JOB_ID": "7", "SBP_HOME": str(REPOSITORY), "SBP_COMMAND": command}
    environment |= {"SLURMD_NODENAME": "n1", "SBP_FAULTS": str(tmp_path / "faults"), **variables}
    done = subprocess.run(
        ["bash", str(SCRIPTS / name), "pairs", "r.yaml"], env=environment, capture_output=True, text=True, timeout=60
    )
    calls = tmp_path / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_a_killed_process_is_retried_a_counted_number_of_times(tmp_path):
    """Whatever kills it: what it would have recorded is written by the script."""
    command, tools = "bash -c 'kill -KILL $$'", {"scontrol": ""}
    ends = [as_a_job(tmp_path, "single.sbatch", command, tools, SBP_MAX_RETRIES="2") for _ in range(3)]
    assert [done.returncode for done, _ in ends] == [6, 6, 137]
    assert ends[-1][1] == ["scontrol requeue 7"] * 2
    said = ends[0][0].stderr
    assert "killed (signal 9), probably out of memory" in said and "will be retried (retry 1 of at most 2)" in said
    assert "failed 3 times; not retried" in ends[2][0].stderr
    rows = read_rows(tmp_path / "faults" / "7.jsonl")
    assert [row["node"] for row in rows] == ["n1"] * 3
    assert rows[0]["cause"] == "killed (signal 9), probably out of memory"
    done, _ = as_a_job(tmp_path, "single.sbatch", command, tools)  # by hand: no retries
    assert done.returncode == 137 and len(read_rows(tmp_path / "faults" / "7.jsonl")) == 3
    done, _ = as_a_job(tmp_path, "single.sbatch", "bash -c 'kill -TERM $$'", tools, SBP_MAX_RETRIES="9")
    assert done.returncode == 143  # ended by a signal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left", "at_the_start", "killed"),
    [(17, None, True), (300, 17, False), (None, 17, True), (None, -5, False), (None, None, False)],
)
def test_a_process_that_does_not_end_near_the_time_limit_is_killed_in_time(tmp_path, left, at_the_start, killed):
    """The time that is left as squeue tells it, or without squeue as Slurm told it at the start of the job; where that
    has passed the limit was raised since."""
    command, now = "bash -c 'trap \"\" TERM; kill -USR1 $PPID; sleep 4'", int(time.time())
    limit = {} if at_the_start is None else {"SLURM_JOB_END_TIME": str(now + at_the_start)}
    tools = {"scontrol": ""} if left is None else {"scontrol": "", "squeue": f"date -d @{now + left} +%FT%T"}
    begun = time.monotonic()
    done, calls = as_a_job(tmp_path, "single.sbatch", command, tools, SBP_MAX_RETRIES="2", **limit)
    assert (time.monotonic() - begun < 3.5) == killed
    assert done.returncode == (137 if killed else 0)
    asked = [] if left is None else ["squeue --noheader --jobs=7 --format=%e"]
    assert calls == [*asked, *(["scontrol requeue 7"] if killed else [])]
    assert ("killed before its time limit" in done.stderr) == killed
    assert not (tmp_path / "faults" / "7.jsonl").exists()  # no fault that counts


def test_without_scontrol_the_submit_host_requeues(tmp_path):
    command = "bash -c 'exit 3'"
    done, calls = as_a_job(tmp_path, "single.sbatch", command, {"ssh": ""}, SLURM_SUBMIT_HOST="login1")
    assert calls == ["ssh -o BatchMode=yes login1 scontrol requeue 7"] and done.returncode == 3
    done, _ = as_a_job(tmp_path, "single.sbatch", command, {"ssh": "exit 255"}, SLURM_SUBMIT_HOST="login1")
    assert "no scontrol here, and none by ssh to login1; run sbp submit again" in done.stderr


def test_a_task_of_an_array_requeues_itself_alone(tmp_path):
    """The last task of an array has the number of the array; with it, scontrol would requeue all tasks."""
    task = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MAX": "4"}
    done, calls = as_a_job(tmp_path, "cpu_array.sbatch", "bash -c 'exit 3'", {"scontrol": ""}, **task)
    assert done.returncode == 3 and calls == ["scontrol requeue 7_4"]


def test_a_retried_job_avoids_nodes_that_failed_too_often(tmp_path):
    """Only a job that waits can be given other nodes: after it went back into the queue."""
    (tmp_path / "python").write_text('#!/bin/bash\n[ "$2" != -m ] && exit 6\necho "$3 $4 $5" >&2\necho n1,n2\n')
    (tmp_path / "python").chmod(0o755)
    words = f"{tmp_path / 'python'} stage"
    done, calls = as_a_job(tmp_path, "single.sbatch", words, {"scontrol": ""}, SBP_EXCLUDE_AFTER="2")
    assert done.returncode == 6 and "(requeue 1), without n1,n2" in done.stderr
    assert calls == ["scontrol requeue 7", "scontrol update JobId=7 ExcNodeList=n1,n2"]
    _, calls = as_a_job(tmp_path, "single.sbatch", words, {"scontrol": ""}, SBP_EXCLUDE_AFTER="0")
    assert calls[2:] == ["scontrol requeue 7"]


def test_the_first_node_of_a_training(tmp_path):
    """Given by the user, asked of Slurm, or, without scontrol, the name of the node that the script runs on."""
    command = """bash -c 'echo "at $MASTER_ADDR:$MASTER_PORT"'"""
    own = {"SLURM_JOB_NODELIST": "n[1-2]", "SBP_OUTSIDE_COMMAND": command}
    done, _ = as_a_job(tmp_path, "training.sbatch", command, {}, **own)
    assert done.stdout == "at n1:20007\n"
    done, _ = as_a_job(tmp_path, "training.sbatch", command, {}, SBP_SETUP="export MASTER_ADDR=10.0.0.9", **own)
    assert done.stdout == "at 10.0.0.9:20007\n"
    done, calls = as_a_job(tmp_path, "training.sbatch", command, {"scontrol": "echo ' NodeAddr=10.0.0.1 x'"}, **own)
    assert done.stdout == "at 10.0.0.1:20007\n" and calls == ["scontrol show node n1"]


def test_one_task_per_node(no_slurm, tmp_path, capsys):
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    run = Run.of(load_recipe(file, [f"run_folder={tmp_path / 'run'}", "slurm.launcher=torchrun"]))
    slurm.submit(run, file, [], [Kind("train-baseline", "training", False), Kind("judge", "cpu", False)], dry_run=True)
    found = {name: set(command) for name, command in commands(capsys.readouterr().out).items()}
    # Twelve cores for each of the eight ranks, which are one task now.
    assert {"--nodes=16", "--ntasks-per-node=1", "--cpus-per-task=96"} <= found["train_baseline"]
    assert "--cpus-per-task=2" in found["judge"]
    words = srun_words(run.recipe)
    assert words[1:5] == ["--nodes", "16", "--ntasks-per-node", "1"]
    assert words[-3:] == [str(SCRIPTS / "node.sh"), "8", sys.executable]


def test_ft_launcher_in_place_of_torchrun(tmp_path):
    file = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"
    options = ["--ft-rank-section-timeouts=setup:9,step:3", "--ft-log-level=ERROR"]
    words = [f"run_folder={tmp_path / 'run'}", "slurm.launcher=ft_launcher", f"slurm.ft_options={json.dumps(options)}"]
    node = srun_words(load_recipe(file, words))
    node = node[node.index("bash") :]
    assert node == ["bash", str(SCRIPTS / "node.sh"), "--ft", *options, "--", "8", sys.executable]
    environment = {"PATH": os.environ["PATH"], "SLURM_NODEID": "1", "SLURM_NNODES": "2", "MASTER_ADDR": "a"}
    environment |= {"MASTER_PORT": "5", "SLURM_JOB_ID": "7", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*node, "-m", "rank"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "nvidia-resiliency-ext cannot be imported on" in done.stderr
    # In place of the package, whose launcher has the options of torchrun and its own.
    package = tmp_path / "nvidia_resiliency_ext" / "fault_tolerance"
    package.mkdir(parents=True)
    said = "import json, sys\nif __name__ == '__main__':\n    print(json.dumps(sys.argv[1:]))\n"
    (package / "launcher.py").write_text(said)
    done = subprocess.run([*node, "-m", "rank"], env=environment, capture_output=True, text=True)
    given = json.loads(done.stdout)
    assert given[:2] == options and {"--nnodes=2", "--node-rank=1", "--nproc-per-node=8"} <= set(given)
    assert given[-5:] == [str(SCRIPTS / "rank.sh"), sys.executable, "-m", "rank", "--enable-ft-package"]


def test_a_rank_without_scontrol_meets_the_others_where_srun_was_called(tmp_path):
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "sleep"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    environment = {"PATH": str(tmp_path / "bin"), "SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
    environment |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_TASKS_PER_NODE": "1(x2)"}
    command = ["bash", str(SCRIPTS / "rank.sh"), "bash", "-c", 'echo "$RANK of $WORLD_SIZE at $MASTER_ADDR"']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "no scontrol here: set MASTER_ADDR" in done.stderr
    environment["SLURM_LAUNCH_NODE_IPADDR"] = "10.0.0.1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "1 of 2 at 10.0.0.1\n"


def test_the_submitter_imports_nothing_from_the_current_folder(tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')\n")
    recipe = REPOSITORY / "tests" / "end_to_end" / "recipe.yaml"
    words = ["bash", str(REPOSITORY / "slurm" / "submit.sh"), str(recipe), "--dry-run"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "documents=$(sbatch" in done.stdout, done.stderr
