"""Processes of a training that are shell lines: who failed first, what is kept of the output, who is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.recipe import load_recipe
from megatron_sbp.training import ranks as ranks_module
from megatron_sbp.training.cause import NOTABLE, RANK_ENDED, verdict
from megatron_sbp.training.launch import MODULE, processes
from megatron_sbp.training.megatron.rank_end import DONE
from megatron_sbp.training.ranks import LINE_BYTES, NOTICES, Rank, Ranks

ROOT = Path(__file__).resolve().parents[2]


def shell(*lines: str) -> list[Rank]:
    return [Rank(f"rank {n}", ["bash", "-c", line], dict(os.environ)) for n, line in enumerate(lines)]


def run(log: Path, *lines: str, patience: float = 1.0) -> Ranks:
    with Ranks(shell(*lines), log, DONE, patience=patience) as group:
        group.wait(lambda: None)
    return group


def words(group: Ranks, tmp_path: Path) -> Exception:
    return verdict(group.first_failed, "train", tmp_path, tmp_path / "log", len(group.ranks))


def test_the_first_that_fails_is_the_cause_and_takes_the_others_with_it(tmp_path):
    deaf = "trap '' TERM; sleep 100 & echo $!; wait; sleep 100"
    group = run(tmp_path / "log", deaf, "sleep 0.5; kill -KILL $$", "sleep 0.8; echo 'connection reset'; exit 1")
    assert [rank.status for rank in group.ranks] == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGTERM]
    found = words(group, tmp_path)
    assert isinstance(found, Fault) and found.file == tmp_path / "log"
    assert "rank 1 of 3 was killed (SIGKILL), probably out of memory" in str(found)
    [child] = map(int, group.ranks[0].tail)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_ends_that_are_no_failure(tmp_path):
    group = run(tmp_path / "log", "exit 3", "sleep 1.5; exit 0")
    assert group.first_failed is None and [rank.status for rank in group.ranks] == [3, 0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_the_cause_is_known_when_the_log_cannot_be_written(capsys):
    group = run(Path("/dev/full"), "echo one; echo 'sbp: fault: rank 0: ValueError: broken'; exit 1")
    found = verdict(group.first_failed, "train", Path("/tmp"), Path("/dev/full"), 1)
    assert "rank 0: ValueError: broken" in str(found) and "\n  one" in str(found)
    assert capsys.readouterr().err.count("the log cannot be written (No space left on device)") == 1


def test_wrong_input_and_a_full_disk_are_not_faults(tmp_path):
    group = run(tmp_path / "log", "echo 'sbp: error: the pairs are empty'; exit 2")
    found = words(group, tmp_path)
    assert isinstance(found, InputError) and str(found) == "the pairs are empty"
    line = "srun: error: node1: task 0: Exited with exit code 2"
    group = run(tmp_path / "log", f"echo '{line}'; echo 'pretrain.py: error: unrecognized arguments: --lrr'; exit 2")
    found = words(group, tmp_path)
    assert isinstance(found, InputError) and str(found) == "unrecognized arguments: --lrr"
    group = run(tmp_path / "log", "echo 'OSError: [Errno 28] No space left on device'; exit 1")
    found = words(group, tmp_path)
    assert isinstance(found, OSError) and found.filename == str(tmp_path)


def test_under_srun_the_rank_that_ended_first_is_named(tmp_path):
    group = run(
        tmp_path / "log",
        "echo 'sbp: fault: rank 3: RuntimeError: connection reset'; "
        "echo 'sbp: rank 3 on node2 ended with status 1 at 1700000009.5'; "
        "echo 'sbp: rank 1 on node1 ended with status 137 at 1700000001.25'; exit 137",
    )
    assert "rank 1 of 1 on node1 was killed (SIGKILL), probably out of memory" in str(words(group, tmp_path))


def test_the_rank_that_ended_first_is_named_however_much_others_say_after_it(tmp_path):
    """Megatron's first rank lists 800 arguments."""
    line = "echo 'sbp: rank 1 on node2 ended with status 137 at 1700000001.25'; seq 1000; exit 137"
    with Ranks(shell(line), tmp_path / "log", DONE, notable=NOTABLE) as group:
        group.wait(lambda: None)
    found = words(group, tmp_path)
    assert "rank 1 of 1 on node2 was killed (SIGKILL), probably out of memory" in str(found) and found.node == "node2"
    assert str(found).endswith("\n  999\n  1000")


