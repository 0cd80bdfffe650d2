"""The process in which lm-eval runs: `python harness_worker.py JOB.json`.

It is a program and imports nothing of this package, so that it runs in any environment that has lm-eval. Every line on
its standard output is a JSON object, an event; what libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import numbers
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

    from megatron_sbp.base.untyped import JsonObject, JsonValue


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    _die_with(job["parent"])
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: str, **more: JsonValue) -> None:
        lines.write(json.dumps({"event": event, **more}) + "\n")
        lines.flush()

    usual = gc.get_threshold()
    gc.set_threshold(100_000, *usual[1:])  # as base/collector.py: a fifth of the time of these imports
    try:
        import lm_eval
        import lm_eval.evaluator
        from lm_eval.api.registry import get_model
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        tell("failed", what="import", message=str(error))
        return
    gc.freeze()
    gc.set_threshold(*usual)
    # Nothing but the folder: a task of the same name that comes with lm-eval would fetch its data.
    manager = TaskManager(include_path=".", include_defaults=False)
    if job.get("items"):
        _tell_items(job["tasks"], manager, tell)
        return
    # It runs pip and nvidia-smi, which takes seconds for every task, and is not used.
    lm_eval.evaluator.add_env_info = lambda results: None
    tell("version", lm_eval=lm_eval.__version__)
    try:
        model = get_model(job["backend"]).create_from_arg_obj(job["model"], job["batch"])
    except Exception as error:
        traceback.print_exc()
        tell("failed", what="model", message=_message(error))
        return
    if job["answer_tokens"] is not None:  # lm-eval's 256 leave such a context no room for the question
        type(model).max_gen_toks = property(lambda self: job["answer_tokens"])
    tell("device", device=str(getattr(model, "device", "")))
    for place, name in enumerate(job["tasks"], 1):
        try:
            results = lm_eval.simple_evaluate(
                model=model,
                tasks=[name],
                num_fewshot=job["shots"].get(name),
                limit=job["limit"],
                task_manager=manager,
                log_samples=True,
            )
        except Exception as error:
            traceback.print_exc()
            tell("failed", what="task", task=name, message=_message(error))
            return
        measured = {entry: _task(entry, results) for entry in _entries(name, results)}
        tell("task", name=name, place=place, of=len(job["tasks"]), measured=measured)


def _tell_items(names: list[str], manager: TaskManager, tell: Callable[..., None]) -> None:
    """The documents of tasks as texts, a thousand in a line: the forms of each, see `_forms`."""
    from lm_eval.tasks import get_task_dict

    told = set()
    for name in names:
        try:
            for leaf, task in _loaded(get_task_dict([name], manager)):
                if leaf in told:  # named twice, or in two groups
                    continue
                told.add(leaf)
                documents = list(task.eval_docs)
                for begin in range(0, max(1, len(documents)), 1000):
                    tell("items", task=leaf, forms=[_forms(task, one) for one in documents[begin : begin + 1000]])
        except Exception as error:
            traceback.print_exc()
            tell("failed", what="task", task=name, message=_message(error))
            return


def _loaded(tasks: Mapping[object, object]) -> Iterator[tuple[str, Task]]:
    """The tasks in what lm-eval loaded: groups are dicts in it, whose keys need not be names."""
    for name, task in tasks.items():
        if isinstance(task, dict):
            yield from _loaded(task)
        else:
            yield str(name), task[1] if isinstance(task, tuple) else task


def _forms(task: Task, document: JsonValue) -> list[str]:
    """The texts that reveal a document of a task, each once.

    First the question with the right answer. Then, since a question can occur without its answer, the words that the
    task itself is to be looked for by (lm-eval's decontamination query), the document's field `question`, and what is
    asked; of templates without the words at their ends, "Question:" and "Answer:".
    """
    choices = task.doc_to_choice(document) if getattr(task.config, "doc_to_choice", None) is not None else []
    asked, answer = task.doc_to_text(document), task.doc_to_target(document)

    def told(part: object) -> str:
        if isinstance(part, list | tuple):  # several answers are right
            part = part[0] if part else ""
        if isinstance(part, int) and part in range(len(choices)):  # the number of a choice
            part = choices[part]
        return str(part)

    question = document.get("question") if isinstance(document, dict) else None
    filled = _filled(task, getattr(task.config, "doc_to_text", None), document) if isinstance(asked, str) else None
    alone = [_query(task, document), question, asked if filled is None else filled]
    forms = [f"{told(asked)} {told(answer)}", *(form for form in alone if isinstance(form, str))]
    stripped = [form.strip() for form in forms]
    return [stripped[0], *(form for form in dict.fromkeys(stripped[1:]) if form not in ("", stripped[0]))]


def _query(task: Task, document: JsonValue) -> JsonValue:
    """What lm-eval would look for to find a document in other text; None for a task that names nothing."""
    if not task.should_decontaminate():
        return None
    # Its own method reads a template's output as a Python literal, and so fails on text.
    filled = _filled(task, getattr(task.config, "doc_to_decontamination_query", None), document)
    return task.doc_to_decontamination_query(document) if filled is None else filled


def _filled(task: object, template: object, document: object) -> str | None:
    """A template with a document's values, without the words before the first and after the last of them.

    None for anything else than a template: a field, a function, a number.
    """
    if not isinstance(template, str) or template in (getattr(task, "features", None) or ()):
        return None
    from lm_eval.utils import apply_template, env

    parts = list(env.lex(template))
    while parts and parts[0][1] == "data":
        del parts[0]
    while parts and parts[-1][1] == "data":
        del parts[-1]
    return str(apply_template("".join(value for _, _, value in parts), document))


def _die_with(parent: int) -> None:
    """This process ends with the one that started it, even when that is killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


def _entries(name: str, results: JsonObject) -> Iterator[str]:
    """What has figures of its own: the task, the group, or else all that is in it."""
    figures = results["results"].get(name, {})
    if any("," in key for key in figures):
        yield name
        return
    inner = results["group_subtasks"].get(name) or [task for task in results["results"] if task != name]
    for task in inner:
        yield from _entries(task, results)


def _leaves(name: str, results: JsonObject) -> Iterator[str]:
    for task in results["group_subtasks"].get(name) or ():
        yield from _leaves(task, results)
    if name in results["samples"]:
        yield name


def _task(name: str, results: JsonObject) -> JsonObject:
    leaves = list(dict.fromkeys(_leaves(name, results)))
    figures, metrics = results["results"][name], {}
    for key, value in figures.items():
        metric, comma, chosen = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, numbers.Real):
            continue
        higher = [results["higher_is_better"].get(task, {}).get(metric) for task in (name, *leaves)]
        stderr = figures.get(f"{metric}_stderr,{chosen}")
        metrics[metric if chosen == "none" else key] = {
            "value": float(value),
            "stderr": float(stderr) if isinstance(stderr, numbers.Real) else None,
            "higher_is_better": next((found for found in higher if found is not None), True),
            "units": _units(results, leaves, metric, chosen),
        }
    digest = hashlib.sha256()
    for leaf in leaves:
        for document in dict.fromkeys((sample["doc_id"], sample["doc_hash"]) for sample in results["samples"][leaf]):
            digest.update(f"{leaf} {document[1]}\n".encode())
    shots = {results["n-shot"].get(leaf) for leaf in leaves}
    return {
        "shots": shots.pop() if len(shots) == 1 else None,
        "version": results["versions"].get(name),
        "samples": sum(results["n-samples"][leaf]["effective"] for leaf in leaves),
        "documents": digest.hexdigest(),
        "metrics": metrics,
    }


def _units(results: JsonObject, leaves: list[str], metric: str, chosen: str) -> list[list[float]] | None:
    """What every document gave: a number, or a log-likelihood with the words or bytes that it is of."""
    found = []
    for leaf in leaves:
        for sample in results["samples"][leaf]:
            if sample["filter"] == chosen:
                value = sample.get(metric)
                parts = value if isinstance(value, list | tuple) and len(value) == 2 else [value, 1]
                if not all(isinstance(part, numbers.Real) for part in parts):
                    return None
                found.append([float(part) for part in parts])
    return found


if __name__ == "__main__":
    main()
