"""What of a run folder is published under which name; the repositories are in tests/publishing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Documents
from megatron_sbp.recipe.sections import Arm, Synthesizer
from megatron_sbp.stages.publishing import publish_run
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, synthesizer_run


def run_of(folder: Path, **documents) -> Run:
    recipe = small_recipe(
        folder / "run", Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30, **documents), replicates=2,
        synthesizers={"related": Synthesizer(), "chance": Synthesizer(method="replacement")},
        arms={"baseline": Arm(), "sbp": Arm(synthetic="related"), "noise": Arm(synthetic="chance")},
    )  # fmt: skip
    return Run.of(recipe)


def export(run: Run, name: str) -> None:
    files.write_json(run.export(name) / "provenance.json", {"parameters": 1, "of": str(run.export(name))})


def corpus(run: Run) -> None:
    files.write_json(run.audit_synthetic, {"kept": 1, "tokens": 5, "generations": 2, "dropped": {}})
    files.write_jsonl_zst(run.synthetic / "00000.jsonl.zst", [{"id": "syn-0-0", "text": str(run.synthetic)}])


def names(target: Path) -> list[str]:
    return sorted(path.relative_to(target).as_posix() for path in target.glob("*/*"))


def test_what_is_finished_of_every_replicate_and_synthesizer(tmp_path, capsys):
    run = run_of(tmp_path, license="cc-by-4.0")
    second = replicate_run(run, 2)
    export(run, "baseline")
    export(second, "baseline")
    export(synthesizer_run(second, "related"), "synthesizer")
    corpus(run)
    corpus(synthesizer_run(second, "chance"))
    target = tmp_path / "hub"
    made = publish_run(run, target)
    assert names(target) == sorted(folder.relative_to(target).as_posix() for folder in made) == [
        "datasets/test-synthetic", "models/test-baseline", "models/test-baseline-2",
        "models/test-synthesizer-related-2",
    ]  # fmt: skip
    data = target / "datasets" / "test-synthetic" / "data"
    assert sorted(path.name for path in data.iterdir()) == ["chance-2", "related"]
    assert files.read_json(target / "models" / "test-baseline-2" / "provenance.json")["of"].endswith(
        "replicates/2/export/baseline"
    )
    said = capsys.readouterr().err
    left = said.partition("left out: ")[2].splitlines()[0].split(", ")
    assert set(left) == {
        "synthetic documents of chance", "synthetic documents of related-2", "model sbp", "model noise", "model sbp-2",
        "model noise-2", "model synthesizer-related",
    }  # fmt: skip
    assert "license" not in said


def test_a_corpus_without_a_license_is_remarked(tmp_path, capsys):
    run = run_of(tmp_path)
    export(run, "sbp")
    publish_run(run, tmp_path / "hub")
    assert "the recipe names no license" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["run/hub", "run", "link/hub", "run/../run/hub"])
def test_nothing_is_written_into_the_run_folder(tmp_path, inside):
    run = run_of(tmp_path)
    export(run, "sbp")
    (tmp_path / "link").symlink_to(run.root)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="is inside the run folder"):
        publish_run(run, tmp_path / inside)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_anything_finished(tmp_path):
    with pytest.raises(InputError, match="nothing to publish yet"):
        publish_run(run_of(tmp_path), tmp_path / "hub")
