"""The stage `documents`: what counts as another corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.corpus_files import corpus_files
from megatron_sbp.documents.parts import Part
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
STAGE = DocumentsStage()


@pytest.fixture
def run_of(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY.read_text())
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text('{"id": "x", "text": "some text"}\n')

    def made(*overrides: str) -> Run:
        return Run.of(load_recipe(tmp_path / "recipe.yaml", [f"run_folder={tmp_path}/run", *overrides]))

    return made


def test_files_count_by_their_contents_and_not_by_the_pattern(run_of, tmp_path):
    one, other = run_of("documents.inputs=['*.jsonl']"), run_of("documents.inputs=[a.jsonl, b.jsonl]")
    assert [path.name for path in STAGE.external(one)] == ["a.jsonl", "b.jsonl"]
    assert sorted(STAGE.external(one)) == sorted(STAGE.external(other))
    assert STAGE.settings(one) == STAGE.settings(other)


@pytest.mark.parametrize("override", ["seed=9", "documents.min_characters=5", "documents.documents_per_shard=7"])
def test_what_changes_the_documents_is_in_the_settings(run_of, override):
    inputs = "documents.inputs=['*.jsonl']"
    assert STAGE.settings(run_of(inputs)) != STAGE.settings(run_of(inputs, override))


def test_a_corpus_that_is_too_small_names_the_key_and_the_line(run_of, tmp_path):
    run = run_of("documents.inputs=[a.jsonl]", "documents.id_field=null", "documents.keep_fields=[]")
    assert STAGE.units(run) == ["00000"]
    STAGE.run_unit(run, "00000")
    with pytest.raises(InputError, match="the corpus is too small") as caught:
        STAGE.finish(run)
    assert caught.value.key == "documents.test" and caught.value.line and caught.value.file == tmp_path / "recipe.yaml"
    assert (run.root / "logs" / "documents" / "audit.json").exists() and not (run.root / "documents" / "train").exists()


def test_a_split_that_is_too_large_on_the_command_line_is_told_as_such(run_of, tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "document {number}"}}\n' for number in range(10)))
    run = run_of("documents.inputs=[a.jsonl]", "documents.train=2", "documents.valid=2", "documents.test=1",
                 "documents.oracle=500", "documents.id_field=null", "documents.keep_fields=[]")  # fmt: skip
    STAGE.run_unit(run, "00000")
    with pytest.raises(InputError, match=r"command line: 'documents.oracle': the corpus is too small: .*oracle 500"):
        STAGE.finish(run)


def test_inputs_from_the_command_line_are_told_as_such(run_of, tmp_path):
    with pytest.raises(InputError, match=r"^command line: 'documents\.inputs': 'missing\.jsonl' matches no file"):
        STAGE.units(run_of("documents.inputs=[missing.jsonl]"))


def test_a_unit_is_a_file(run_of):
    assert STAGE.units(run_of("documents.inputs=['*.jsonl']")) == ["00000", "00001"]


def test_very_many_files_share_units_with_names_of_their_own(run_of, tmp_path, monkeypatch):
    """`00001` may be a finished unit of an earlier version: it is another file."""
    for name in ("ALONE", "MOST"):
        monkeypatch.setattr(f"megatron_sbp.documents.input_groups.{name}", 2)
    (tmp_path / "c.jsonl").write_text('{"id": "z", "text": "a third text"}\n')
    run, stage = run_of("documents.inputs=['*.jsonl']", "documents.keep_fields=[]"), DocumentsStage()
    assert stage.units(run) == ["00000-00001", "00002"]
    for each in (stage, DocumentsStage()):
        each.run_unit(run, "00000-00001")
        assert len(Part(run.document_parts / "00000-00001")) == 2


def test_the_files_are_not_looked_for_again_for_every_unit(run_of, tmp_path, monkeypatch):
    stage, looks = DocumentsStage(), []
    one, other = (
        run_of(f"documents.inputs={inputs}", "documents.keep_fields=[]") for inputs in ("['*.jsonl']", "[b.jsonl]")
    )
    (tmp_path / "b.jsonl").write_text('{"id": "y", "text": "another text"}\n' * 3)

    def counted(*arguments):
        looks.append(arguments)
        return corpus_files(*arguments)

    monkeypatch.setattr("megatron_sbp.documents.corpus_files.corpus_files", counted)
    for unit in stage.units(one):
        stage.run_unit(one, unit)
    assert len(looks) == 1
    assert [len(Part(one.document_parts / unit)) for unit in ("00000", "00001")] == [1, 3]
    stage.run_unit(other, "00000")  # of files that this stage has not listed
    assert len(looks) == 2 and len(Part(other.document_parts / "00000")) == 3
