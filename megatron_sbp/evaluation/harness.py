"""lm-eval on one exported checkpoint, in a process of its own (`harness_worker.py`)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.base.hub import offline
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.base.vllm_library import device_arguments
from megatron_sbp.evaluation.harness_tasks import check_harness, harness_python, task_folder
from megatron_sbp.evaluation.statistics import ratio_stderr
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.harness_checks import SECTION as KEY
from megatron_sbp.synthesis import vllm_arguments

_WORKER = Path(__file__).with_name("harness_worker.py")
_SHORT = 512
"""Contexts below this many tokens leave a quarter for generated answers, unless a task says how much."""
_SHOWN = 15
"""Last lines of the worker's log in a message."""


def run_harness(checkpoint: Path, recipe: Recipe, log: Path, label: str) -> JsonObject:
    """Runs the recipe's tasks.

    Args:
        checkpoint: folder of a Hugging Face checkpoint with its tokenizer.
        recipe: `evaluation.harness` with tasks; of `launch`, `model` and `synthesis.vllm` what the model needs.
        log: gets what lm-eval prints.
        label: for lines of progress.

    Returns:
        JSON-able: `lm_eval` (its version), `backend`, `precision`, `device`, `limit`, and `tasks`: by name `shots`
        (None where a group's tasks differ in it), `version`, `samples`, `documents` (a digest), and `metrics`, see
        `with_units`; those without a finite value are left out. Names of groups without figures of their own, and of
        tags, are replaced by their tasks.

    Raises:
        InputError: see `check_harness`; lm-eval cannot load the checkpoint, or a task fails.
        Fault: the process died.
    """
    check_harness(recipe)
    harness = recipe.evaluation.harness
    found: JsonObject = {
        "lm_eval": None,
        "backend": harness.backend,
        "precision": harness.precision,
        "device": None,
        "limit": harness.limit,
        "tasks": {},
    }
    say(f"{label}: {len(harness.tasks)} task{'s' * (len(harness.tasks) > 1)} with lm-eval ({harness.backend})")
    for event in worker_events(_job(checkpoint, recipe), recipe, log, checkpoint):
        if event["event"] == "task":
            for name, task in event["measured"].items():
                measured, task["metrics"] = task["metrics"], {}
                for metric, figures in measured.items():
                    if math.isfinite(figures["value"]):
                        task["metrics"][metric] = with_units(figures)
                    else:  # a mean over documents none of which has a value, or a broken checkpoint
                        say(f"{label}: {metric} of {name} is {figures['value']}: left out")
                found["tasks"][name] = task
            say(f"{label}: {event['name']} ({event['place']} of {event['of']}){_told(event)}")
        else:
            found |= {key: value for key, value in event.items() if key != "event"}
    return found


def with_units(figures: JsonObject) -> JsonObject:
    """A metric with what its value is made of.

    Args:
        figures: `value` (finite), `stderr`, `higher_is_better`, and `units`: of every document a number and its weight.

    Returns:
        `value`, `stderr`, `higher_is_better`; `scale`, `sums` and `counts` (None where all are 1). With r = sum of sums
        / sum of counts the value is r (`scale` mean), exp(-r) (perplexity), or -r / ln 2 (bits). Where it is none of
        these (an F1 score, or a mean over tasks of a group), scale, sums and counts are None: nothing can be said about
        single documents. `stderr` is lm-eval's, and where it gives none, that of the ratio, by linearization.
    """
    result = {key: figures[key] for key in ("value", "stderr", "higher_is_better")}
    if result["stderr"] is not None and not math.isfinite(result["stderr"]):
        result["stderr"] = None
    units = np.array(figures["units"] or [], np.float64).reshape(-1, 2)
    scale = _scale(figures["value"], units) if len(units) else None
    if scale is None:
        return {**result, "scale": None, "sums": None, "counts": None}
    sums, counts = units.T
    if result["stderr"] is None:
        error = ratio_stderr(sums, counts)
        slope = {"mean": 1.0, "perplexity": figures["value"], "bits": 1 / math.log(2)}[scale]
        result["stderr"] = None if error is None else slope * error
    alike = bool((counts == 1).all())
    return {**result, "scale": scale, "sums": sums.tolist(), "counts": None if alike else counts.tolist()}


