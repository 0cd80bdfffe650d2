"""The folder of a tokenizer, or a name on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Documents, Recipe, Tokenizer
from megatron_sbp.recipe.tokenizer_folder import local_tokenizer, tokenizer_files


def recipe(folder: Path, path: str | None) -> Recipe:
    documents = Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30)
    made = small_recipe(folder / "run", documents, tokenizer=Tokenizer(path=path))
    made.source = folder / "recipe.yaml"
    return made


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "tokenizer.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("path", ["models/mine", "./models/mine", "models/../models/mine"])
def test_a_folder_is_relative_to_the_recipe(folder, path):
    assert local_tokenizer(recipe(folder, path)).samefile(folder / "models" / "mine")


def test_a_full_name_and_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "models"))
    for path in (f"{folder}/models/mine", "~/mine"):
        assert local_tokenizer(recipe(Path("/elsewhere"), path)) == folder / "models" / "mine"


@pytest.mark.parametrize("path", [None, "gpt2", "some/tokenizer"])
def test_a_name_on_the_hub_has_no_folder(folder, path):
    assert local_tokenizer(recipe(folder, path)) is None


def test_a_folder_goes_before_the_same_name_on_the_hub(folder):
    (folder / "gpt2").mkdir()
    (folder / "gpt2" / "vocab.json").write_text("{}")
    assert local_tokenizer(recipe(folder, "gpt2")) == folder / "gpt2"


@pytest.mark.parametrize("path", ["./gone", "/gone", "../gone", "~/gone", "~nobody-here/gone", "a/b/gone"])
def test_what_can_only_be_a_folder_must_be_there(folder, path):
    with pytest.raises(InputError, match="no such folder") as found:
        local_tokenizer(recipe(folder, path))
    assert (found.value.file, found.value.key) == (folder / "recipe.yaml", "tokenizer.path")


def test_a_folder_without_a_tokenizer_is_an_error(folder):
    (folder / "empty").mkdir()
    (folder / "empty" / "model.safetensors").touch()
    with pytest.raises(InputError, match=f"no tokenizer in the folder {folder}/empty"):
        local_tokenizer(recipe(folder, "empty"))


def test_all_that_a_tokenizer_may_consist_of_is_found_and_weights_are_not(tmp_path):
    mine = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
        "merges.txt", "config.json", "spiece.model",
    }  # fmt: skip
    for name in (*mine, "model.safetensors", "pytorch_model.bin", "README.md", "generation_config.json"):
        (tmp_path / name).touch()
    assert {path.name for path in tokenizer_files(tmp_path)} == mine


def test_a_file_is_no_folder_and_no_name_on_the_hub(folder):
    (folder / "foldoc.jsonl.zst").touch()
    with pytest.raises(
        InputError, match=r"'tokenizer\.path': is a file, not a tokenizer's folder: .*/foldoc\.jsonl\.zst"
    ):
        local_tokenizer(recipe(folder, "foldoc.jsonl.zst"))
