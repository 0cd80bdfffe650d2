"""No folder is written to that is not this recipe's, and nothing that a user gave is deleted or overwritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.whole_program import RECIPE, environment

from megatron_sbp.base.errors import InputError
from megatron_sbp.cli import main
from megatron_sbp.executor.claim import claim, read_marker, recipe_of
from megatron_sbp.executor.submitted import keep
from megatron_sbp.recipe import load_recipe, override
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run, label


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user's folder with a recipe and a corpus; the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "documents").mkdir()
    lines = [json.dumps({"id": str(n), "title": "", "text": f"document number {n} " * 20}) for n in range(600)]
    (tmp_path / "documents" / "corpus.jsonl").write_text("\n".join(lines))
    text = RECIPE.read_text().replace("../../examples/quickstart/foldoc.jsonl.zst", "documents/*.jsonl")
    (tmp_path / "recipe.yaml").write_text("# my comment\n" + text)
    return tmp_path


@pytest.mark.parametrize("run_folder", [".", "..", "documents", "documents/deep/.."])
@pytest.mark.parametrize("verb", ["run", "documents", "submit"])
def test_a_folder_that_holds_something_else_is_refused(home, capsys, run_folder, verb):
    before = snapshot(home)
    assert main([verb, "recipe.yaml", f"run_folder={run_folder}"]) == 2
    printed = capsys.readouterr().err
    assert "'run_folder'" in printed or "'documents.inputs'" in printed
    assert snapshot(home) == before


def test_inputs_inside_the_run_folder_are_refused(home, capsys):
    (home / "runs" / home.name).mkdir(parents=True)
    assert main(["documents", "recipe.yaml", "documents.oracle=null"]) == 0
    shutil.copy(home / "documents" / "corpus.jsonl", home / "runs" / home.name / "corpus.jsonl")
    before = snapshot(home)
    words = ["documents", "recipe.yaml", f"documents.inputs=[runs/{home.name}/*.jsonl]"]
    assert main(words) == 2
    assert "documents.inputs" in capsys.readouterr().err and snapshot(home) == before


def test_inputs_inside_the_run_folder_of_a_folder_that_looks_like_a_pattern(home):
    folder = home / "a[1]"
    folder.mkdir()
    shutil.copy(home / "recipe.yaml", folder)
    run = Run.of(load_recipe(folder / "recipe.yaml", [f"run_folder={folder}/run", "documents.inputs=[run/*.jsonl]"]))
    (folder / "run").mkdir()
    shutil.copy(home / "documents" / "corpus.jsonl", folder / "run")
    (folder / "run" / "sbp-run.json").write_text('{"recipe": "", "created": ""}')
    with pytest.raises(InputError, match="is inside the run folder"):
        claim(run)


def test_the_default_run_folder_follows_from_the_place_of_the_recipe(home):
    (home / "other").mkdir()
    (home / "other" / "small.yaml").write_text((home / "recipe.yaml").read_text())
    recipe = load_recipe(home / "recipe.yaml", [])
    assert Run.of(recipe).root == home / "runs" / home.name
    assert label(load_recipe(home / "other" / "small.yaml", [])) == "small"
    assert main(["documents", "recipe.yaml", "documents.oracle=null"]) == 0
    shutil.copytree(home, home.parent / f"{home.name}-copy" / "mine", ignore=shutil.ignore_patterns("runs"))
    copied = load_recipe(home.parent / f"{home.name}-copy" / "mine" / "recipe.yaml", [])
    assert Run.of(copied).root == home / "runs" / "mine"


def test_a_run_folder_belongs_to_one_recipe(home, capsys):
    assert main(["documents", "recipe.yaml", "documents.oracle=null", "run_folder=shared"]) == 0
    (home / "other.yaml").write_text((home / "recipe.yaml").read_text())
    before = snapshot(home / "shared")
    assert main(["documents", "other.yaml", "documents.oracle=null", "run_folder=shared"]) == 2
    printed = capsys.readouterr().err
    assert "another recipe" in printed and str(home / "recipe.yaml") in printed
    assert snapshot(home / "shared") == before
    shutil.copytree(home, home.parent / f"{home.name}-copy")  # a recipe and its run folder, copied together
    copied = home.parent / f"{home.name}-copy"
    assert main(["documents", str(copied / "recipe.yaml"), "documents.oracle=null", f"run_folder={copied}/shared"]) == 0
    (home / "recipe.yaml").unlink()  # the recipe was renamed: the run is the new one's
    assert main(["documents", "other.yaml", "documents.oracle=null", "run_folder=shared"]) == 0
    assert json.loads((home / "shared" / "sbp-run.json").read_text())["recipe"] == str(home / "other.yaml")


def test_the_users_recipe_stays_as_it_is(home):
    text = (home / "recipe.yaml").read_text()
    assert main(["documents", "recipe.yaml", "documents.oracle=null"]) == 0
    assert (home / "recipe.yaml").read_text() == text
    resolved = (home / "runs" / home.name / "resolved.yaml").read_text()
    assert "documents_per_shard" in resolved and str(home / "recipe.yaml") in resolved


def test_a_run_folder_stands_for_its_recipe(home, capsys):
    assert main(["documents", "recipe.yaml", "documents.oracle=null", "documents.train=170", "run_folder=there"]) == 0
    capsys.readouterr()
    for place in ("there", "there/resolved.yaml"):
        assert recipe_of(place, []).documents.train == 170
        assert recipe_of(place, []).source == home / "recipe.yaml"
    assert main(["status", "there"]) == 0
    assert "documents           finished in" in capsys.readouterr().out
    assert main(["documents", "there"]) == 0
    assert main(["status", "documents"]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_errors_name_the_line_of_the_recipe_and_not_of_its_copy(home):
    run = Run.of(load_recipe("recipe.yaml", ["seed=4"]))
    claim(run)
    lines = (home / "recipe.yaml").read_text().splitlines()
    wanted = next(number for number, line in enumerate(lines, 1) if line.strip().startswith("train: 160"))
    for place in (run.root, keep(run)):
        recipe = recipe_of(place, ["documents.valid=81"])
        assert recipe.error("documents.train", "too many").line == wanted
        assert recipe.error("documents.valid", "too many").file == "command line"
        assert recipe.error("seed", "wrong").line is None  # the file has another
    (home / "recipe.yaml").unlink()
    assert recipe_of(run.root, []).error("documents.train", "too many").line is None


@pytest.mark.parametrize("name", ["run #2", "run: 2", " [x", "'\"", "\u00e9\u2028\U0001f600"])
def test_a_run_folder_whose_path_means_something_in_yaml(home, name):
    """`sbp status "run #2"` was about the folder `run`."""
    run = Run.of(load_recipe(home / "recipe.yaml", [override("run_folder", f"runs/{name}")]))
    claim(run)
    assert run.root == home / "runs" / name and Run.of(recipe_of(run.root, [])).root == run.root


def test_every_stage_is_the_same_for_a_recipe_and_its_run_folder(home):
    """Else what is finished by the recipe would be stale by the folder."""
    recipe = load_recipe(home / "recipe.yaml", [])
    run = Run.of(recipe)
    claim(run)
    by_folder = Run.of(recipe_of(run.root, []))
    assert by_folder.root == run.root
    for stage in all_stages(recipe):
        assert stage.settings(run) == stage.settings(by_folder), stage.name


def test_run_folders_that_cannot_be(home, capsys):
    (home / "a-file").write_text("mine")
    for folder in ("a-file", "a-file/below", "n" * 300, "a\0b"):
        assert main(["documents", "recipe.yaml", f"run_folder={folder}"]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("sbp: error:") and "Traceback" not in printed
    assert (home / "a-file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_run_folder(home):
    (home / "locked").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", home / "locked"]).returncode:
        pytest.skip("no mount here")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "megatron_sbp", "documents", "recipe.yaml", "run_folder=locked/run"],
            env=environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        subprocess.run(["umount", "-l", home / "locked"], check=True)
    assert done.returncode == 2 and "Read-only" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\x00"])
def test_a_damaged_marker_is_named_with_a_way_on(home, text):
    """The advice works, also where the manifests are gone with the marker."""
    run = Run.of(load_recipe(home / "recipe.yaml", []))
    claim(run)
    run.manifests.mkdir()
    (run.root / "documents").mkdir()
    run.marker_file.write_text(text)
    with pytest.raises(InputError, match=r"sbp-run\.json.*remove it to have it recreated"):
        claim(run)
    run.marker_file.unlink()
    claim(run)
    assert read_marker(run.root)["recipe"] == str(home / "recipe.yaml")


def test_a_damaged_marker_in_a_folder_that_tells_nothing_else(home):
    run = Run.of(load_recipe(home / "recipe.yaml", []))
    claim(run)
    (run.root / "documents").mkdir()
    run.resolved_file.write_text("documents: of another user\n")
    run.marker_file.write_text('{"recipe"')
    with pytest.raises(InputError, match=r"sbp-run\.json.*if this is a run folder, write .* into it") as error:
        claim(run)
    run.marker_file.unlink()
    with pytest.raises(InputError, match="not empty and not a run folder"):
        claim(run)
    run.marker_file.write_text(re.search(r"write (\{.*\}) into it", str(error.value))[1])
    claim(run)
    assert read_marker(run.root)["recipe"] == str(home / "recipe.yaml")


def test_a_run_of_before_there_were_markers_is_taken_over(home):
    run = Run.of(load_recipe(home / "recipe.yaml", []))
    (run.manifests / "documents").mkdir(parents=True)
    (run.manifests / "documents" / "started.json").write_text("{}")
    (run.root / "recipe.yaml").write_text("name: quickstart")
    claim(run)
    assert run.marker_file.exists()


# -- changes that fail


@pytest.mark.parametrize("word", ["documents.text_field=txt", "documents.train=100000", "documents.id_field=none"])
def test_a_typo_costs_nothing(home, word, capsys):
    assert main(["documents", "recipe.yaml", "documents.oracle=null"]) == 0
    run = home / "runs" / home.name
    before = snapshot(run / "documents")
    assert main(["documents", "recipe.yaml", "documents.oracle=null", word]) == 2
    assert snapshot(run / "documents") == before
    assert main(["status", "recipe.yaml", "documents.oracle=null"]) == 0
    assert "documents           finished in" in capsys.readouterr().out


def test_verify_finds_what_resume_does_not_see(home, capsys):
    assert main(["verify", "recipe.yaml"]) == 2
    assert main(["documents", "recipe.yaml", "documents.oracle=null"]) == 0
    assert main(["verify", "recipe.yaml"]) == 0
    assert "all unchanged" in capsys.readouterr().out
    file = home / "runs" / home.name / "documents" / "train" / "00000.jsonl.zst"
    stat, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert main(["documents", "recipe.yaml", "documents.oracle=null"]) == 0  # fast, and believes size and time
    assert main(["verify", "recipe.yaml"]) == 1
    assert "documents/train/00000.jsonl.zst has the digest" in capsys.readouterr().out


def test_status_into_a_closed_pipe(home):
    command = f"{sys.executable} -m megatron_sbp status recipe.yaml | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert done.returncode in (0, 141)  # the whole of it may fit into the pipe before `head` is gone


def test_a_run_folder_that_moved_with_its_recipe_stands_for_it(home, monkeypatch):
    """Its corpus was looked for where the recipe had been."""
    (home / "project").mkdir()
    for name in ("recipe.yaml", "documents"):
        (home / name).rename(home / "project" / name)
    claim(Run.of(load_recipe(home / "project" / "recipe.yaml", ["run_folder=project/run"])))
    (home / "project").rename(home / "moved")
    assert recipe_of("moved/run", []).folder == home / "moved"
    (home / "moved" / "recipe.yaml").unlink()
    assert recipe_of("moved/run", []).folder == home / "project"
