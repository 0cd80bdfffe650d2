"""The graph on this machine: what is missing runs, in order, in as many processes as there is work for."""

from __future__ import annotations

import signal

import pytest
import stage_toys
from stage_toys import make_run

from megatron_sbp.base.errors import Fault
from megatron_sbp.executor import local
from megatron_sbp.executor.local import StageFailed, run_all
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.stage import by_name


@pytest.fixture
def run(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\n")
    return make_run(tmp_path, "launch.workers=2")


@pytest.fixture
def started(run, monkeypatch):
    """Stages run in this process; what would have been started is noted."""
    noted = []

    def work(run, stage, words, workers):
        noted.append((stage.name, words, workers))
        StageRunner(run, by_name(stage_toys.graph(), stage.name), stage_toys.graph()).execute()

    monkeypatch.setattr(local, "_work", work)
    return noted


def test_missing_stages_run_in_order_and_finished_ones_do_not(run, started, capsys):
    run_all(run, stage_toys.graph(), ["recipe.yaml", "seed=1"], until="lengths")
    assert [(name, workers) for name, _, workers in started] == [("words", 2), ("lengths", 2)]
    assert started[0][1] == ["recipe.yaml", "seed=1"]
    run_all(run, stage_toys.graph(), ["recipe.yaml"])
    assert [name for name, *_ in started] == ["words", "lengths", "total"] and started[-1][2] == 1
    said = capsys.readouterr().err
    assert "[1/3] words: already complete" in said and "all 3 stages finished" in said


def test_no_more_workers_than_units_are_missing(run, started):
    StageRunner(run, stage_toys.graph()[0], stage_toys.graph()).execute((1, 3))
    StageRunner(run, stage_toys.graph()[0], stage_toys.graph()).execute((2, 3))
    run_all(run, stage_toys.graph(), ["r"], until="words")
    assert started[0][2] == 1


def test_permissions_reach_only_the_stages_they_name(run, started):
    run_all(run, stage_toys.graph(), ["r"], discard=["lengths"], repair=["all"])
    assert [words for _, words, _ in started] == [
        ["r", "--repair", "words"],
        ["r", "--discard", "lengths", "--repair", "lengths"],
        ["r", "--repair", "total"],
    ]


def test_processes_that_end_well_without_finishing_are_a_fault(run, monkeypatch):
    monkeypatch.setattr(local, "_work", lambda *arguments: None)
    with pytest.raises(Fault, match=r"ended with status 0, but it is not finished: not started"):
        run_all(run, stage_toys.graph(), ["r"])


def test_a_failed_worker_is_named_with_its_status(run, monkeypatch):
    """The real thing: two processes of `sbp words`, a stage that the command line does not know."""
    with pytest.raises(StageFailed, match=r"words, worker [12]") as caught:
        run_all(run, stage_toys.graph(), [str(run.recipe.source), f"run_folder={run.root}"])
    assert caught.value.status == 2


@pytest.mark.parametrize(("status", "told"), [(-signal.SIGKILL, "SIGKILL"), (1, "1")])
def test_words_for_an_end(status, told):
    error = StageFailed("embed", status, worker=3)
    assert told in str(error) and "embed, worker 3," in str(error) and error.status == status


@pytest.mark.parametrize(
    ("device", "kind", "named", "seen"),
    [("auto", "gpu", "3,5", ["3", "5"]), ("auto", "cpu", "3,5", ["3,5", "3,5"]), ("cpu", "gpu", "3,5", ["3,5", "3,5"]),
     ("auto", "gpu", "7", ["7", "7"]), ("auto", "gpu", None, ["none", "none"])],
)  # fmt: skip
def test_workers_get_gpus_of_their_own(run, monkeypatch, tmp_path, device, kind, named, seen):
    """A real process per worker; a program in place of Python tells what it was given."""
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/sh\necho "${CUDA_VISIBLE_DEVICES-none}" > "$0.$6"\n'.replace("$6", "$(echo $6 | tr / -)")
    )
    program.chmod(0o755)
    monkeypatch.setattr(local.sys, "executable", str(program))
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    run.recipe.launch.device = device
    stage = by_name(stage_toys.graph(), "words")
    stage.device = kind
    local._work(run, stage, ["recipe.yaml"], 2)
    assert [path.read_text().strip() for path in sorted(tmp_path.glob("python.*"))] == seen
