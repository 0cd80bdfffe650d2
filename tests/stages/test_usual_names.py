"""Names of files and folders are in a few files of stages/: what they are called, and where they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run

PACKAGE = Path(usual.__file__).parents[1]
OWNERS = {"usual_names.py", "record_names.py", "run_folder.py", "placed.py"} | {
    f"{of}_paths.py" for of in ("corpus", "synthesis", "result", "record")
}
NO_PATHS = {("stage_processes.py", "X/X")}
"""A share of a stage's units, as --shard takes it."""
PATH = re.compile(r"/|\*\.|\.(json|jsonl|zst|npy|npz|parquet|bin|idx|yaml|html|ids|safetensors|lock|distcp)\b")


def literals(source: str) -> Iterator[tuple[int, str]]:
    """String literals of a module that look like a path or a pattern of paths, with their lines. Not prose."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if id(node) in prose | parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if PATH.search(text) and not re.search(r"\s", text):
            yield node.lineno, text


def test_what_looks_like_a_path():
    source = 'x = "a.json", f"{y}.npy", "a/b", "*.jsonl", "no path", "see a/b for more"\n"""a/b"""\n'
    assert [text for _, text in literals(source)] == ["a.json", "X.npy", "a/b", "*.jsonl"]


@pytest.mark.parametrize("room", ["stages", "executor"])
def test_paths_have_owners(room):
    """120 literals of stages/ and 48 of executor/ spelled paths: a file that moved had to be found in each."""
    seen = sorted(file for file in (PACKAGE / room).rglob("*.py") if file.name not in OWNERS)
    found = [(file.name, line, text) for file in seen for line, text in literals(file.read_text())]
    assert len(seen) > 20 and not [one for one in found if (one[0], one[2]) not in NO_PATHS], found


OWNED = {
    r"(config|tokenizer)\.json$": "base/hugging_face_names.py",
    r"\.jsonl\.zst$|^\[0-9\]\*": "base/shard_names.py",
    r"^provenance\.json$": "checkpoint/hugging_face_folder.py",
    r"^metadata\.json$": "checkpoint/tracker.py",
    r"^stopped\.txt$|^metrics\.jsonl$|^(consumed|data|start|blend\.lock)\.json$": "checkpoint/model_folder.py",
}
"""Names of files that several modules read or write, and the module that spells each."""
OTHERS = {"sentence_bert_config.json"}


def test_names_that_modules_share_are_spelled_once():
    """ "stopped.txt" was in 6 files of the library, and "metrics.jsonl" and "config.json" in 9 each."""
    found: dict[str, set[str]] = {owner: set() for owner in OWNED.values()}
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for text in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} - OTHERS:
            for pattern, owner in OWNED.items():
                if isinstance(text, str) and not re.search(r"[\s/]", text) and re.search(pattern, text):
                    found[owner].add(str(file.relative_to(PACKAGE)))
    assert found == {owner: {owner} for owner in OWNED.values()}


def test_exceptions_are_needed():
    files = (PACKAGE / "executor").glob("*.py")
    assert {(file.name, text) for file in files for _, text in literals(file.read_text())} == NO_PATHS


def test_names_lead_to_where_files_are(tmp_path):
    run = Run(small_recipe(tmp_path, Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)), tmp_path)
    shard = run.document_shard("train", "00003")
    for path, pattern in (
        (shard, usual.document_shards("train")),
        (shard, usual.documents("*")),
        (run.embedding_shard("test", "00003"), usual.embedding_shards("test")),
        (run.neighbor_shard("train", "00003"), usual.neighbor_shards("train")),
        (run.pairs("valid"), usual.pairs("valid")),
        (run.tokens("real").with_suffix(".idx"), usual.tokens("real")),
        (run.generation_shard("00003"), usual.inside(usual.GENERATIONS)),
        (run.synthetic_shard("00003"), usual.SYNTHETIC_FILES),
        (run.judged("00003").bands, usual.judged("bands", "*")),
        (run.found("00003-00004"), usual.inside(usual.inside(usual.REPEATS))),
        (run.finding("quality", "00003"), usual.inside(usual.corpus_findings("quality"))),
        (run.model("sbp") / "consumed.json", usual.consumed("sbp")),
        (run.corpus_index_file, usual.inside(usual.CORPUS_INDEX)),
        (run.results_file, usual.RESULTS),
        (run.task_items, usual.inside(usual.TASK_ITEMS)),
    ):
        assert path.relative_to(tmp_path).match(pattern), (path, pattern)
