"""The data file that a training gets from the recipe."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.megatron_ranks import END, PADDING, SEPARATOR, markov_documents, write_indexed

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe
from megatron_sbp.training.data import planned
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.datasets import build_train
from megatron_sbp.training.data.planned import pair_samples, write_data_file

RECIPE = Path(__file__).resolve().parents[2] / "end_to_end" / "recipe.yaml"


def test_the_packing_of_the_plan_is_the_one_that_ranks_use(tmp_path):
    """Made once: the ranks find the file that the launcher wrote. A pair that does not fit is named."""
    recipe = load_recipe(RECIPE)
    folder, prefix, length = tmp_path / "synthesizer", tmp_path / "tokens" / "pairs", recipe.tuning_sequence_length
    prefix.parent.mkdir(parents=True)
    pairs = zip(markov_documents(90, 1, 5, 30), markov_documents(90, 2, 5, 30), strict=True)
    write_indexed(prefix, [[seed, [*target, END]] for seed, target in pairs])
    samples = pair_samples(recipe, prefix, folder / "cache")
    [file] = (folder / "cache").glob("*.index")
    source = Source("pairs", os.path.relpath(prefix, folder), samples)
    data = DataFile("pairs", [source], source, length, recipe.seed, "strict", END, PADDING, SEPARATOR)
    data.write(folder / "data.json")
    tokenizer = SimpleNamespace(vocab_size=300, eod=END, pad=PADDING, unique_identifiers={})
    blend = build_train(folder / "data.json", tokenizer, folder / "cache")
    assert [*(folder / "cache").glob("*.index")] == [file]
    epochs, batch = recipe.tuning.max_epochs, recipe.tuning.global_batch_size
    assert 0 <= samples - int(epochs * len(blend.datasets[0].packing)) < batch and samples % batch == 0
    write_indexed(prefix, [[[5] * length, [6, END]]])
    with pytest.raises(InputError, match=rf"pairs: 'pairs': a pair of {length + 2} tokens does not fit"):
        pair_samples(recipe, prefix, folder / "cache")


@pytest.mark.parametrize("training", ["baseline", "sbp", "synthesizer"])
def test_the_data_file_names_datasets_relative_to_the_training(corpus, tmp_path, monkeypatch, training):
    """So that run folders can be moved, and training runs made in a work folder."""
    roles = SimpleNamespace(end_of_document=END, padding=PADDING, separator=SEPARATOR)
    monkeypatch.setattr(planned, "load_tokenizer", lambda folder: roles)
    recipe, folder = load_recipe(RECIPE), tmp_path / "models" / training
    folder.mkdir(parents=True)
    (tmp_path / "tokens").symlink_to(corpus)
    names = ("real", "oracle", "synthetic", "valid", "pairs", "valid_pairs")
    datasets = {name: tmp_path / "tokens" / name for name in names}
    samples = write_data_file(recipe, training, folder=folder, datasets=datasets, tokenizer=corpus / "tokenizer")
    data = DataFile.read(folder / "data.json")
    assert sum(source.samples for source in data.train) == samples
    assert {source.prefix for source in [*data.train, data.valid]} <= {
        f"../../tokens/{name}" for name in ("real", "synthetic", "pairs", "valid", "valid_pairs")
    }
    assert (data.end_of_document, data.padding, data.separator) == (END, PADDING, SEPARATOR)
    if training == "synthesizer":
        assert (data.kind, data.valid.name) == ("pairs", "valid_pairs")
    else:
        assert {source.name: source.samples for source in data.train} == ledger.arm_samples(recipe, training)
        assert [source.name for source in data.train if source.once] == ["synthetic"] * (training == "sbp")


def test_synthetic_text_first(corpus, tmp_path, monkeypatch):
    roles = SimpleNamespace(end_of_document=END, padding=PADDING, separator=SEPARATOR)
    monkeypatch.setattr(planned, "load_tokenizer", lambda folder: roles)
    recipe = load_recipe(RECIPE)
    first = recipe.arms["sbp"].model_copy(update={"order": "synthetic_first"})
    recipe = recipe.model_copy(update={"arms": {**recipe.arms, "first": first}})
    datasets = {name: corpus / name for name in ("real", "synthetic", "valid")}
    written = {}
    for arm in ("sbp", "first"):
        (tmp_path / arm).mkdir()
        write_data_file(recipe, arm, folder=tmp_path / arm, datasets=datasets, tokenizer=corpus / "tokenizer")
        written[arm] = DataFile.read(tmp_path / arm / "data.json")
    assert [source.name for source in written["first"].train] == ["synthetic", "real"]
    assert sorted(s.samples for s in written["first"].train) == sorted(s.samples for s in written["sbp"].train)
    assert (written["sbp"].order, written["first"].order) == ("mixed", "listed")
    # Training runs that began before arms had an order continue: their locked data file has no such key.
    assert "order" not in (tmp_path / "sbp" / "data.json").read_text()
