"""The `sbp` command.

Exit statuses are listed in docs/exit_status.md: 0 done; 1 a fault; 2 wrong input or a full disk; 3 a training saved a
checkpoint and should be started again.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from megatron_sbp import __version__
from megatron_sbp.base.errors import NO_ROOM, Fault, InputError, printable, told_of
from megatron_sbp.base.open_files import allow_many
from megatron_sbp.executor.claim import claim, recipe_of, write_resolved
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run

DESCRIPTION = """Synthetic Bootstrapped Pretraining (arXiv 2509.15248) on NVIDIA Megatron.

  sbp plan RECIPE                 show tokens, samples, epochs, FLOPs, memory, and disk of every arm
  sbp doctor [RECIPE]             check this machine, or an allocation (`srun ... sbp doctor RECIPE`), in seconds
  sbp rehearse RECIPE             run a small version of it all, in minutes (on Slurm: `sbp submit RECIPE --rehearse`)
  sbp run RECIPE                  run everything on this machine; run it again to resume
  sbp submit RECIPE               submit everything as Slurm jobs; submit again to resume
  sbp cancel RECIPE               cancel the jobs that are queued or running
  sbp status RECIPE               show the state of every stage and job
  sbp verify RECIPE               read every finished file and compare digests
  sbp report RECIPE               print the results; the page is RUN/report/index.html
  sbp pairs RECIPE --explore      show which neighbors other thresholds would keep, with pairs to read
  sbp trace RECIPE ID             show where a synthetic document comes from, and what the filters said about it
  sbp publish RECIPE --to FOLDER  write corpus and models, with cards, in the layout of the Hugging Face hub
  sbp schema                      print the JSON schema of recipes, for completion and checks in an editor

Each stage is also a command; a recipe with more arms or synthesizers, or with benchmark tasks for lm-eval
(evaluation.harness), has more of them, such as `sbp harness RECIPE`. Stages that several processes can share take
--shard i/n (i from 1 to n):
"""

EPILOG = """An arm is a model to compare; all arms are trained on the same number of tokens. A synthesizer writes
synthetic documents, which arms can read. See docs/experiments.md.

RECIPE is a recipe file, or a run folder, meaning the recipe it was last run with.
Any recipe key can be overridden after it: training.learning_rate=1e-3 seed=2 run_folder=/scratch/run.
Files are complete or absent: any command can be killed at any time and run again."""

SCHEMA = """Prints the JSON schema of a recipe (draft 2020-12). An editor with a YAML language server completes and
checks the keys of a recipe whose first line names a file that holds the schema:

  # yaml-language-server: $schema=../recipe.schema.json"""

PUBLISH = """Writes the synthetic documents as parquet and every exported model, each with a card, into a new folder in
the layout of the Hugging Face hub. Nothing is uploaded; unfinished parts are left out."""

TRACE = """Shows a synthetic document with its seed document, the pairs of the seed that the synthesizer was tuned on,
how it was sampled, and what every filter said about it. Raw generations have ids too; the run need not be finished."""

DOCTOR = """Checks in seconds for what would stop a run or slow it down: packages, GPUs and their memory, Slurm, models,
inputs, and the file system of the run folder; under srun or torchrun, also every node, and an all-reduce between the
ranks. Prints a line per check: ok, warn, or fail, with what to do. Exit status 1 if a check failed. Without RECIPE,
only the machine is checked."""

REHEARSE = """Runs the recipe at a small scale: the same stages, engines, flags, and file layouts with smaller sizes, on
made-up documents if the corpus is not on this machine. Prints what was replaced, and so was not rehearsed."""

RECIPE_HELP = "recipe YAML file, or a run folder"

WATCH_SECONDS = 10.0
"""Time between two prints of `sbp status --watch`."""

_WITH_VALUE = (
    "--until", "--jobs", "--discard", "--repair", "--shard", "--launcher", "--documents", "--examples",
    "--gpu", "--mfu", "--writing-mfu", "--timeout", "--to", "--synthesizer", "--replicate",
)  # fmt: skip
"""Options whose value is the next word: all others are flags."""


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, or raises KeyboardInterrupt (megatron_sbp/__main__.py)."""
    words = list(sys.argv[1:] if words is None else words)
    # Wherever they run, no stage may try to reach a model hub unless the user says so.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
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
        from megatron_sbp.executor.retry import status_after

        print(f"sbp: fault: {error}", file=sys.stderr)
        return status_after(error, os.environ)
    except Stopped as error:
        print(f"sbp: {error}", file=sys.stderr)
        return STOPPED
    except StageFailed as error:
        if error.status == STOPPED:  # the stage's process has said so
            return STOPPED
        print(f"sbp: {error}; finished work is kept, run the same command again to resume", file=sys.stderr)
        return error.status if error.status > 0 else 128 - error.status
    except OSError as error:
        told = told_of(error)
        if told is not None:
            kept = "; finished work is kept" if error.errno in NO_ROOM else ""
            print(f"sbp: error: {told}{kept}", file=sys.stderr)
            return 2
        return _unexpected(error)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Prints the traceback of an error that nobody expected; the status says whether a job is to be retried."""
    import traceback

    from megatron_sbp.executor.retry import status_after, unexpected

    traceback.print_exception(error)
    return status_after(unexpected(error), os.environ)


