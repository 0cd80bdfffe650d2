"""The argument parser of `sbp`: verbs, options, and help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp import __version__

if TYPE_CHECKING:
    from megatron_sbp.stages.stage import Stage

DESCRIPTION = """Synthetic Bootstrapped Pretraining (arXiv 2509.15248) on NVIDIA Megatron.

  sbp plan RECIPE                 show tokens, samples, epochs, FLOPs, memory, and disk of every arm
  sbp doctor [RECIPE]             check this machine, or an allocation (`srun ... sbp doctor RECIPE`), in seconds
  sbp rehearse RECIPE             run a small version of it all, in minutes (on Slurm: `sbp submit RECIPE --rehearse`)
  sbp run RECIPE                  run everything on this machine; run it again to resume
  sbp submit RECIPE               submit everything as Slurm jobs; submit again to resume
  sbp cancel RECIPE               cancel the jobs that are queued or running
  sbp status RECIPE               show the state of every stage and job
  sbp verify RECIPE               read every finished file and compare digests
  sbp pairs RECIPE --explore      show which neighbors other thresholds would keep, with pairs to read
  sbp trace RECIPE ID             show where a synthetic document comes from, and what the filters said about it
  sbp publish RECIPE --to FOLDER  write corpus and models, with cards, in the layout of the Hugging Face hub
  sbp schema                      print the JSON schema of recipes, for completion and checks in an editor

Each stage is also a command; a recipe with more arms or synthesizers, or with benchmark tasks for lm-eval
(evaluation.harness), has more of them, such as `sbp harness RECIPE`. Stages that several processes can share take
--shard i/n (i from 1 to n):
"""

EPILOG = """An arm is a model to compare; all arms are trained on the same number of tokens. A synthesizer writes
synthetic documents, which arms can read (docs/experiments.md in the repository).

RECIPE is a recipe file, or a run folder, meaning the recipe it was last run with.
Any recipe key can be overridden after it: training.learning_rate=1e-3 seed=2 run_folder=/scratch/run.
Files are complete or absent: any command can be killed at any time and run again."""

D = "\n\nD, in the plan, is the set of real training documents."

SCHEMA = """Print the JSON schema of a recipe (draft 2020-12). An editor with a YAML language server completes and
checks the keys of a recipe whose first line names the file with the schema:

  # yaml-language-server: $schema=../recipe.schema.json"""

PUBLISH = """Write the synthetic documents as parquet and every exported model, each with a card, into a new folder in
the layout of the Hugging Face hub. Nothing is uploaded; unfinished parts are left out."""

TRACE = """Show a synthetic document with its seed document, the pairs of the seed that the synthesizer was tuned on,
how it was sampled, and what every filter said about it. Raw generations have ids too; the run need not be finished."""

DOCTOR = """Check in seconds for anything that would stop a run or slow it down: packages, GPUs and their memory, Slurm,
models, inputs, and the file system of the run folder; under srun or torchrun, also every node, and an all-reduce
between the ranks. Print a line per check: ok, warn, or fail, with what to do. Exit status 1 if a check failed. Without
RECIPE, only the machine is checked."""

REHEARSE = """Run the recipe at a small scale: the same stages, engines, flags, and file layouts with smaller sizes, on
made-up documents if the corpus is not on this machine. Print what was replaced, and so was not rehearsed."""

RECIPE_HELP = "recipe YAML file, or a run folder"

WITH_VALUE = (
    "--until", "--jobs", "--discard", "--repair", "--shard", "--launcher", "--documents", "--examples",
    "--gpu", "--mfu", "--writing-mfu", "--timeout", "--to", "--synthesizer", "--replicate",
)  # fmt: skip
"""Options whose value is the next word: all others are flags."""


def without_options(words: list[str]) -> list[str]:
    """The words that are neither options nor their values. Options may be abbreviated, as argparse allows."""
    found, before = [], ""
    for word in words:
        is_value = before.startswith("--") and any(option.startswith(before) for option in WITH_VALUE)
        if not is_value and not word.startswith("-"):
            found.append(word)
        before = "" if is_value else word
    return found