def test_lines_about_failures_are_kept_from_both_ends_only(tmp_path):
    """A loop that reports the same fault for days must not fill the memory of the process that watches."""
    fault = "sbp: fault: rank 0: attempt"
    end = "sbp: rank 1 on node2 ended with status 137 at 1700000001.25"
    line = f"echo '{end}'; for i in $(seq 5000); do echo '{fault}' $i; done; exit 137"
    with Ranks(shell(line), tmp_path / "log", DONE, notable=NOTABLE) as group:
        group.wait(lambda: None)
    kept = list(group.ranks[0].notices)
    last = [f"{fault} {number}" for number in range(5001 - NOTICES, 5001)]
    assert len(kept) == 2 * NOTICES and kept[0] == end and kept[NOTICES:] == last
    found = words(group, tmp_path)
    assert "rank 1 of 1 on node2 was killed (SIGKILL), probably out of memory" in str(found) and found.node == "node2"


def test_a_line_that_never_ends_is_cut(tmp_path):
    """As progress bars write it."""
    count = 5 * LINE_BYTES
    group = run(tmp_path / "log", f"head -c {count} /dev/zero | tr '\\0' x; echo; echo end; exit 1")
    lines = list(group.ranks[0].tail)
    assert lines[-1] == "end" and max(map(len, lines)) <= LINE_BYTES + (1 << 16) and sum(map(len, lines)) == count + 3
    assert (tmp_path / "log").read_text().replace("\n", "") == "x" * count + "end"


def test_srun_that_does_not_end_after_a_failure_is_ended(tmp_path):
    line = "trap '' TERM; echo 'sbp: rank 1 on node1 ended with status 1 at 1700000001.25'; sleep 100"
    with Ranks(shell(line), tmp_path / "log", DONE, patience=0.5, announced=RANK_ENDED, ending=0.5) as group:
        group.wait(lambda: None)
    assert group.ranks[0].status == -signal.SIGKILL
    assert "rank 1 of 1 on node1 ended with status 1" in str(words(group, tmp_path))


def test_output_that_never_ends_is_not_waited_for(tmp_path):
    """A logger's upload may outlive its rank on purpose, with the pipe open."""
    began = time.monotonic()
    group = run(tmp_path / "log", "setsid sleep 60 & echo $!; exit 0")
    assert time.monotonic() - began < 40 and group.ranks[0].status == 0
    os.kill(int(group.ranks[0].tail[0]), signal.SIGKILL)


def test_a_rank_that_cannot_be_started_leaves_no_others(tmp_path):
    ranks = [*shell("sleep 100"), Rank("rank 1", [str(tmp_path / "missing")], dict(os.environ))]
    with pytest.raises(FileNotFoundError), Ranks(ranks, tmp_path / "log", DONE):
        pass
    assert ranks[0].process.returncode == -signal.SIGKILL


def test_launchers_that_cannot_work(monkeypatch, tmp_path):
    launch = load_recipe(ROOT / "tests" / "end_to_end" / "recipe.yaml", ["launch.nodes=2"]).launch
    monkeypatch.setenv("PATH", str(tmp_path))
    for srun, said in ((None, "one node, not 2"), (["srun"], "there is no Slurm")):
        with pytest.raises(InputError, match=said), processes(launch, [], srun):
            pass


