"""`sbp plan` and `sbp status` import the stages: that must not pull in the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import megatron_sbp.stages.evaluate, megatron_sbp.stages.harness, megatron_sbp.stages.report
heavy = {"torch", "transformers", "sentence_transformers", "scann", "megatron.core", "matplotlib", "pyarrow", "numpy"}
heavy |= {"lm_eval", "datasets"}
print(sorted(heavy & set(sys.modules)))
"""


def test_stage_modules_import_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