def _scale(value: float, units: np.ndarray) -> str | None:
    weight = float(units[:, 1].sum())
    if weight <= 0:
        return None
    ratio = float(units[:, 0].sum()) / weight
    with np.errstate(over="ignore"):
        values = {"mean": ratio, "perplexity": float(np.exp(-ratio)), "bits": -ratio / math.log(2)}
    return next(
        (name for name, other in values.items() if math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-9)), None
    )


def _job(checkpoint: Path, recipe: Recipe) -> JsonObject:
    harness, vllm = recipe.evaluation.harness, recipe.synthesis.vllm
    precision = {"fp32": "float32", "bf16": "bfloat16"}[harness.precision]
    model: JsonObject = {"pretrained": str(checkpoint.resolve()), "dtype": precision}
    device = compute_device(recipe.launch.device)
    batch: JsonObject = {"batch_size": harness.batch_size, "device": device}
    if harness.backend == "vllm":
        model |= {
            "tensor_parallel_size": vllm.tensor_parallel,
            "max_model_len": recipe.model.sequence_length,
            **device_arguments(device == "cpu", vllm.gpu_memory, vllm.eager),
        }
        batch = {"batch_size": "auto"}
    return {
        "backend": harness.backend,
        "model": model,
        "batch": batch,
        "shots": harness.shots,
        "limit": harness.limit,
        "answer_tokens": recipe.model.sequence_length // 4 if recipe.model.sequence_length < _SHORT else None,
    }


def worker_events(job: JsonObject, recipe: Recipe, log: Path, checkpoint: Path | None = None) -> Iterator[JsonObject]:
    """Starts the worker and yields what it reports, as it comes.

    Args:
        job: see `harness_worker.py`, without `tasks` and `parent`.
        recipe: `evaluation.harness` with tasks, checked by `check_harness`.
        log: gets what lm-eval prints.
        checkpoint: that the job names, for messages.

    Raises:
        InputError: lm-eval cannot load the checkpoint, or a task fails.
        Fault: the process died.
    """
    folder, python = task_folder(recipe), harness_python(recipe) or Path(sys.executable)
    assert folder is not None
    job = {**job, "tasks": recipe.evaluation.harness.tasks, "parent": os.getpid()}
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sbp-harness-") as scratch, open(log, "wb") as errors:
        file = Path(scratch) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "HF_DATASETS_CACHE": str(Path(scratch) / "datasets"), "TQDM_MININTERVAL": "10"}
        environment.setdefault("TOKENIZERS_PARALLELISM", "false")
        if recipe.evaluation.harness.backend == "vllm":
            environment |= vllm_arguments.environment(recipe.synthesis.vllm)
        if offline():
            environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        # -P: imports nothing from the worker's own folder, which has a statistics.py. In the task folder, because data
        # files are named relative to it.
        command = [str(python.absolute()), "-P", str(_WORKER), str(file)]
        worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert worker.stdout is not None
            for line in worker.stdout:
                if not line.endswith(b"\n"):
                    break  # it died while it wrote
                event = json.loads(line)
                if event["event"] == "failed":
                    raise _error(event, folder, log, checkpoint)
                yield event
            status = worker.wait()
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
    if status:
        raise Fault(f"lm-eval ended with status {status}; the end of its log:\n{_tail(log)}", file=log)


def _error(event: JsonObject, folder: Path, log: Path, checkpoint: Path | None) -> InputError:
    message, more = event["message"], f"; its log is {log}"
    if event["what"] == "import":
        return InputError(f"lm-eval cannot be imported ({message}): pip install lm-eval", key=KEY)
    if event["what"] == "model":
        return InputError(f"lm-eval cannot load this checkpoint ({message}){more}", file=checkpoint)
    return InputError(f"lm-eval fails on the task '{event['task']}' ({message}){more}", file=folder, key=f"{KEY}.tasks")


def _told(event: JsonObject) -> str:
    """The first figure, where there is one task."""
    if len(event["measured"]) != 1:
        return f": {len(event['measured'])} tasks"
    [task] = event["measured"].values()
    for metric, figures in task["metrics"].items():
        value, error = figures["value"], figures["stderr"]
        shown = ".4f" if max(abs(value), error or 0) < 1e6 else ".3g"  # perplexities of text unlike any in D
        error = "" if error is None else f" ± {error:{shown}}"
        return f": {metric} {value:{shown}}{error} on {task['samples']:,} documents"
    return ""


def _tail(log: Path) -> str:
    with open(log, encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, _SHOWN)).strip()
