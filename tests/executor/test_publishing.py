"""What of a run folder is published under which name; the repositories are in tests/publishing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.finished_stage import finish
from support.small_recipe import small_recipe

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.publishing import publish_run
from megatron_sbp.recipe import Documents
from megatron_sbp.recipe.sections import Arm, Synthesizer
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, suffix, synthesizer_run


def run_of(folder: Path, **documents) -> Run:
    recipe = small_recipe(
        folder / "run", Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30, **documents), replicates=2,
        synthesizers={"related": Synthesizer(), "chance": Synthesizer(method="replacement")},
        arms={"baseline": Arm(), "sbp": Arm(synthetic="related"), "noise": Arm(synthetic="chance")},
    )  # fmt: skip
    return Run.of(recipe)


def publish(run: Run, target: Path) -> list[Path]:
    return publish_run(run, all_stages(run.recipe), target)


def export(run: Run, name: str) -> list[Path]:
    folder = run.export(name)
    files.write_json(folder / "provenance.json", {"parameters": 1, "of": str(folder)})
    (folder / "model.safetensors").write_bytes(bytes(2_000))
    return [folder / "provenance.json", folder / "model.safetensors"]


def corpus(run: Run, replicate: int = 1, writer: str = "related") -> dict[str, list[Path]]:
    """Two documents in two files, under the name of the stage that writes them."""
    own = synthesizer_run(replicate_run(run, replicate), writer)
    files.write_json(own.audit_synthetic, {"kept": 2, "tokens": 9, "generations": 3, "dropped": {}})
    for name in ("00000", "00001"):
        row = {"id": f"syn-{name}", "text": str(own.synthetic), "tokens": 5, "finished": True}
        files.write_jsonl_zst(own.synthetic_shard(name), [row])
    return {f"filter{suffix(writer, replicate)}": [own.audit_synthetic, *own.synthetic_shards()]}


def names(target: Path) -> list[str]:
    return sorted(path.relative_to(target).as_posix() for path in target.glob("*/*"))


def test_what_is_finished_of_every_replicate_and_synthesizer(tmp_path, capsys):
    run = run_of(tmp_path, license="cc-by-4.0")
    second = replicate_run(run, 2)
    made = {
        "export-arms": export(run, "baseline"),
        "export-arms.2": export(second, "baseline"),
        "export-synthesizer.2": export(synthesizer_run(second, "related"), "synthesizer"),
    }
    finish(run, made | corpus(run, 1, "related") | corpus(run, 2, "chance"))
    export(run, "sbp")  # no manifest tells that it is complete
    target = tmp_path / "hub"
    made = publish(run, target)
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
    finish(run, {"export-arms": export(run, "sbp")})
    publish(run, tmp_path / "hub")
    assert "the recipe names no license" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["run/hub", "run", "link/hub", "run/../run/hub"])
def test_nothing_is_written_into_the_run_folder(tmp_path, inside):
    run = run_of(tmp_path)
    finish(run, {"export-arms": export(run, "sbp")})
    (tmp_path / "link").symlink_to(run.root)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="is inside the run folder"):
        publish(run, tmp_path / inside)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_anything_finished(tmp_path):
    with pytest.raises(InputError, match="nothing to publish yet"):
        publish(run_of(tmp_path), tmp_path / "hub")


@pytest.mark.parametrize(
    "of", ["model.safetensors", "provenance.json", "00000.jsonl.zst", "audit.json", "results.json"]
)
@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_file_that_its_manifest_does_not_confirm_is_refused(tmp_path, of, damage):
    run = run_of(tmp_path)
    files.write_json(run.results_file, {})
    made = {"export-arms": export(run, "sbp"), "report": [run.results_file]} | corpus(run)
    finish(run, made)
    file = next(path for paths in made.values() for path in paths if path.name == of)
    stat, held = file.stat(), file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(held[:1] if damage == "cut" else bytes([held[0] ^ 1]) + held[1:])
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a disk that lies would leave it
    with pytest.raises(InputError) as error:
        publish(run, tmp_path / "hub")
    assert error.value.file == file
    expected = {"gone": "is missing", "cut": "but had", "changed": "has the digest"}[damage]
    assert expected in error.value.reason and "`sbp run` says" in error.value.reason
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_was_made_under_other_settings_is_refused(tmp_path):
    run = run_of(tmp_path)
    finish(run, corpus(run))
    other = run.recipe.overridden("filter", {"min_tokens": run.recipe.filter.min_tokens + 8})
    with pytest.raises(InputError, match=r"judge was made under other settings .*min_tokens was \d+, is \d+"):
        publish(Run(other, run.root), tmp_path / "hub")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    licensed = run.recipe.overridden("documents", {"license": "mit"})  # changes no output
    publish(Run(licensed, run.root), tmp_path / "hub")
    assert "license: mit" in (tmp_path / "hub/datasets/test-synthetic/README.md").read_text()


def test_what_was_made_from_former_outputs_of_another_stage_is_refused(tmp_path):
    run = run_of(tmp_path)
    shard = run.generations / "00000.jsonl.zst"
    files.write_jsonl_zst(shard, [{"id": "raw-0", "text": "before"}])
    finish(run, {"synthesize": [shard]} | corpus(run))
    files.write_jsonl_zst(shard, [{"id": "raw-0", "text": "after"}])
    finish(run, {"synthesize": [shard]})
    with pytest.raises(InputError, match=r"made under .*generations/00000\.jsonl\.zst changed"):
        publish(run, tmp_path / "hub")


def test_a_stage_after_one_that_is_not_finished_is_left_out(tmp_path, capsys):
    run = run_of(tmp_path)
    finish(run, {"export-synthesizer": export(run, "synthesizer")} | corpus(run))
    (run.manifests / "judge.json").unlink()
    publish(run, tmp_path / "hub")
    assert names(tmp_path / "hub") == ["models/test-synthesizer-related"]
    assert "synthetic documents of related, " in capsys.readouterr().err


def test_a_stranger_in_an_export_is_not_published(tmp_path):
    run = run_of(tmp_path)
    made = export(run, "sbp")
    finish(run, {"export-arms": made})
    (run.export("sbp") / "notes.txt").write_text("mine")
    publish(run, tmp_path / "hub")
    held = {path.name for path in (tmp_path / "hub/models/test-sbp").iterdir()}
    assert held == {"README.md", "model.safetensors", "provenance.json"}