def test_srun_starts_all_ranks(tmp_path):
    launch = load_recipe(ROOT / "tests" / "end_to_end" / "recipe.yaml", ["launch.nodes=2"]).launch
    own = ["--sbp-die-with-parent", "--sbp-device", "cpu"]
    with processes(launch, ["--lr", "1"], ["/bin/env", "--nodes", "2", sys.executable]) as ranks:
        assert [(rank.name, rank.command) for rank in ranks] == [
            ("srun", ["/bin/env", "--nodes", "2", sys.executable, "-P", "-m", MODULE, *own, "--lr", "1"])
        ]


DRIVER = """
import os, signal, sys
from pathlib import Path
from megatron_sbp.training.forwarded_signals import ForwardedSignals
from megatron_sbp.training.ranks import LINE_BYTES, NOTICES, Rank, Ranks
folder = Path(sys.argv[1])
line = f"trap 'echo asked >> {folder}/asked' TERM; touch {folder}/ready; for i in $(seq 600); do sleep 0.1; [ -e {folder}/end ] && exit 3; done"
try:
    with Ranks([Rank("rank 0", ["bash", "-c", line], dict(os.environ))], folder / "log", (0, 3)) as group:
        with ForwardedSignals(group, "train") as signals:
            group.wait(lambda: None)
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(3 if signals.seen else 0)
"""  # noqa: E501


@pytest.fixture
def driver(tmp_path):
    """Starts a launcher with one rank that notes being asked, and ends when there is a file `end`."""
    started = []

    def start(*before: str, stderr: int = subprocess.PIPE) -> subprocess.Popen:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", DRIVER, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        while not (tmp_path / "ready").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        time.sleep(0.3)  # the handlers come right after the rank
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def asked(tmp_path: Path) -> list[str]:
    deadline = time.monotonic() + 20
    while not (tmp_path / "asked").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return (tmp_path / "asked").read_text().split()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_every_signal_asks_once(driver, tmp_path, name):
    process = driver()
    os.killpg(process.pid, signal.Signals[name])
    process.send_signal(signal.Signals[name])  # as a parent that passes it on
    assert asked(tmp_path) == ["asked"]
    time.sleep(0.5)
    (tmp_path / "end").touch()
    assert process.wait(timeout=30) == 3
    assert asked(tmp_path) == ["asked"] and process.stderr.read().count(f"{name}: asking for a checkpoint") == 1


@pytest.mark.parametrize("end", ["pipe", "terminal"])
def test_a_signal_requests_a_checkpoint_without_any_reader(driver, tmp_path, end):
    """Ctrl-C ends the `tee` of `2>&1 | tee log` too, and SIGHUP comes when the terminal is closed: the line about it
    could not be written, and no checkpoint was saved."""
    reader, writer = os.pipe() if end == "pipe" else os.openpty()
    process = driver(stderr=writer)
    os.close(writer)
    os.close(reader)
    os.killpg(process.pid, signal.SIGINT if end == "pipe" else signal.SIGHUP)
    assert asked(tmp_path) == ["asked"]
    (tmp_path / "end").touch()
    assert process.wait(timeout=30) == 3


def test_a_second_interrupt_ends_at_once(driver, tmp_path):
    process = driver()
    os.killpg(process.pid, signal.SIGINT)
    assert asked(tmp_path) == ["asked"]
    time.sleep(1.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_nohup_stays_nohup(driver, tmp_path):
    process = driver("env", "--ignore-signal=HUP")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None and not (tmp_path / "asked").exists()
    (tmp_path / "end").touch()
    assert process.wait(timeout=30) == 0


def test_a_group_that_shares_the_run_folder_may_go_on(tmp_path):
    """Who resumed the training of another user left no log, whatever the umask was."""
    former = os.umask(0o002)
    try:
        ranks_module._Log(tmp_path / "log").write(b"line\n")
    finally:
        os.umask(former)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o664
