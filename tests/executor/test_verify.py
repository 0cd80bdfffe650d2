"""`sbp verify`: reads everything, and finds what changed without a trace."""

from __future__ import annotations

import os

import pytest
from support.stage_toys import graph, make_run

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.verify import verify


@pytest.fixture
def run(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    run = make_run(tmp_path)
    for stage in graph()[:2]:
        assert StageRunner(run, stage, graph()).execute()
    return run


def test_finished_stages_are_read_and_others_left_out(run):
    found, count, size = verify(run, graph())
    assert found == {"words": [], "lengths": []}
    outputs = [path for folder in ("words", "lengths") for path in (run.root / folder).iterdir()]
    assert (count, size) == (len(outputs), sum(path.stat().st_size for path in outputs))


def test_a_silent_change_and_a_lost_file_are_named(run):
    changed, lost = run.root / "words" / "00000.txt", run.root / "lengths" / "00001.txt"
    before = changed.stat()
    changed.write_text("oXe")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    lost.unlink()
    found, _, _ = verify(run, graph())
    assert [item.path for item in found["words"]] == ["words/00000.txt"] and not found["words"][0].gone
    assert [item.path for item in found["lengths"]] == ["lengths/00001.txt"] and found["lengths"][0].gone


def test_nothing_finished_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing to verify"):
        verify(make_run(tmp_path), graph())


def test_a_damaged_manifest_is_an_error_that_says_what_to_do(run):
    (run.manifests / "lengths.json").write_text("{}")
    with pytest.raises(InputError, match="--discard lengths"):
        verify(run, graph())
