"""Saving lm-eval's tasks: their files become local; the data comes from a function, on the hub or from disk."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("lm_eval")
TOOL = Path(__file__).parents[2] / "tools" / "fetch_tasks.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("fetch_tasks", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def known(tool):
    return tool.Tasks(Path(importlib.util.find_spec("lm_eval").origin).parent / "tasks")


def rows(path: str, part: str | None, split: str) -> list[dict] | None:
    """A hub that has no test splits."""
    return None if split == "test" else [{"question": f"{path} {part} {split}", "text": "é"}]


def saved(tool, known, name: str, folder: Path, load=rows) -> list:
    return [tool.save(task, file, config, load, folder) for task, file, config in known.closure(name)]


def refused(tool, words: list) -> None:
    with pytest.raises(SystemExit) as left:
        tool.main([str(word) for word in words])
    assert left.value.code == 2


def test_a_task_becomes_local(tool, known, tmp_path):
    [source] = saved(tool, known, "arc_easy", tmp_path)
    assert source == {
        "dataset_path": "allenai/ai2_arc",
        "dataset_name": "ARC-Easy",
        "rows": {"train": 1, "validation": 1},
    }
    config = yaml.safe_load((tmp_path / "arc_easy" / "arc_easy.yaml").read_text())
    assert config["dataset_path"] == "json" and "dataset_name" not in config and "test_split" not in config
    files = config["dataset_kwargs"]["data_files"]
    assert files == {"train": "arc_easy/train.jsonl", "validation": "arc_easy/validation.jsonl"}
    assert json.loads((tmp_path / files["train"]).read_text())["question"] == "allenai/ai2_arc ARC-Easy train"
    assert config["doc_to_target"] == "{{choices.label.index(answerKey)}}" and config["metadata"] == {"version": 1.0}


def test_functions_come_along(tool, known, tmp_path):
    saved(tool, known, "winogrande", tmp_path)
    assert (tmp_path / "winogrande" / "preprocess_winogrande.py").exists()
    assert "!function 'preprocess_winogrande.doc_to_text'" in (tmp_path / "winogrande" / "winogrande.yaml").read_text()


def test_a_group_comes_with_its_tasks_and_what_they_include(tool, known, tmp_path):
    names = [task for task, _, _ in known.closure("mmlu")]
    assert len(names) == 57 + 5 and names[0] == "mmlu" and "mmlu_anatomy" in names
    file, config = next((file, config) for task, file, config in known.closure("mmlu") if task == "mmlu_anatomy")
    config = {**config, "test_split": "validation"}
    source = tool.save("mmlu_anatomy", file, config, rows, tmp_path)
    assert source["rows"] == {"validation": 1, "dev": 1}
    assert "include" not in yaml.safe_load((tmp_path / "mmlu_anatomy" / "mmlu_anatomy.yaml").read_text())


def test_the_papers_tasks_are_known(tool, known):
    assert [len(list(known.closure(name))) for name in tool.PAPER] == [1] * 7


def test_what_cannot_be_saved(tool, known, tmp_path, capsys):
    with pytest.raises(ValueError, match="lm-eval defines no task 'no_such_task'"):
        list(known.closure("no_such_task"))
    with pytest.raises(ValueError, match="sciq: no split of allenai/sciq is there"):
        saved(tool, known, "sciq", tmp_path, lambda *where: None)
    (tmp_path / "empty").mkdir()
    refused(tool, ["--to", tmp_path / "to", "--from", tmp_path / "empty", "sciq"])
    assert capsys.readouterr().err == "error: sciq: no split of allenai/sciq is there\n"
    refused(tool, ["--to", tmp_path / "to", "--from", tmp_path / "gone", "sciq"])
    assert capsys.readouterr().err == f"error: {tmp_path / 'gone'}: no such folder\n"
    assert not (tmp_path / "to").exists()
    (tmp_path / "file").write_text("")
    refused(tool, ["--to", tmp_path / "file", "--from", tmp_path / "empty", "sciq"])
    assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ConnectionError("Couldn't reach it\nmore"), RuntimeError("?"), FileNotFoundError()])
def test_without_a_network_it_is_one_line(tool, tmp_path, capsys, monkeypatch, error):
    import datasets

    def load_dataset(*where, **named):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    refused(tool, ["--to", tmp_path / "to", "arc_easy"])
    said = capsys.readouterr().err
    assert said.startswith("error: the data set allenai/ai2_arc cannot be loaded from the Hugging Face hub: ")
    assert said.count("\n") == 1 and not (tmp_path / "to").exists()


def test_data_sets_on_disk(tool, tmp_path, capsys):
    import datasets

    found = datasets.Dataset.from_list([{"question": "q", "support": "", "correct_answer": "a"}] * 3)
    found.save_to_disk(str(tmp_path / "disk" / "sciq" / "none" / "validation"))
    tool.main(["--to", str(tmp_path / "tasks"), "--from", str(tmp_path / "disk"), "sciq"])
    assert "sciq: allenai/sciq, documents: 3 in validation" in capsys.readouterr().out
    assert len((tmp_path / "tasks" / "sciq" / "validation.jsonl").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "tasks" / "sources.json").read_text())["sciq"]["rows"] == {"validation": 3}


@pytest.mark.parametrize("text", ["[", "{"])
def test_damaged_sources_are_one_line(tool, tmp_path, text):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sources.json").write_text(text)
    refused(tool, ["--to", tmp_path / "tasks", "--from", tmp_path, "sciq"])
    assert (tmp_path / "tasks" / "sources.json").read_text() == text


def test_a_folder_that_is_no_split_is_one_line(tool, tmp_path, capsys):
    import datasets

    folder = tmp_path / "disk" / "sciq" / "none" / "validation"
    folder.mkdir(parents=True)
    refused(tool, ["--to", tmp_path / "tasks", "--from", tmp_path / "disk", "sciq"])
    assert f"error: {folder}: was not written by Dataset.save_to_disk: " in capsys.readouterr().err
    rows = datasets.Dataset.from_list([{"question": "q"}])
    datasets.DatasetDict({"a": rows, "b": rows}).save_to_disk(str(folder))
    refused(tool, ["--to", tmp_path / "tasks", "--from", tmp_path / "disk", "sciq"])
    assert f"error: {folder}: holds several splits (a, b), not the one 'validation'" in capsys.readouterr().err
    assert not (tmp_path / "tasks").exists()
