"""Files of another run in the place of this run's: named, never read, and the bytes at the end stay the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.made_once import made_once
from support.undone import outputs, undo
from support.whole_program import RECIPE

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.manifests import read_unit
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OTHER = {
    "embedding.max_tokens=16": ("embed", "neighbors", "pairs"),
    "synthesis.temperature=0.8": ("synthesize", "judge", "deduplicate", "filter"),
}
"""What makes another run of this one, and its stages up to where it is needed: files of the same names and shapes."""
READERS = {"embed": "neighbors", "neighbors": "pairs", "synthesize": "judge",
           "judge": "deduplicate", "filter": "tokenize-synthetic"}  # fmt: skip
"""A stage that reads what another one leaves; nobody reads the parts that `pairs` joins."""
CHEAP = ("embed", "neighbors", "pairs", "judge")
STAGES = [*READERS, "pairs"]


class UpToFinish(StageRunner):
    """Does all units, and then is interrupted."""

    def _finish(self, *_) -> None:
        pass


def run_in(folder: Path, word: str) -> Run:
    return Run.of(load_recipe(RECIPE, [f"run_folder={folder}", word]))


@pytest.fixture(scope="module")
def others(whole_run, tmp_path_factory) -> Path:
    """A folder with the other runs, by what makes them others. Read only."""

    def make(folder: Path) -> None:
        for word, stages in OTHER.items():
            run = run_in(folder / word, word)
            shutil.copytree(whole_run[0], run.root)
            graph = all_stages(run.recipe)
            for name in stages:
                assert StageRunner(run, by_name(graph, name), graph).execute()

    return made_once(tmp_path_factory, "other-runs", make)


@pytest.mark.parametrize(
    "name", [name if name in CHEAP else pytest.param(name, marks=pytest.mark.exhaustive) for name in STAGES]
)
def test_a_block_of_another_run(whole_run, others, tmp_path, capsys, name):
    word = next(word for word, stages in OTHER.items() if name in stages)
    run, other = run_in(tmp_path / "run", "seed=3"), run_in(tmp_path / "other", word)
    shutil.copytree(whole_run[0], run.root)
    shutil.copytree(others / word, other.root)
    graph = all_stages(run.recipe)
    stage, expected = by_name(graph, name), outputs(run, by_name(graph, name))
    runner = StageRunner(run, stage, graph)
    for each in (other, run):
        undo(each, stage)
        UpToFinish(each, stage, graph).execute()
    unit, block = differing(run, other, name)

    def put(with_manifest: bool) -> str:
        """Puts the other run's files in place, and its manifest of the unit; gives the name of one of them."""
        capsys.readouterr()
        for path in block:
            shutil.copy2(other.root / path, run.root / path)
        if with_manifest:
            manifest = records.manifest(unit)
            shutil.copy2(other.manifests / name / manifest, run.manifests / name / manifest)
        return block[0]

    for with_manifest in (False, True):
        file = put(with_manifest)
        assert runner.execute() and outputs(run, stage) == expected
        told = f"{name} {unit}: made under other settings or inputs" if with_manifest else f"{file} was changed since"
        assert told in capsys.readouterr().err
        run.stage_manifest(name).unlink()  # as if it had been killed just before it wrote that
        UpToFinish(run, stage, graph).execute()

    assert runner.execute()
    block = [path for path in block if path in outputs(run, stage)[1]]
    reader = READERS.get(name)
    for with_manifest in (False, True) if block else ():
        file = put(with_manifest)
        undo(run, by_name(graph, reader))
        with pytest.raises(InputError, match=rf"{file}: has .*; {name} wrote it, and `sbp run` makes it again"):
            StageRunner(run, by_name(graph, reader), graph).execute()
        assert not runner.finished() and runner.execute()
        assert f"{name}: {file} has " in capsys.readouterr().err
        assert outputs(run, stage) == expected
        assert StageRunner(run, by_name(graph, reader), graph).execute()
    assert bool(block) == (reader is not None)


def differing(run: Run, other: Run, name: str) -> tuple[str, list[str]]:
    """A unit that two runs have done differently, and the files in which they differ."""
    for file in sorted((run.manifests / name).glob(records.UNIT_MANIFESTS), reverse=True):
        mine, theirs = read_unit(file), read_unit(other.manifests / name / file.name)
        if mine is None or theirs is None:
            continue
        found = [
            path for path, entry in mine["outputs"].items() if theirs["outputs"][path]["sha256"] != entry["sha256"]
        ]
        if found:
            return file.stem, found
    raise AssertionError(f"{name}: both runs have the same files")