def _main(words: list[str]) -> int:
    from megatron_sbp.stages.graph import all_stages
    from megatron_sbp.stages.stage import by_name

    read = functools.cache(lambda file, overrides: recipe_of(file, list(overrides)))
    recipe = _recipe_among(words, read)
    graph = all_stages(recipe)
    if words[:1] == ["harness"] and all(stage.name != "harness" for stage in graph):
        message = "names no task: `sbp harness RECIPE` runs the lm-eval tasks that it names (docs/evaluation.md)"
        raise InputError(message, key="evaluation.harness.tasks")
    parser = _parser(graph)
    options = _parse(parser, words)
    if options.verb == "schema":
        return _schema()
    if options.verb == "doctor":
        from megatron_sbp.doctor.run import doctor

        recipe = options.recipe and read(options.recipe, tuple(options.overrides))
        return doctor(Run.of(recipe) if recipe else None, options.json, options.timeout)
    recipe_words = [options.recipe, *options.overrides]
    run = Run.of(read(options.recipe, tuple(options.overrides)))
    if run.recipe is not recipe:  # the first guess at the words was wrong (`--`, an abbreviation)
        graph = all_stages(run.recipe)
        options = _parse(_parser(graph), words)
    if options.verb == "plan":
        return _plan(run, options)
    if options.verb == "rehearse" or (options.verb == "submit" and options.rehearse):
        return _rehearse(run, options)
    if options.verb in ("run", "submit"):
        from megatron_sbp.executor.preflight import check_inputs

        check_inputs(run.recipe)
    if options.verb == "run":
        from megatron_sbp.base.stop_file import StopFile
        from megatron_sbp.executor.local import run_all

        StopFile(run.stop_file).refuse()
        claim(run)
        note = functools.partial(_note_recipe, run)
        allowed = {"discard": options.discard, "repair": options.repair}
        run_all(run, graph, recipe_words, until=options.until, jobs=options.jobs, begins=note, **allowed)
        if run.results_file.exists() and options.until in (None, graph[-1].name):
            _print_results(run)
        return 0
    if options.verb == "status":
        return _status(run, graph, options.check, WATCH_SECONDS if options.watch else None)
    if options.verb == "verify":
        return _verify(run, graph)
    if options.verb == "publish":
        return _publish(run, graph, options.to)
    if options.verb == "trace":
        return _trace(run, options)
    if options.verb == "cancel":
        return _cancel(run)
    if options.verb == "submit":
        from megatron_sbp.base.stop_file import StopFile
        from megatron_sbp.executor.slurm import submit

        StopFile(run.stop_file).refuse()
        if not options.dry_run:
            claim(run)
        note = functools.partial(_note_recipe, run)
        allowed = {"discard": options.discard, "repair": options.repair}
        submit(run, options.recipe, options.overrides, graph, dry_run=options.dry_run, begins=note, **allowed)
        return 0
    stage = by_name(graph, options.verb)
    if _mines(stage) and (options.explore or options.documents or options.examples or options.json):
        return _explore(run, stage, graph, options)
    python = stage.python(run)
    if python is not None:
        from megatron_sbp.base.processes import become

        become(python, ["-m", "megatron_sbp", *words])
    if options.verb == "report" and options.shard is None and run.results_file.exists():
        _stage(run, stage, graph, options)
        _print_results(run)
        return 0
    return _stage(run, stage, graph, options)


def _recipe_among(words: list[str], read: Callable[[str, tuple[str, ...]], Recipe]) -> Recipe | None:
    """The recipe that the command line names: its arms and synthesizers decide which stages there are.

    None where no recipe is named or it cannot be read; the error comes when the words have been parsed.
    """
    given = _without_options(words[1:])
    if not given:
        return None
    try:
        return read(given[0], tuple(word for word in given[1:] if "=" in word))
    except InputError:
        return None


