"""The program in which lm-eval runs, as another program sees it; what it measures is in test_harness.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from megatron_sbp.evaluation import harness_worker
from megatron_sbp.evaluation.harness_worker import _entries, _forms, _task, _units


def job_file(folder: Path, parent: int) -> Path:
    file = folder / "job.json"
    file.write_text(json.dumps({"parent": parent, "tasks": ["colors"], "items": True}))
    return file


def test_a_python_without_lm_eval_says_so_in_one_line(tmp_path):
    """Standard output is events only, in an environment that has nothing of ours either."""
    words = [sys.executable, "-I", "-S", harness_worker.__file__, str(job_file(tmp_path, os.getpid()))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    event = json.loads(done.stdout)
    assert done.returncode == 0 and (event["event"], event["what"]) == ("failed", "import")
    assert "lm_eval" in event["message"]


def test_it_does_not_outlive_the_one_that_started_it(tmp_path):
    """Neither one that was gone before it looked, nor one that is killed while it loads."""
    words = [sys.executable, "-I", "-S", harness_worker.__file__, str(job_file(tmp_path, -1))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    program = tmp_path / "waits.py"
    program.write_text(
        "import os, runpy, sys, time\n"
        "if os.fork():\n    time.sleep(600)\n"
        f"worker = runpy.run_path({harness_worker.__file__!r})\n"
        "worker['_die_with'](os.getppid())\n"
        "print(os.getpid(), flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-I", "-S", str(program)], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 60
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it still runs"
        time.sleep(0.05)


def task_like(asked, answer, choices=None, query=None, features=(), **config) -> SimpleNamespace:
    """What a task of lm-eval gives for a document, and what its file says; `test_harness_items.py` has real ones."""
    return SimpleNamespace(
        config=SimpleNamespace(doc_to_choice=choices, **config),
        features=features,
        doc_to_choice=lambda document: choices,
        doc_to_text=lambda document: asked,
        doc_to_target=lambda document: answer,
        should_decontaminate=lambda: query is not None,
        doc_to_decontamination_query=lambda document: query,
    )


@pytest.mark.parametrize(
    ("asked", "answer", "choices", "forms"),
    [
        ("The sky is", 1, ["red", "blue"], ["The sky is blue", "The sky is"]),
        ("The sky is", "blue", None, ["The sky is blue", "The sky is"]),
        ("Two and two are", 4, ["three", "four"], ["Two and two are 4", "Two and two are"]),  # no place among choices
        ("The sky is", ["blue", "azure"], None, ["The sky is blue", "The sky is"]),
        ("The sky is", [], None, ["The sky is"]),
        (0, 1, ["It was her", "It was him"], ["It was her It was him"]),  # as winogrande asks
        ("", " All of it.", None, ["All of it."]),  # as text for perplexity
    ],
)
def test_an_item_is_what_is_asked_and_the_right_answer(asked, answer, choices, forms):
    assert _forms(task_like(asked, answer, choices), {}) == forms


def test_an_item_has_its_question_alone_and_the_task_s_own_query_too():
    asked = "Question: Who wrote it?\nAnswer:"
    of_its_own = task_like(asked, "Ada", query="who wrote it", features=["q"], doc_to_decontamination_query="q")
    assert _forms(of_its_own, {"q": "who wrote it"}) == [f"{asked} Ada", "who wrote it", asked]
    assert _forms(task_like(asked, "Ada"), {"question": "Who wrote it"})[1:] == ["Who wrote it", asked]
    assert _forms(task_like(asked, "Ada"), {"question": {"stem": "Who"}})[1:] == [asked]  # a field that is no text


def results(**samples) -> dict:
    """What lm-eval gives for a group without figures of its own that holds a group with some and a task."""
    return {
        "results": {
            "all": {"alias": "all"},
            "both": {"acc,none": 0.5, "acc_stderr,none": "N/A", "alias": "both"},
            "one": {"acc,none": 1.0, "acc_stderr,none": 0.1, "f1,strict": 0.25, "alias": "one"},
        },
        "group_subtasks": {"all": ["both", "one"], "both": ["a", "b"]},
        "samples": {"a": [], "b": [], "one": [], **samples},
        "higher_is_better": {"one": {"acc": True, "f1": False}, "a": {"acc": None}, "b": {"acc": True}},
        "n-shot": {"a": 0, "b": 2, "one": 5},
        "versions": {"one": 1.5},
        "n-samples": {name: {"original": 9, "effective": 3} for name in ("a", "b", "one")},
    }


def sample(number: int, chosen: str = "none", **measured) -> dict:
    return {"doc_id": number, "doc_hash": f"h{number}", "filter": chosen, **measured}


def test_a_group_without_figures_is_what_is_in_it():
    assert list(_entries("all", results())) == ["both", "one"]
    assert list(_entries("one", results())) == ["one"]


def test_what_is_measured_of_a_task_and_of_a_group():
    one, both = _task("one", results()), _task("both", results())
    assert (one["shots"], one["version"], one["samples"]) == (5, 1.5, 3)
    assert (both["shots"], both["version"], both["samples"]) == (None, None, 6)  # 0 in one, 2 in the other
    assert set(one["metrics"]) == {"acc", "f1,strict"}
    assert [one["metrics"][name]["stderr"] for name in one["metrics"]] == [0.1, None]
    assert [one["metrics"][name]["higher_is_better"] for name in one["metrics"]] == [True, False]
    assert both["metrics"]["acc"]["stderr"] is None and both["metrics"]["acc"]["higher_is_better"] is True


def test_documents_are_told_apart_whatever_filters_they_went_through():
    once = _task("one", results(one=[sample(0, acc=1.0), sample(1, acc=0.0)]))
    twice = _task("one", results(one=[sample(0, acc=1.0), sample(1, acc=0.0), sample(0, "strict", f1=0.5)]))
    other = _task("one", results(one=[sample(0, acc=1.0), sample(2, acc=0.0)]))
    assert once["documents"] == twice["documents"] != other["documents"]
    assert twice["metrics"]["acc"]["units"] == [[1.0, 1.0], [0.0, 1.0]]
    assert twice["metrics"]["f1,strict"]["units"] == [[0.5, 1.0]]


def test_units_are_numbers_with_their_weights_or_none():
    found = results(a=[sample(0, m=(-3.5, 7)), sample(1, m=(-1, 2))], b=[sample(0, m=True)], one=[sample(0, m="x")])
    assert _units(found, ["a"], "m", "none") == [[-3.5, 7.0], [-1.0, 2.0]]
    assert _units(found, ["a", "b"], "m", "none")[-1] == [1.0, 1.0]
    assert _units(found, ["one"], "m", "none") is None and _units(found, ["a"], "m", "strict") == []
