"""The `sbp` command: from its arguments to its exit status.

Exit statuses: docs/exit_status.md.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence

from megatron_sbp.base.errors import NO_ROOM, Fault, InputError, told_of
from megatron_sbp.base.open_files import allow_many
from megatron_sbp.base.progress import say
from megatron_sbp.cli import run_verbs, show_verbs
from megatron_sbp.cli.arguments import make_parser, mines, parse, without_options
from megatron_sbp.executor.claim import recipe_of
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, or raises KeyboardInterrupt (megatron_sbp/__main__.py)."""
    words = list(sys.argv[1:] if words is None else words)
    # No stage may contact a model hub unless the user allows it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if words[:1] != ["submit"]:  # jobs inherit the environment, and scripts/job.sh lets each use all of its cores
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from megatron_sbp.base.stop_file import STATUS as STOPPED
    from megatron_sbp.base.stop_file import Stopped
    from megatron_sbp.executor.stage_processes import StageFailed

    allow_many()
    try:
        status = _main(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `sbp status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail again
        return 128 + signal.SIGPIPE
    except InputError as error:
        print(f"sbp: error: {error}", file=sys.stderr)
        return 2
    except Fault as error:
        from megatron_sbp.executor.job_environment import JobEnvironment
        from megatron_sbp.executor.retry import status_after

        print(f"sbp: fault: {error}", file=sys.stderr)
        return status_after(error, JobEnvironment.of(os.environ))
    except Stopped as error:
        print(f"sbp: {error}", file=sys.stderr)
        return STOPPED
    except StageFailed as error:
        if error.status == STOPPED:  # the stage's process has said so
            return STOPPED
        print(f"sbp: {error}; finished work is kept, run the same command again to resume", file=sys.stderr)
        return error.status if error.status > 0 else 128 - error.status
    except OSError as error:
        told = told_of(error, words)
        if told is not None:
            kept = "; finished work is kept" if error.errno in NO_ROOM else ""
            print(f"sbp: error: {told}{kept}", file=sys.stderr)
            return 2
        return _unexpected(error)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Prints the traceback of an unexpected error; the status says whether a job is to be retried."""
    import traceback

    from megatron_sbp.executor.job_environment import JobEnvironment
    from megatron_sbp.executor.retry import status_after, unexpected

    traceback.print_exception(error)
    return status_after(unexpected(error), JobEnvironment.of(os.environ))


def _main(words: list[str]) -> int:
    from megatron_sbp.stages.graph import all_stages
    from megatron_sbp.stages.stage import by_name

    read = functools.cache(lambda file, overrides: recipe_of(file, list(overrides)))
    recipe = _recipe_among(words, read)
    graph = all_stages(recipe)
    if words[:1] == ["harness"] and all(stage.name != "harness" for stage in graph):
        if recipe is None and (given := without_options(words[1:])):
            read(given[0], tuple(word for word in given[1:] if "=" in word))  # raises what is wrong with it
        message = "names no task: `sbp harness RECIPE` runs the lm-eval tasks that it names (docs/evaluation.md)"
        raise InputError(message, key="evaluation.harness.tasks")
    options = parse(make_parser(graph), words)
    if options.verb == "schema":
        return show_verbs.show_schema()
    if options.verb == "doctor":
        from megatron_sbp.doctor.run import doctor

        recipe = options.recipe and read(options.recipe, tuple(options.overrides))
        return doctor(Run.of(recipe) if recipe else None, options.json, options.timeout)
    run = Run.of(read(options.recipe, tuple(options.overrides)))
    if run.recipe is not recipe:  # the first guess at the words was wrong (`--`, an abbreviation)
        graph = all_stages(run.recipe)
        options = parse(make_parser(graph), words)
    if options.verb == "rehearse" or (options.verb == "submit" and options.rehearse):
        return run_verbs.rehearse(run, options)
    if options.verb in ("run", "submit"):
        from megatron_sbp.executor.preflight import check_inputs

        try:
            check_inputs(run.recipe)
        except InputError as error:
            if options.verb == "run" or not options.dry_run:
                raise
            say(f"warning: without --dry-run, this would be refused: {error}")
    verbs: dict[str, Callable[[], int]] = {
        "plan": lambda: show_verbs.show_plan(run, options),
        "run": lambda: run_verbs.run_here(run, graph, options),
        "submit": lambda: run_verbs.submit_jobs(run, graph, options),
        "cancel": lambda: run_verbs.cancel_jobs(run),
        "status": lambda: show_verbs.show_status(run, graph, options),
        "verify": lambda: show_verbs.verify_files(run, graph),
        "publish": lambda: show_verbs.publish(run, graph, options.to),
        "trace": lambda: show_verbs.show_trace(run, graph, options),
    }
    if options.verb in verbs:
        return verbs[options.verb]()
    stage = by_name(graph, options.verb)
    if mines(stage) and (options.explore or options.documents or options.examples or options.json):
        return show_verbs.explore_pairs(run, stage, graph, options)
    python = stage.python(run)
    if python is not None and not options.in_its_python:
        from megatron_sbp.base.processes import become, module_words

        become(python, [*module_words("megatron_sbp")[1:], words[0], "--in-its-python", *words[1:]])
    status = run_verbs.run_stage(run, stage, graph, options)
    if options.verb == "report" and options.shard is None and run.results_file.exists():
        show_verbs.print_results(run)
    return status


def _recipe_among(words: list[str], read: Callable[[str, tuple[str, ...]], Recipe]) -> Recipe | None:
    """The recipe that the command line names: its arms and synthesizers decide which stages there are.

    None where no recipe is named or it cannot be read; the error comes when the words have been parsed.
    """
    given = without_options(words[1:])
    if not given:
        return None
    try:
        return read(given[0], tuple(word for word in given[1:] if "=" in word))
    except InputError:
        return None