def make_parser(graph: Sequence[Stage]) -> argparse.ArgumentParser:
    """The command line of runs with these stages: a verb for each, and the others."""
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

    def verb(name: str, told: str, optional: bool = False, epilog: str = EPILOG) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter  # keeps the lines of the epilog
        sub = verbs.add_parser(name, description=told, epilog=epilog, formatter_class=raw)
        sub.add_argument("recipe", nargs="?" if optional else None, help=RECIPE_HELP)
        add_overrides(sub)
        return sub

    def add_overrides(sub: argparse.ArgumentParser) -> None:
        # Without a default, argparse counts them among the required arguments in its message.
        told = "recipe values that override the file's"
        sub.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=told)

    plan = verb("plan", "Show tokens, samples, epochs, FLOPs, memory, and disk of every arm.", epilog=EPILOG + D)
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.add_argument("--commands", action="store_true", help="print the exact Megatron command of every training run")
    plan.add_argument("--gpu", metavar="NAME", help="type of the GPUs: H100 (default), A100, H200, ...")
    plan.add_argument("--mfu", type=float, metavar="FRACTION", help="fraction of their peak in training (default: 0.4)")
    plan.add_argument("--writing-mfu", type=float, metavar="FRACTION", help="the same in generation (default: 0.05)")
    run = verb("run", "Run everything that is missing on this machine.")
    run.add_argument("--until", metavar="STAGE", choices=[stage.name for stage in graph], help="the last stage to run")
    run.add_argument(
        "--jobs",
        type=_count,
        default=1,
        metavar="N",
        help="run up to N independent stages at a time, such as the training runs of a study; each gets its share of "
        "the cores (you set launch.threads_per_rank) and of the GPUs (default: 1)",
    )
    _add_permissions(run, [stage.name for stage in graph])
    submit = verb("submit", "Submit everything that is missing as Slurm jobs.")
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
    verb("cancel", "Cancel the run's Slurm jobs that are queued or running. Finished work stays.")
    status = verb("status", "Show the state of every stage and of the Slurm jobs.")
    status.add_argument("--check", action="store_true", help="for scripts: exit status 4 while a stage is not finished")
    status.add_argument("--watch", action="store_true", help="print it every 10 seconds until every stage is finished")
    verb(
        "verify",
        "Read every file of the finished stages and compare its digest with the manifest's. Exit status 1 if "
        "anything changed.",
    )
    publish = verb("publish", PUBLISH)
    publish.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    raw = argparse.RawDescriptionHelpFormatter
    trace = verbs.add_parser("trace", description=TRACE, epilog=EPILOG, formatter_class=raw)
    trace.add_argument("recipe", help=RECIPE_HELP)
    trace.add_argument("document", metavar="ID", help="id of a synthetic document, such as syn-17-0")
    add_overrides(trace)
    trace.add_argument("--synthesizer", metavar="NAME", help="the one that wrote it (default: the first with the id)")
    trace.add_argument("--replicate", type=int, default=1, metavar="N", help="the replicate it belongs to (default: 1)")
    trace.add_argument("--json", action="store_true", help="print everything as JSON")
    schema = verbs.add_parser("schema", description=SCHEMA, formatter_class=argparse.RawDescriptionHelpFormatter)
    schema.set_defaults(overrides=[])
    for stage in graph:
        sub = verb(stage.name, f"{stage.title[0].upper()}{stage.title[1:]}.")
        if stage.sharded:
            sub.add_argument(
                "--shard", type=_shard, metavar="i/n", help="do every n-th unit, starting with the i-th (1 to n)"
            )
        else:
            sub.add_argument("--shard", type=_shard, metavar="1/1", help=argparse.SUPPRESS)
        if mines(stage):
            _add_exploration(sub)
        _add_permissions(sub, [stage.name])
        sub.add_argument("--part-of-run", action="store_true", help=argparse.SUPPRESS)
        # The process has changed to the interpreter that the recipe names for the stage.
        sub.add_argument("--in-its-python", action="store_true", help=argparse.SUPPRESS)
        if stage.device == "training":
            sub.add_argument(
                "--launcher",
                choices=("local", "srun"),
                default="local",
                help="what starts the ranks: this process on this machine, or srun inside a Slurm job",
            )
    return parser


def mines(stage: Stage) -> bool:
    """Whether a stage selects pairs, and `--explore` can look at its neighbors."""
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
        help="go back to the last intact checkpoint of a training run whose files were damaged",
    )


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Like parse_args, with overrides after options too; parse_intermixed_args does not support verbs (subparsers)."""
    options, rest = parser.parse_known_args(words)
    unknown = [word for word in rest if word.startswith("-") or options.verb == "schema"]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.overrides = [*options.overrides, *rest]
    if options.verb == "trace":  # `sbp trace RECIPE key=value ID` as well
        given = [options.document, *options.overrides]
        ids = [word for word in given if "=" not in word]
        if len(ids) != 1:
            parser.error(f"sbp trace RECIPE ID [key=value ...]: one ID is needed, not {len(ids)} ({' '.join(given)})")
        options.document, options.overrides = ids[0], [word for word in given if "=" in word]
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
