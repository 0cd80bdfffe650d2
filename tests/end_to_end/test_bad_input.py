"""What a user does wrong: one clear message, exit status 2, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.whole_program import RECIPE, environment, run_sbp, sbp

pytestmark = pytest.mark.timeout(300)


def corpus(path, count: int, **bad) -> None:
    """Documents as JSON lines; `bad` maps a line number (n1, n2, ...) to what stands there instead."""
    lines = [json.dumps({"id": str(n), "title": "", "text": f"document number {n} " * 20}) for n in range(1, count + 1)]
    for name, line in bad.items():
        lines[int(name[1:]) - 1] = line
    path.write_text("\n".join(lines) + "\n")


def documents(folder, corpus_file, *words: str, status: int = 2) -> str:
    """`sbp documents` on another corpus."""
    recipe = RECIPE.read_text().replace("../../examples/quickstart/foldoc.jsonl.zst", str(corpus_file))
    (folder / "recipe.yaml").write_text(recipe)
    return run_sbp("documents", folder / "recipe.yaml", f"run_folder={folder / 'run'}", *words, status=status)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "7", "text": "cut off', "corpus.jsonl:7"),
        ('{"id": "7"}', "'text'"),
        ('{"id": "7", "text": 12}', "'text'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    corpus(tmp_path / "corpus.jsonl", 400, n7=line)
    printed = documents(tmp_path, tmp_path / "corpus.jsonl")
    assert printed.startswith("sbp: error:") and message in printed and "corpus.jsonl:7" in printed
    assert "Traceback" not in printed
    documents(tmp_path, tmp_path / "corpus.jsonl", "documents.bad_documents=skip", "documents.oracle=null", status=0)
    audit = json.loads((tmp_path / "run" / "documents" / "audit.json").read_text())
    assert "corpus.jsonl" in json.dumps(audit)


def test_a_corpus_too_small_says_what_is_missing(tmp_path):
    corpus(tmp_path / "corpus.jsonl", 50)
    printed = documents(tmp_path, tmp_path / "corpus.jsonl")
    assert printed.startswith("sbp: error:") and "50" in printed and "520" in printed


def test_an_unknown_key_names_the_nearest(tmp_path):
    printed = run_sbp("plan", RECIPE, "pairs.alfa=0.5", status=2)
    assert "pairs.alfa" in printed and "did you mean 'pairs.alpha'" in printed


def test_a_stage_before_its_time_says_what_it_needs(tmp_path):
    printed = run_sbp("pairs", RECIPE, f"run_folder={tmp_path}", status=2)
    assert "needs the stage" in printed and "not finished" in printed


def test_files_of_the_current_folder_hide_no_module(tmp_path):
    """The processes of a stage run this package, not what is called like it, or like Python's own, where `sbp` is."""
    (tmp_path / "json.py").write_text("raise RuntimeError('a file of the current folder')\n")
    (tmp_path / "megatron_sbp").mkdir()
    (tmp_path / "megatron_sbp" / "__init__.py").write_text("raise RuntimeError('an older clone')\n")
    words = [sys.executable, "-P", *sbp("run", RECIPE, f"run_folder={tmp_path / 'run'}", "--until", "documents")[1:]]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0 and "documents: done" in done.stderr, done.stderr


def test_a_recipe_edited_while_stages_run_changes_nothing(tmp_path):
    corpus(tmp_path / "corpus.jsonl", 400)
    text = RECIPE.read_text().replace("../../examples/quickstart/foldoc.jsonl.zst", "corpus.jsonl")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text.replace("oracle: 200", "oracle: 20"))
    words = sbp("run", recipe, f"run_folder={tmp_path / 'run'}", "--until", "tokenizer")
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert "documents" in process.stderr.readline()
        recipe.write_text("name: the next experiment\n")
        said = process.stderr.read()
    assert process.returncode == 0 and "tokenizer: done" in said, said


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_one_message_and_loses_nothing(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("no mount here")
    try:
        done = subprocess.run(
            sbp("run", RECIPE, f"run_folder={small / 'run'}", "--until", "tokenize"),
            env=environment(), capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 2 and "disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        printed = run_sbp("run", RECIPE, f"run_folder={small / 'run'}", "--until", "tokenize")
        assert "tokenize: done" in printed
    finally:
        subprocess.run(["umount", "-l", small], check=True)


EXAMPLES = Path(__file__).parents[2] / "examples"
SLOW = {
    "torch",
    "numpy",
    "transformers",
    "tokenizers",
    "pyarrow",
    "numba",
    "megatron.core",
    "megatron.training",
    "vllm",
}


def test_plan_imports_nothing_that_takes_longer_than_itself(tmp_path):
    """What makes it answer in less than a second; benchmarks/plan_start.py measures the seconds."""
    recipes = sorted(EXAMPLES.glob("sbp_*/recipe.yaml"))
    calls = [["plan", str(recipe), f"run_folder={tmp_path}/{recipe.parent.name}", "--commands"] for recipe in recipes]
    script = (
        "import sys; from megatron_sbp.cli import main\n"
        f"for words in {calls!r}: main(words)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert len(recipes) == 5 and done.stdout.count("Plan of sbp_") == 5
    assert "--train-samples" in done.stdout and "megatron_sbp.training.pretrain" in done.stdout
    loaded = set(done.stderr.split())
    assert "megatron_sbp.planning.plan" in loaded and not loaded & SLOW
