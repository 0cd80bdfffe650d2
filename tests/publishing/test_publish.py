"""`sbp publish` on a made-up run with real checkpoints: what others load, and that nothing is overwritten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
from support.finished_stage import finish
from support.made_up_run import made_up_run
from support.synthesis_run import save_random_model

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.cli import main
from megatron_sbp.executor.publishing import publish_run
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.report import report_sources
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.tokenization.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Finished but for the export of the oracle."""
    run = made_up_run(tmp_path_factory.mktemp("publish"))
    files.write_json(run.results_file, collect_results(report_sources(run), run.recipe))
    tokenizer = load_tokenizer(run.tokenizer)
    for model in ("baseline", "sbp", "synthesizer"):
        save_random_model(run.export(model), tokenizer.vocab_size, tokenizer.end_of_document, 30)
        for file in run.tokenizer.iterdir():
            shutil.copyfile(file, run.export(model) / file.name)
        provenance = {"architecture": "Qwen3ForCausalLM", "parameters": 60_000, "weights_sha256": "cd" * 32}
        files.write_json(run.export(model) / "provenance.json", {**provenance, "dtype": "float32", "iteration": 195})
    for file in run.manifests.glob("*.json"):
        file.unlink()  # those of a made-up run hold what a report reads, and no more
    made = {
        "filter": [run.audit_synthetic, *run.synthetic_shards()],
        "export-synthesizer": _held(run.export("synthesizer")),
        "export-arms": [*_held(run.export("baseline")), *_held(run.export("sbp"))],
        "evaluate": _held(run.evaluation("quality").parent),
        "report": [run.results_file],
    }
    finish(run, made)
    return run


def _held(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _publish(run: Run, target: Path) -> list[Path]:
    return publish_run(run, all_stages(run.recipe), target)


@pytest.fixture(scope="module")
def published(run, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("hub") / "out"
    target.mkdir()  # an empty folder is taken
    before = _digests(run.root)
    made = _publish(run, target)
    assert _digests(run.root) == before
    assert sorted(folder.relative_to(target).as_posix() for folder in made) == [
        "datasets/made-up-synthetic", "models/made-up-baseline", "models/made-up-sbp",
        "models/made-up-synthesizer-related",
    ]  # fmt: skip
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    return target


def _digests(folder: Path) -> dict[Path, str]:
    return {path: files.sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_pyarrow_reads_every_document_with_its_parents(run, published):
    data = published / "datasets" / "made-up-synthetic" / "data" / "related"
    assert sorted(file.name for file in data.iterdir()) == ["train-00000-of-00001.parquet"]
    rows = pyarrow.parquet.read_table(data).to_pylist()
    kept = [row for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)]
    assert len(rows) == len(kept) == 209
    for row, original in zip(rows, kept, strict=True):
        assert (row["round"], row["replaced"]) == (1, None)
        for key in row.keys() & original.keys():
            assert row[key] == original[key], key
    metadata = pyarrow.parquet.read_metadata(data / "train-00000-of-00001.parquet")
    assert metadata.row_group(0).column(1).compression == "ZSTD"


def test_transformers_loads_every_model(published):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for folder in (published / "models").iterdir():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
        ids = tokenizer("some text", return_tensors="pt").input_ids
        assert model(input_ids=ids).logits.shape[:2] == ids.shape


def test_cards_are_what_the_hub_reads(run, published):
    from huggingface_hub import DatasetCard, ModelCard

    card = DatasetCard.load(published / "datasets" / "made-up-synthetic" / "README.md")
    assert card.data.configs == [{"config_name": "related", "data_files": "data/related/*.parquet", "default": True}]
    assert card.data.license == "unknown" and card.data.size_categories == ["n<1K"]
    assert "| unfinished | 11 |" in card.text and "tuned on pairs of similar documents | 209 |" in card.text
    assert "self-BLEU | 0.210 [0.200, 0.220]" in card.text
    card = ModelCard.load(published / "models" / "made-up-sbp" / "README.md")
    assert card.data.library_name == "transformers" and card.data.pipeline_tag == "text-generation"
    results = files.read_json(run.results_file)
    assert f"{results['arms']['sbp']['test_loss']:.4f} [" in card.text and "repetition baseline | +0.1" in card.text
    assert "cd" * 32 in card.text and "pairs:\n  alpha: 0.5" in card.text and "arXiv:2509.15248" in card.text
    synthesizer = (published / "models" / "made-up-synthesizer-related" / "README.md").read_text()
    assert "`<|related|>`" in synthesizer and "gain from the seed | 0.1900 [0.1508, 0.2292]" in synthesizer
    for file in published.rglob("README.md"):
        assert str(run.root) not in file.read_text() and str(run.recipe.folder) not in file.read_text()


def test_nothing_is_overwritten_and_an_interrupted_start_leaves_nothing(run, published, tmp_path, capsys, monkeypatch):
    before = _digests(published)
    assert (
        main(["publish", str(run.root.parent / "recipe.yaml"), f"run_folder={run.root}", "--to", str(published)]) == 2
    )
    assert "'--to': is not empty: it holds datasets, models" in capsys.readouterr().err
    assert _digests(published) == before
    with pytest.raises(InputError, match="is inside the run folder"):
        _publish(run, run.root / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is not a folder"):
        _publish(run, tmp_path / "file")
    with pytest.raises(InputError, match=r"not UTF-8"):  # Arrow's writer ended with a traceback
        _publish(run, tmp_path / "\udcff")
    (tmp_path / ".mine.partial").mkdir()
    with pytest.raises(InputError, match="not from an interrupted"):
        _publish(run, tmp_path / "mine")

    _break(monkeypatch, "model_card")
    with pytest.raises(InputError, match="made to fail"):
        _publish(run, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.partial", "file"]
    monkeypatch.undo()
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / ".sbp-publish").touch()  # what a killed start leaves
    (tmp_path / ".out.partial" / "models" / "made-up-sbp").mkdir(parents=True)  # of version 0.1
    _publish(run, tmp_path / "out")  # starts over
    assert not (tmp_path / ".out.partial").exists()
    names = {path.relative_to(tmp_path / "out") for path in _digests(tmp_path / "out")}
    assert names == {path.relative_to(published) for path in before}
    assert "left out: model oracle" in capsys.readouterr().err


def test_two_at_once_leave_one_whole_folder(run, published, tmp_path, monkeypatch):
    """The second removed what the first was writing: a traceback, or half a folder under the final name."""
    began = []

    def and_another_one(folder):
        if not began:  # the first folder that was written
            began.append(folder)
            _publish(run, tmp_path / "out")
        return sync(folder)

    sync = files.sync_folder
    monkeypatch.setattr(files, "process_folder", lambda parent: parent / f"0badcafe-{len(began)}")
    monkeypatch.setattr(files, "sync_folder", and_another_one)
    with pytest.raises(InputError, match=r"out: '--to': cannot be made: Directory not empty"):
        _publish(run, tmp_path / "out")
    names = {path.relative_to(tmp_path / "out") for path in _digests(tmp_path / "out")}
    assert names == {path.relative_to(published) for path in _digests(published)}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _break(monkeypatch, name: str) -> None:
    def fail(*_):
        raise InputError("made to fail")

    monkeypatch.setattr(f"megatron_sbp.publishing.publish.{name}", fail)


def test_a_run_without_anything_finished_is_an_error(tmp_path, run):
    with pytest.raises(InputError, match="nothing to publish yet"):
        _publish(Run(run.recipe, tmp_path / "nothing"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