def _without_options(words: list[str]) -> list[str]:
    """The words that are neither options nor their values. Options may be abbreviated, as argparse allows."""
    found, before = [], ""
    for word in words:
        is_value = before.startswith("--") and any(option.startswith(before) for option in _WITH_VALUE)
        if not is_value and not word.startswith("-"):
            found.append(word)
        before = "" if is_value else word
    return found


def _parser(graph) -> argparse.ArgumentParser:
    width = max(len(stage.name) for stage in graph) + 2
    listing = "\n".join(f"  sbp {stage.name:<{width}}{stage.title}" for stage in graph)
    parser = argparse.ArgumentParser(
        prog="sbp",
        description=DESCRIPTION + listing,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="sbp VERB RECIPE [key=value ...] [options]",
    )
    parser.add_argument("--version", action="version", version=f"megatron-sbp {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", help=argparse.SUPPRESS, prog="sbp")

    def verb(name: str, title: str, optional: bool = False) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter  # keeps the lines of the epilog
        sub = verbs.add_parser(name, description=title, epilog=EPILOG, formatter_class=raw)
        sub.add_argument("recipe", nargs="?" if optional else None, help=RECIPE_HELP)
        add_overrides(sub)
        return sub

    def add_overrides(sub: argparse.ArgumentParser) -> None:
        # Without a default, argparse counts them among the required arguments in its message.
        told = "recipe values that override the file's"
        sub.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=told)

    plan = verb("plan", "Tokens, samples, epochs, FLOPs, memory, and disk of every arm, and the Megatron commands.")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.add_argument("--commands", action="store_true", help="print the exact Megatron command of every training")
    plan.add_argument("--gpu", metavar="NAME", help="type of the GPUs: H100 (default), A100, H200, ...")
    plan.add_argument("--mfu", type=float, metavar="SHARE", help="share of their peak in training (default: 0.4)")
    plan.add_argument("--writing-mfu", type=float, metavar="SHARE", help="the same for writing text (default: 0.05)")
    run = verb("run", "Runs everything that is missing on this machine.")
    run.add_argument("--until", metavar="STAGE", choices=[stage.name for stage in graph], help="the last stage to run")
    run.add_argument(
        "--jobs",
        type=_count,
        default=1,
        metavar="N",
        help="run up to N independent stages at a time, such as the trainings of a study; each gets its share of the "
        "cores (you set launch.threads_per_rank) and of the GPUs (default: 1)",
    )
    _add_permissions(run, [stage.name for stage in graph])
    submit = verb("submit", "Submits everything that is missing as Slurm jobs.")
    submit.add_argument("--dry-run", action="store_true", help="print the sbatch commands, submit nothing")
    submit.add_argument("--rehearse", action="store_true", help="submit a rehearsal of the recipe: see `sbp rehearse`")
    _add_permissions(submit, [stage.name for stage in graph])
    doctor = verb("doctor", DOCTOR, optional=True)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long a step waits for other ranks (default: 60)",
    )
    rehearse = verb("rehearse", REHEARSE)
    rehearse.add_argument("--dry-run", action="store_true", help="print what differs and the small recipe, run nothing")
    rehearse.add_argument("--until", metavar="STAGE", choices=[stage.name for stage in graph], help="the last stage")
    verb("cancel", "Cancels the run's Slurm jobs that are queued or running. Finished work stays.")
    status = verb("status", "The state of every stage, and of the Slurm jobs.")
    status.add_argument("--check", action="store_true", help="for scripts: exit status 4 while a stage is not finished")
    status.add_argument("--watch", action="store_true", help="print it every 10 seconds until every stage is finished")
    verb(
        "verify",
        "Reads every file of the finished stages and compares its digest with the manifest's. Exit status 1 if "
        "anything changed.",
    )
    publish = verb("publish", PUBLISH)
    publish.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new or an empty folder")
    raw = argparse.RawDescriptionHelpFormatter
    trace = verbs.add_parser("trace", description=TRACE, epilog=EPILOG, formatter_class=raw)
    trace.add_argument("recipe", help=RECIPE_HELP)
    trace.add_argument("document", help="id of a synthetic document, such as syn-17-0")
    add_overrides(trace)
    trace.add_argument("--synthesizer", metavar="NAME", help="the one that wrote it (default: the first with the id)")
    trace.add_argument("--replicate", type=int, default=1, metavar="N", help="the replicate it belongs to (default: 1)")
    trace.add_argument("--json", action="store_true", help="print everything as JSON")
    schema = verbs.add_parser("schema", description=SCHEMA, formatter_class=argparse.RawDescriptionHelpFormatter)
    schema.set_defaults(overrides=[])
    for stage in graph:
        sub = verb(stage.name, stage.title)
        if stage.sharded:
            sub.add_argument(
                "--shard", type=_shard, metavar="i/n", help="do every n-th unit, starting with the i-th (1 to n)"
            )
        else:
            sub.add_argument("--shard", type=_shard, metavar="1/1", help=argparse.SUPPRESS)
        if _mines(stage):
            _add_exploration(sub)
        _add_permissions(sub, [stage.name])
        sub.add_argument("--part-of-run", action="store_true", help=argparse.SUPPRESS)
        if stage.device == "training":
            sub.add_argument(
                "--launcher",
                choices=("local", "srun"),
                default="local",
                help="what starts the ranks: this process on this machine, or srun inside a Slurm job",
            )
    return parser


