"""What the doctor examines, with a recipe and without."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import Documents, Launch
from megatron_sbp.stages.run_folder import Run

DOCUMENTS = Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30)


def test_without_a_recipe_it_is_this_machine_and_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subject = Subject()
    assert subject.recipe is None and subject.wants_gpu and subject.folder == tmp_path


@pytest.mark.parametrize(("device", "wanted"), [("cpu", False), ("cuda", True), ("auto", True)])
def test_a_gpu_is_wanted_unless_the_recipe_says_cpu(tmp_path, device, wanted):
    run = Run.of(small_recipe(tmp_path / "run", DOCUMENTS, launch=Launch(device=device)))
    assert Subject(run).wants_gpu is wanted


def test_the_folder_is_the_nearest_one_that_exists(tmp_path):
    subject = Subject(Run.of(small_recipe(tmp_path / "a" / "b" / "run", DOCUMENTS)))
    assert subject.folder == tmp_path
    (tmp_path / "a").mkdir()
    assert subject.folder == tmp_path / "a"
    (tmp_path / "a" / "b" / "run").mkdir(parents=True)
    assert subject.folder == tmp_path / "a" / "b" / "run"
