"""`sbp pairs --explore` on a run of real text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.cli import main
from megatron_sbp.pairing.exploration_text import format_exploration
from megatron_sbp.recipe import Pairs, dump_recipe, load_recipe
from megatron_sbp.stages.exploring import explore_run
from megatron_sbp.stages.run_folder import Run


@pytest.fixture(scope="module")
def recipe_file(mined, tmp_path_factory, helpers) -> Path:
    """The recipe of a copy of the run, for the command line."""
    folder = tmp_path_factory.mktemp("explore")
    shutil.copytree(mined.root, folder / "run")
    file = folder / "recipe.yaml"
    file.write_text(dump_recipe(helpers.recipe(folder / "run", sequence_length=256)))
    return file


def at(found: dict, alpha: float) -> dict:
    return next(row for row in found["alphas"] if row["alpha"] == alpha)


def test_at_the_recipes_values_it_counts_what_the_stage_kept(mined):
    found = explore_run(mined)
    audit = json.loads(mined.audit_pairs.read_text())["train"]
    row = at(found, 0.5)
    assert row["kept"]["0.15"] == {"pairs": audit["kept"], "documents_with_pairs": audit["documents_with_pairs"]}
    assert row["documents_with_full_lists"] == audit["documents_with_full_lists"]
    assert (found["documents"], found["sampled"], found["k"]) == (300, 300, 20)


def test_a_sample_takes_documents_of_every_file(mined):
    found = explore_run(mined, documents=30, examples=5)
    assert found["sampled"] == 30
    seeds = {example["seed"]["row"] for band in found["bands"] for example in band["examples"]}
    assert {row // 120 for row in seeds} == {0, 1, 2}


def test_examples_are_the_texts(mined):
    texts = [row["text"] for shard in mined.document_shards("train") for row in files.read_jsonl_zst(shard)]
    for band in explore_run(mined)["bands"]:
        for example in band["examples"]:
            for end in ("seed", "target"):
                shown = example[end]["text"].removesuffix(" [...]")
                assert shown and texts[example[end]["row"]].startswith(shown)


def test_on_the_command_line(recipe_file, capsys):
    run = Run.of(load_recipe(recipe_file))
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*")}
    assert main(["pairs", str(recipe_file), "--explore", "--examples", "1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*")} == before
    text = capsys.readouterr().out
    assert text == format_exploration(explore_run(run, examples=1)) + "\n"
    assert "The neighbors of 300 documents, 20 each; nothing was written." in text
    assert "<- recipe" in text and "similarity 0." in text and "Recommended to try first: pairs.alpha=0." in text


def test_json_and_overrides(recipe_file, capsys):
    assert main(["pairs", str(recipe_file), "pairs.alpha=0.3", "--explore", "--json", "--documents", "50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["alpha"], found["sampled"]) == (0.3, 50)


def test_neighbors_of_other_settings_are_told(recipe_file, capsys):
    """An override that the run had and this command lacks changes what is explored; nothing said so."""
    assert main(["pairs", str(recipe_file), "--explore", "pairs.alpha=0.3"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["pairs", str(recipe_file), "--explore", "embedding.max_tokens=24", "neighbors.k=10"]) == 0
    told = "warning: made under other settings or inputs than this recipe's, as `sbp status` says: embed, neighbors"
    assert told in capsys.readouterr().err


def test_the_neighbors_must_be_there(recipe_file, tmp_path, capsys):
    root = tmp_path / "run"
    shutil.copytree(recipe_file.parent / "run", root)
    (root / "stages" / "neighbors.json").unlink()
    assert main(["pairs", str(recipe_file), "--explore", f"run_folder={root}"]) == 2
    assert "pairs needs the stage 'neighbors', which is not finished" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["neighbors/train/00000.npz", "tokenizer/roles.json"])
def test_a_damaged_file_is_named(recipe_file, tmp_path, capsys, name):
    """Previously it caused a traceback in its reader, or changed the neighbors without a message."""
    root = tmp_path / "run"
    shutil.copytree(recipe_file.parent / "run", root)
    data = bytearray((root / name).read_bytes())
    data[len(data) // 2] ^= 255
    (root / name).write_bytes(data)
    assert main(["pairs", str(recipe_file), "--explore", f"run_folder={root}"]) == 2
    assert f"{root / name}: has the digest" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--documents", "5"], ["--json"], ["--examples", "3"]])
def test_options_without_explore(recipe_file, capsys, words):
    assert main(["pairs", str(recipe_file), *words]) == 2
    assert "only works with `--explore`" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5"])
def test_counts(recipe_file, capsys, count):
    with pytest.raises(SystemExit) as ended:
        main(["pairs", str(recipe_file), "--explore", f"--documents={count}"])
    assert ended.value.code == 2 and "is not a whole number from 1" in capsys.readouterr().err


def test_near_duplicates_are_not_chosen_by_alpha(mined, helpers):
    run = Run(helpers.recipe(mined.root, pairs=Pairs(relation="near_duplicates")), mined.root)
    with pytest.raises(InputError, match=r"explore with pairs\.relation=similar"):
        explore_run(run)