def _mines(stage) -> bool:
    return stage.name.partition(".")[0] == "pairs"


def _add_exploration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--explore",
        action="store_true",
        help="run nothing: show which of the existing neighbors other values of pairs.alpha and "
        "pairs.max_shared_shingles would keep, pairs to read from every similarity band, and a recommendation",
    )
    parser.add_argument(
        "--documents", type=_count, metavar="N", help="with --explore: seed documents to look at (default: 10,000)"
    )
    parser.add_argument("--examples", type=_count, metavar="N", help="with --explore: pairs per band (default: 2)")
    parser.add_argument("--json", action="store_true", help="with --explore: print everything as JSON")


def _add_permissions(parser: argparse.ArgumentParser, stages: list[str]) -> None:
    from megatron_sbp.executor.permissions import ALL
    from megatron_sbp.executor.state import StageState

    minutes = StageState.keep_seconds / 60
    parser.add_argument(
        "--discard",
        metavar="STAGE",
        action="append",
        default=[],
        choices=[*stages, ALL],
        help=f"run STAGE again even if that replaces more than {minutes:.0f} minutes of work; its former outputs are "
        f"moved to aside/ in the run folder (repeatable; `{ALL}` for all stages)",
    )
    parser.add_argument(
        "--repair",
        metavar="STAGE",
        action="append",
        default=[],
        choices=[*stages, ALL],
        help="go back to the last intact checkpoint of a training whose files were damaged",
    )


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Like parse_args, with overrides after options too; parse_intermixed_args does not support verbs (subparsers)."""
    options, rest = parser.parse_known_args(words)
    unknown = [word for word in rest if word.startswith("-") or options.verb == "schema"]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.overrides = [*options.overrides, *rest]
    return options


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"'{text}' is not i/n with i from 1 to n")
    return int(index), int(count)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10**9):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 1,000,000,000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def _stage(run: Run, stage, graph, options) -> int:
    from megatron_sbp.base.progress import say
    from megatron_sbp.base.stop_file import StopFile
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.executor.time_limit import check_progress
    from megatron_sbp.training.launch import Unfinished

    if getattr(options, "launcher", None) == "srun":
        from megatron_sbp.executor.slurm_launch import srun_words
        from megatron_sbp.executor.slurm_request import recipe_of_job

        run = Run.of(recipe_of_job(run, stage))
        stage = stage.under(srun_words(run.recipe))
    claim(run)
    stop = StopFile(run.stop_file)
    stop.refuse()
    check_progress(run, stage, os.environ)
    runner = StageRunner(run, stage, graph, discard=bool(options.discard), repair=bool(options.repair))
    # The ranks of a training save a checkpoint first.
    trains = stage.device_for(run) == "training"
    try:
        with contextlib.nullcontext() if trains else stop.interrupts():
            closed = runner.execute(options.shard or (1, 1))
    except Unfinished as error:
        say(f"sbp: {error}")
        stop.refuse()  # else a Slurm job would go back into the queue
        return 3
    if not closed and not options.part_of_run:
        say(f"{stage.name}: this shard is complete, others are not: {runner.why()}")
    return 0


def _rehearse(real: Run, options) -> int:
    """Runs or submits a rehearsal: a run of its own, in a folder beside the real run folder."""
    from megatron_sbp.base import files
    from megatron_sbp.executor.local import run_all
    from megatron_sbp.executor.permissions import ALL
    from megatron_sbp.executor.preflight import check_inputs
    from megatron_sbp.executor.slurm import submit
    from megatron_sbp.recipe import dump_recipe
    from megatron_sbp.rehearsal.derive import derive, write
    from megatron_sbp.rehearsal.site import cluster, this_machine
    from megatron_sbp.rehearsal.table import format_changes
    from megatron_sbp.stages.graph import all_stages

    by_slurm = options.verb == "submit"
    folder = real.root.parent / "rehearsal" / (real.root.name + ("-slurm" if by_slurm else ""))
    rehearsal = derive(real.recipe, folder, cluster(real.recipe) if by_slurm else this_machine())
    run = Run.of(rehearsal.recipe)
    graph = all_stages(run.recipe)
    discard = [ALL]  # even the costly stages take only minutes here
    table = format_changes(rehearsal, len(graph))
    if options.dry_run and not by_slurm:
        print(table)
        print(f"# {rehearsal.file} would be:\n{dump_recipe(run.recipe)}", end="")
        return 0
    if options.dry_run:
        print("".join(f"# {line}\n" for line in table.splitlines()), end="")
        submit(run, rehearsal.file, [], graph, dry_run=True, discard=discard)
        return 0
    print(table, flush=True)
    write(rehearsal)
    check_inputs(run.recipe)
    claim(run)
    _note_recipe(run)
    files.write_text(run.root / "rehearsal.txt", table)
    if by_slurm:
        submit(run, rehearsal.file, [], graph, discard=discard)
        print(f"\nA rehearsal, in {run.root}: `sbp status {run.root}`")
        return 0
    run_all(run, graph, [str(rehearsal.file)], until=options.until, discard=discard)
    if run.results_file.exists() and options.until in (None, graph[-1].name):
        _print_results(run)
        print(f"\nThat was a rehearsal: its figures mean nothing. What was not rehearsed: {run.root / 'rehearsal.txt'}")
    return 0


def _note_recipe(run: Run) -> None:
    """Writes the recipe that the run folder was last run with, and its plan, into the folder."""
    from megatron_sbp.base import files
    from megatron_sbp.executor.preflight import plan_run

    write_resolved(run)
    files.write_json(run.plan_file, plan_run(run))


def _plan(run: Run, options) -> int:
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
        from megatron_sbp.stages.train import arguments_of

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


def _import(run: Run, options) -> str:
    import shlex

    from megatron_sbp.recipe.tuning_start import start_folder

    words = ["python", "tools/import_hf.py", "--checkpoint", str(start_folder(run.recipe))]
    words += ["--tokenizer", str(run.tokenizer), "--recipe", options.recipe, "--output", str(run.model("start"))]
    return shlex.join(words)


def _wrapped(command: str) -> str:
    return command.replace(" --", " \\\n    --")


def _schema() -> int:
    import json

    from megatron_sbp.recipe.schema import schema_of

    print(json.dumps(schema_of(), indent=2))
    return 0


def _status(run: Run, graph, check: bool, every: float | None) -> int:
    """Prints the state once, or again and again until every stage is finished."""
    while True:
        if every is not None and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        finished = _print_status(run, graph)
        if every is None or finished:
            return 0 if finished or not check else 4
        print(flush=True)
        time.sleep(every)


def _print_status(run: Run, graph) -> bool:
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


def _publish(run: Run, graph, target: Path) -> int:
    from megatron_sbp.executor.publishing import publish_run

    for folder in publish_run(run, graph, target):
        print(folder)
    return 0


def _trace(run: Run, options) -> int:
    import json

    from megatron_sbp.base.errors import printable
    from megatron_sbp.stages.tracing import format_trace, trace_document

    found = trace_document(run, options.document, options.synthesizer, options.replicate)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else printable(format_trace(found)))
    return 0


def _explore(run: Run, stage, graph, options) -> int:
    import json

    from megatron_sbp.executor.state import StageState
    from megatron_sbp.stages.exploring import DOCUMENTS, EXAMPLES, explore_run, format_exploration

    if not options.explore:
        raise InputError("only works with `--explore`", key="--documents, --examples, --json")
    StageState(run, stage, graph, reads_data=False).inputs()  # raises where a stage before it is not finished
    found = explore_run(stage.scoped(run), options.documents or DOCUMENTS, options.examples or EXAMPLES)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else printable(format_exploration(found)))
    return 0


def _cancel(run: Run) -> int:
    from megatron_sbp.executor.slurm_queue import cancel

    jobs = cancel(run)
    for job in jobs:
        print(f"canceled: job {job.id}, {job.stage}")
    print(f"{len(jobs)} jobs canceled; `sbp submit` continues the run")
    return 0


def _verify(run: Run, graph) -> int:
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


def _print_results(run: Run) -> None:
    from megatron_sbp.base import files
    from megatron_sbp.report.text import format_results

    print(format_results(files.read_json(run.results_file)))
    print(f"\nFull report: {run.report_file}")


if __name__ == "__main__":  # else `python -m megatron_sbp.cli` would silently do nothing
    raise SystemExit(main())
