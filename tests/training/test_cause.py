"""Why a training failed: the first rank, whose fault it was, and the words that tell."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.training import cause
from megatron_sbp.training.cause import first_end, verdict, was_stopped
from megatron_sbp.training.megatron.rank_end import CAUSE
from megatron_sbp.training.ranks import Rank


def failed(status: int, *lines: str, name: str = "rank 2") -> Rank:
    rank = Rank(name, ["true"], {})
    rank.status = status
    rank.tail.extend(lines)
    return rank


def why(rank: Rank, folder: Path = Path("/tmp")) -> Exception:
    return verdict(rank, "train-sbp", folder, Path("log"), 4)


def test_wrong_input_of_a_rank_or_of_megatrons_flags_is_the_users():
    for line in ("sbp: error: a.bin: is missing", "pretrain.py: error: a.bin: is missing"):
        found = why(failed(2, "starting", line, "and more"))
        assert isinstance(found, InputError) and str(found) == "a.bin: is missing"


def test_srun_does_not_speak_for_a_rank():
    found = why(failed(2, "srun: error: node3: task 1: Exited with exit code 2", name="srun"))
    assert isinstance(found, Fault) and "node3" in str(found)


def test_the_failing_ranks_own_cause_comes_before_those_of_others():
    found = why(failed(1, f"{CAUSE}rank 0: connection reset", f"{CAUSE}rank 2: ValueError: broken. ", "last words"))
    assert str(found).startswith("log: train-sbp: rank 2: ValueError: broken.\n")
    assert "connection reset" not in str(found) and "\n  last words" in str(found)


def test_a_kill_is_told_as_such_whatever_others_say():
    found = why(failed(-signal.SIGKILL, f"{CAUSE}rank 0: connection reset"))
    assert "rank 2 of 4 was killed (SIGKILL)" in str(found)


@pytest.mark.parametrize(
    "said",
    [
        "RuntimeError: [unbound_buffer.cc:81] Timed out waiting 8000ms for recv operation to complete",
        "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, OpType=ALLREDUCE, Timeout(ms)=600000)",
    ],
)
def test_a_hanging_rank_is_another_one_on_an_unknown_node(said):
    end = "sbp: rank 0 on node1 ended with status 1 at 200.5"
    found = why(failed(1, f"{CAUSE}rank 0: {said}", end, name="srun"))
    assert isinstance(found, Fault) and "another rank hangs, or is slower" in str(found) and found.node is None
    killed = why(failed(137, "sbp: rank 3 on node2 ended with status 137 at 199.5", said, end, name="srun"))
    assert isinstance(killed, Fault) and killed.node == "node2" and "hangs" not in str(killed)


def test_full_shared_memory_is_not_a_full_run_folder(tmp_path):
    """Two tensors of a loader worker need more of /dev/shm than a container has by default."""
    line = "RuntimeError: unable to write to file </torch_8_1717_0>: No space left on device (28)"
    found = why(failed(1, line), tmp_path)
    assert isinstance(found, Fault) and "make /dev/shm larger" in str(found)


def test_nor_is_a_semaphore_without_room(tmp_path):
    """Loader workers need some before the first tensor; the user was told to free space in the run folder."""
    lines = ["    sl = self._semlock = _multiprocessing.SemLock(", "OSError: [Errno 28] No space left on device"]
    found = why(failed(1, *lines), tmp_path)
    assert isinstance(found, Fault) and "make /dev/shm larger" in str(found)


def test_under_srun_the_first_to_end_is_the_cause():
    lines = [
        "sbp: rank 5 on node2 ended with status 1 at 200.5",
        "sbp: rank 3 on node1 ended with status 139 at 199.25",
        "sbp: rank 4 on node1 ended with status 1 at 1000.0",
    ]
    assert first_end(failed(143, *lines, name="srun")) == ("rank 3", -signal.SIGSEGV, "node1")
    assert first_end(failed(9, name="srun")) == ("srun", 9, "")
    found = why(failed(143, *lines, name="srun"))
    assert isinstance(found, Fault) and found.node == "node1"
    assert "rank 3 of 4 on node1 was killed (SIGSEGV)" in str(found)


@pytest.mark.parametrize("word", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_no_fault_of_the_program(word, capsys):
    import os

    found = why(failed(1, f"OSError: {os.strerror(word)}"))
    assert isinstance(found, OSError) and found.errno == word and found.filename == "/tmp"


def test_only_the_end_of_the_output_is_shown_without_empty_and_own_lines():
    lines = [f"line {number}" for number in range(40)]
    found = str(why(failed(1, *lines, "", "sbp: rank 2 on here ended with status 1 at 1.0")))
    assert "line 28" in found and "line 27" not in found and "ended with status 1 at" not in found


def test_a_disk_that_cannot_be_asked_is_not_full(tmp_path):
    assert not cause._is_full(tmp_path / "none") and not cause._is_full(tmp_path)


def test_it_says_where_the_same_command_resumes(tmp_path):
    found = why(failed(-9), tmp_path)
    assert found.progress == "no checkpoint yet" and "starts over: nothing was saved yet" in str(found)
    (tmp_path / "iter_0000020").mkdir()
    (tmp_path / "iter_0000020" / "metadata.json").write_text("{}")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("20")
    found = why(failed(-9), tmp_path)
    assert found.progress == "checkpoint 20" and "continues from the last checkpoint" in str(found)


def test_what_was_stopped_has_no_fault():
    """Preempted twice, a job was taken for one in a crash loop, and its nodes for failing ones."""
    ended = "sbp: rank 1 on node2 ended with status {} at 1700000001.25"
    assert was_stopped(failed(-signal.SIGTERM)) and not was_stopped(failed(-signal.SIGKILL))
    for status in (-signal.SIGTERM, -signal.SIGKILL, 143, 137):
        assert was_stopped(failed(status, "srun: error: node1: task 0: Killed", name="srun"))
    assert was_stopped(failed(143, ended.format(143), name="srun"))
    # The rank was killed and its shell was not, as for memory; or it failed while it saved its checkpoint.
    assert not was_stopped(failed(137, ended.format(137), name="srun"))
    assert not was_stopped(failed(1, ended.format(1), name="srun"))
    assert not was_stopped(failed(1, name="srun"))
