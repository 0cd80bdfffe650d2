"""What manifests confirm: finished under this recipe, and the same bytes."""

from __future__ import annotations

import pytest
from support import stage_toys

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.confirmed import check_intact, finished_outputs
from megatron_sbp.executor.runner import StageRunner


@pytest.fixture
def run(tmp_path):
    (tmp_path / "words.txt").write_text("one\nthree")
    run, graph = stage_toys.make_run(tmp_path), stage_toys.graph()
    for stage in graph[:2]:
        assert StageRunner(run, stage, graph).execute()
    return run


def test_only_finished_stages_are_there(run):
    found = finished_outputs(run, stage_toys.graph())
    assert list(found) == ["words", "lengths"] and "lengths/00001.txt" in found["lengths"]


def test_a_stage_behind_one_that_is_gone_does_not_count(run):
    (run.manifests / "words.json").unlink()
    assert finished_outputs(run, stage_toys.graph()) == {}


def test_another_recipe_is_refused_with_the_difference(run, tmp_path):
    other = stage_toys.make_run(tmp_path, "note=upper")
    with pytest.raises(InputError, match=r"words was made under other settings .*note.*upper.*Give the recipe"):
        finished_outputs(other, stage_toys.graph())


def test_changed_and_missing_files_are_found_by_their_bytes(run):
    outputs = finished_outputs(run, stage_toys.graph())["words"]
    paths = [run.root / name for name in outputs]
    check_intact(run, outputs, paths, "reading")
    file = run.root / "words" / "00000.txt"
    file.write_text(file.read_text().upper())
    with pytest.raises(InputError, match=r"words/00000.txt: .*; `sbp run` says what can be done"):
        check_intact(run, outputs, paths, "reading")
    (run.root / "words" / "00001.txt").unlink()
    with pytest.raises(InputError, match="2 files are damaged"):
        check_intact(run, outputs, paths, "reading")
