"""Verbs of `sbp` that show something: the plan, the state, results, pairs, where a document comes from."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError, printable
from megatron_sbp.base.progress import say
from megatron_sbp.stages.run_folder import Run

if TYPE_CHECKING:
    from megatron_sbp.stages.stage import Stage

WATCH_SECONDS = 10.0
"""Time between two prints of `sbp status --watch`."""


def show_plan(run: Run, options: argparse.Namespace) -> int:
    """`sbp plan`."""
    import json
    import shlex

    from megatron_sbp.executor.preflight import plan_run
    from megatron_sbp.planning.hardware import given_hardware
    from megatron_sbp.planning.text import format_plan

    plan = plan_run(run, given_hardware(options.gpu, options.mfu, options.writing_mfu))
    if options.json:
        print(json.dumps(plan, indent=2))
        return 0
    print(format_plan(plan))
    if options.commands:
        from megatron_sbp.recipe.tuning_start import start_folder
        from megatron_sbp.stages.scopes import arm_run, synthesizer_run
        from megatron_sbp.stages.training_stage import arguments_of

        trainings = [(arm, arm_run(run, arm), arm) for arm in run.recipe.arms]
        trainings += [
            (f"the synthesizer {name}", synthesizer_run(run, name), "synthesizer")
            for name in run.recipe.tuned_synthesizers
        ]
        for title, inner, training in trainings:
            if training == "synthesizer" and start_folder(inner.recipe):
                print("\n# the synthesizer's start, as the stage `tune` makes it")
                print(_wrapped(_import(inner, options)))
            print(f"\n# {title}, on {run.recipe.launch.nodes} x {run.recipe.launch.ranks_per_node} ranks")
            words = ["python", "-m", "megatron_sbp.training.pretrain", *arguments_of(inner, training)]
            print(_wrapped(shlex.join(words)))
    else:
        print("\nAdd --commands for the exact Megatron commands.")
    return 0


def _import(run: Run, options: argparse.Namespace) -> str:
    import shlex

    from megatron_sbp.recipe.tuning_start import start_folder

    words = ["python", "tools/import_hf.py", "--checkpoint", str(start_folder(run.recipe))]
    words += ["--tokenizer", str(run.tokenizer), "--recipe", options.recipe, "--output", str(run.model("start"))]
    return shlex.join(words)


def _wrapped(command: str) -> str:
    return command.replace(" --", " \\\n    --")


def show_schema() -> int:
    """`sbp schema`."""
    import json

    from megatron_sbp.recipe.schema import schema_of

    print(json.dumps(schema_of(), indent=2))
    return 0


def show_status(run: Run, graph: list[Stage], options: argparse.Namespace) -> int:
    """`sbp status`: prints the state once, or with --watch again and again until every stage is finished."""
    every = WATCH_SECONDS if options.watch else None
    while True:
        if every is not None and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        finished = _print_status(run, graph)
        if every is None or finished:
            return 0 if finished or not options.check else 4
        print(flush=True)
        time.sleep(every)


def _print_status(run: Run, graph: list[Stage]) -> bool:
    """Whether every stage is finished."""
    from megatron_sbp.executor.job_notes import notes_on
    from megatron_sbp.executor.slurm_queue import jobs_of
    from megatron_sbp.executor.state import StageState

    print(f"{run.recipe.name}: {run.root}, {time.strftime('%Y-%m-%d %H:%M:%S')}")
    if run.stop_file.exists():
        print(f"  {run.stop_file} exists: nothing starts until it is removed")
    width = max(len(stage.name) for stage in graph)
    states = {stage.name: StageState(run, stage, graph, reads_data=False).why() for stage in graph}
    for name, state in states.items():
        print(f"  {name:<{width}}  {state}")
    for job in jobs_of(run):
        print(f"  {job}")
        for line in notes_on(run, job):
            print(printable(f"    {line}", lines=False))
    return all(state.startswith("finished") for state in states.values())


def publish(run: Run, graph: list[Stage], target: Path) -> int:
    """`sbp publish`: prints the folders that it wrote."""
    from megatron_sbp.executor.publishing import publish_run

    for folder in publish_run(run, graph, target):
        print(folder)
    return 0


def show_trace(run: Run, graph: list[Stage], options: argparse.Namespace) -> int:
    """`sbp trace`."""
    import json

    from megatron_sbp.executor.read_files import WrittenFiles
    from megatron_sbp.stages.tracing import trace_document
    from megatron_sbp.synthesis.trace_text import format_trace

    written = WrittenFiles(run, [stage.name for stage in graph])

    def check(paths: Sequence[Path]) -> None:
        written.check(map(run.relative, paths))

    found = trace_document(run, options.document, options.synthesizer, options.replicate, check)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else printable(format_trace(found)))
    return 0


def explore_pairs(run: Run, stage: Stage, graph: list[Stage], options: argparse.Namespace) -> int:
    """`sbp pairs --explore`."""
    import json

    from megatron_sbp.executor.manifests import check_present
    from megatron_sbp.executor.read_files import check_unchanged
    from megatron_sbp.executor.state import StageState
    from megatron_sbp.pairing.exploration_text import format_exploration
    from megatron_sbp.stages.exploring import DOCUMENTS, EXAMPLES, explore_run
    from megatron_sbp.stages.scopes import ScopedStage

    if not options.explore:
        raise InputError("only works with `--explore`", key="--documents, --examples, --json")
    inputs = StageState(run, stage, graph, reads_data=False).inputs()  # raises where a stage before it is not finished
    check_present(run, inputs)
    tokenizer = map(run.relative, run.tokenizer.iterdir())  # shows the texts
    check_unchanged(run, [*stage.reads(run), "tokenizer"], [*inputs, *tokenizer])
    stale = ", ".join(_stale_before(run, stage, graph))
    if stale:
        say(f"warning: made under other settings or inputs than this recipe's, as `sbp status` says: {stale}")
    assert isinstance(stage, ScopedStage), stage
    found = explore_run(stage.scoped(run), options.documents or DOCUMENTS, options.examples or EXAMPLES)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else printable(format_exploration(found)))
    return 0


def _stale_before(run: Run, stage: Stage, graph: list[Stage]) -> list[str]:
    """Stages that `stage` directly or indirectly reads from, and that would run again."""
    from megatron_sbp.executor.state import StageState

    needed = set(stage.reads(run))
    for earlier in reversed(graph):
        if earlier.name in needed:
            needed |= earlier.reads(run).keys()
    return [
        each.name
        for each in graph
        if each.name in needed and StageState(run, each, graph, reads_data=False).why().startswith("stale")
    ]


def verify_files(run: Run, graph: list[Stage]) -> int:
    """`sbp verify`: exit status 1 where a file changed."""
    from megatron_sbp.executor.verify import verify

    found, count, size = verify(run, graph)
    for name, wrong in found.items():
        for item in wrong:
            print(f"{name}: {item}")
    damaged = sum(map(len, found.values()))
    left_out = [stage.name for stage in graph if stage.name not in found]
    print(
        f"{count:,} files of {len(found)} stages, {size:,} bytes: "
        + (f"{damaged:,} damaged; `sbp run` says what can be done" if damaged else "all unchanged")
        + (f"; not finished: {', '.join(left_out)}" if left_out else "")
    )
    return 1 if damaged else 0


def print_results(run: Run) -> None:
    """The results of a finished run, and where its page is."""
    from megatron_sbp.base import files
    from megatron_sbp.report.text import format_results

    print(format_results(files.read_json(run.results_file)))
    print(f"\nFull report: {run.report_file}")
