"""Run folders with real text, documents, tokenizer and tokens, made by the real stages; shuffled synthetic text."""

from __future__ import annotations

import atexit
import functools
import importlib
import inspect
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenizer import TokenizerStage

_MODULES = (
    "argparse array ast asyncio base64 bisect calendar cmath codecs collections concurrent.futures configparser "
    "contextlib copy csv ctypes dataclasses datetime decimal difflib dis email.message enum fractions functools "
    "getopt gettext glob gzip hashlib heapq html.parser http.client http.server imaplib inspect io ipaddress "
    "itertools json locale logging mailbox math multiprocessing.pool numbers operator optparse os pathlib pdb pickle "
    "pkgutil platform plistlib poplib pprint random re sched selectors shelve shlex shutil smtplib socket "
    "socketserver sqlite3 ssl statistics string struct subprocess tarfile tempfile textwrap threading timeit tokenize "
    "trace traceback turtle types typing unicodedata unittest.case unittest.mock urllib.parse urllib.request uuid "
    "warnings wave weakref xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipfile zoneinfo"
).split()

RECIPE = """
name: made-up
note: "A made-up run: <numbers> by formula & text from docstrings."
documents: {{inputs: [corpus.jsonl], train: {train}, valid: 40, test: 60, oracle: {oracle}, documents_per_shard: 100}}
tokenizer: {{vocab_size: 700}}
model: {{num_layers: 2, hidden_size: 32, ffn_hidden_size: 64, num_attention_heads: 4, num_query_groups: 2,
        sequence_length: 128}}
training: {{train_tokens: 200000, global_batch_size: 8, micro_batch_size: 4}}
synthesis: {{tokens: 60000}}
pairs: {{alpha: 0.5}}
neighbors: {{k: 10}}
evaluation: {{batch_size: 8, choice_questions: 30, choice_context: 24, choice_continuation: 16, quality_documents: 50,
             duplicate_pairs: 2000}}
marks: {{pairs.alpha: O}}
"""


def docstrings() -> list[str]:
    """Docstrings of at least 200 characters, no two alike, always in the same order."""
    found: dict[str, None] = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        members = [module, *(member for _, member in sorted(vars(module).items(), key=lambda pair: pair[0]))]
        for member in members:
            inner = [m for _, m in sorted(vars(member).items(), key=lambda p: p[0])] if inspect.isclass(member) else []
            for each in [member, *inner]:
                text = getattr(each, "__doc__", None)
                if isinstance(text, str) and len(text) >= 200:
                    found[inspect.cleandoc(text)] = None
    return list(found)


def text_run(root: Path, train: int = 250, oracle: int = 200) -> Run:
    """A run folder with documents, tokenizer and tokens, made by the real stages (once per process, then copied)."""
    shutil.copytree(_text_run(train, oracle), root, dirs_exist_ok=True)
    return Run.of(load_recipe(root / "recipe.yaml", [f"run_folder={root / 'run'}"]))


@functools.cache
def _text_run(train: int, oracle: int) -> Path:
    root = Path(tempfile.mkdtemp(prefix="made-up-run-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    texts = docstrings()[: train + oracle + 100]
    texts[3] = "<script>alert('seed')</script> & \"quotes\" " + texts[3]
    (root / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (root / "recipe.yaml").write_text(RECIPE.format(train=train, oracle=oracle))
    run = Run.of(load_recipe(root / "recipe.yaml", [f"run_folder={root / 'run'}"]))
    graph = [DocumentsStage(), TokenizerStage(), TokenizeStage()]
    for stage in graph:
        StageRunner(run, stage, graph).execute()
    return root


def synthetic_rows(run: Run, random: np.random.Generator, generations: int = 220) -> list[dict[str, Any]]:
    """Rows as the synthesizer writes them; the texts are shuffled sentences of two documents."""
    documents = [row for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    rows = []
    for generation in range(generations):
        seed_row = int(random.integers(len(documents)))
        other = documents[int(random.integers(len(documents)))]["text"]
        words = (documents[seed_row]["text"].split()[:40]) + other.split()[:40]
        random.shuffle(words)
        rows.append(
            {
                "id": f"syn-{seed_row}-{generation}",
                "text": " ".join(words),
                "tokens": len(words) * 3,
                "finished": generation % 20 != 0,
                "seed_id": documents[seed_row]["id"],
                "seed_row": seed_row,
                "generation": generation,
                "synthesizer": "0" * 64,
                "temperature": 1.0,
                "top_p": 0.9,
                "max_new_tokens": 62,
                "engine": "transformers",
                "precision": "fp32",
                "run_seed": 1,
                "round": 1,
                "pairs_file": "pairs/pairs.parquet",
                "pairs": "0" * 64,
            }
        )
    return rows
