#!/usr/bin/env python3
"""Writes docs/synthesis_cost.md: what the plan says about writing 75B, 125B, and 250B synthetic tokens.

python scripts/synthesis_cost.py            # write it
python scripts/synthesis_cost.py --check    # exit status 1 if it is out of date; a test runs this
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from generated_page import write_or_check

from megatron_sbp.planning.cost_text import span
from megatron_sbp.planning.hardware import Hardware, given_hardware
from megatron_sbp.planning.numbers import format_bytes, format_count, format_hours
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "docs" / "synthesis_cost.md"

ROWS = (
    ("sbp_3b_200b", None),
    ("sbp_3b_1t", None),
    ("sbp_3b_1t", 250_000_000_000),
    ("sbp_6b_1t", None),
    ("sbp_1b_20b", None),
    ("sbp_100m_2b", None),
)
"""A recipe of examples/, and `synthesis.tokens` where it is not the recipe's."""

WRITING_MFU = (0.03, 0.06)
"""Shares of the peak between which vLLM was measured (planning/assumptions.py)."""

PAGE = """# What synthesis costs

What `sbp plan` estimates for the amounts of synthetic text that the paper used, 75B and 125B tokens with its 3B model
and 250B with the 6B model, for 250B with the 3B model, and for the smaller recipes. Every figure is arithmetic on the
recipe, before there is a corpus; nothing here was measured on GPUs. Written by `python scripts/synthesis_cost.py`; a
test checks it.

## On GPUs

{gpu}

- **Tokens written**: {passing:.0f} % of them are assumed to pass the filters until a pilot has measured it
  (`synthesis.pilot`), and `synthesis.margin` adds {margin:.0f} %. A text is assumed to have {tokens:g} tokens, the
  mean of DCLM, and so is its seed document.
- **{gpu_name}-hours**: reading seed documents at {mfu:.0f} % of {peak:g} TFLOP/s, writing at {writing:.0f} %; in
  brackets writing at {high:.0f} % and at {low:.0f} %. All three are assumptions: vLLM reached {low:.0f} % to
  {high:.0f} % with models of 1.7B and 4B parameters on an H100, and a smaller model, whose kernels take less time than
  launching them, will reach less. {share:.0f} % of the hours are writing, so one number decides: what one GPU writes.
  The pilot's progress lines say it in documents per second; compare it with *tokens/s of a GPU*.
- **Wall time** is that of the stage `synthesize` on all GPUs of the recipe's nodes, without queues, the start of vLLM,
  and what comes before it: the pilot takes {pilot} on one GPU with the 3B model, and the whole run is in the plan
  ([of sbp_3b_1t](printed_plan.md)).

For other amounts, GPUs, and rates:

    sbp plan examples/sbp_3b_1t/recipe.yaml synthesis.tokens=250e9 launch.nodes=16 --gpu A100 --writing-mfu .04

## Disk and CPUs

{cpu}

- **Synthetic text** is the raw generations, the documents kept, and their tokens, of one synthesizer; **the run** is
  the whole run folder when it is largest, with the corpus, the oracle's documents, and checkpoints.
- **Filters** are the stages `judge`, `deduplicate`, and `filter`, **tokens** is `tokenize-synthetic`, in hours of one
  core of an Intel Xeon ([scaling.md](scaling.md)); an AMD EPYC with other work on it took twice as long. Array tasks
  share them, and the longest takes the time in the last column.
- Not included are rules that are off by default: `filter.min_similarity` embeds every generation on GPUs, and
  `filter.max_corpus_copying` and `filter.contaminated` read all of D ([synthesis.md](synthesis.md#filters)).

sbp_1b_20b and sbp_100m_2b have a second synthesizer, the control on random pairs. Their figures are for one, but for
the disk and files of the run.
"""


def main() -> int:
    return write_or_check(__doc__, TARGET, page())


def page() -> str:
    """The text of docs/synthesis_cost.md."""
    plans = [(name, _plan(name, tokens), tokens) for name, tokens in ROWS]
    recipe, hardware, first = _recipe(*ROWS[0]), Hardware(), plans[0][1]["synthesis"]
    return PAGE.format(
        gpu=_table(_on_gpus(plans)),
        cpu=_table(_on_cpus(plans)),
        passing=100 * plans[0][1]["assumptions"]["passing"]["value"],
        margin=100 * (recipe.synthesis.margin - 1),
        tokens=first["tokens_per_generation"],
        share=100 * _share_of_writing(*ROWS[0]),
        pilot=span(recipe.synthesis.pilot / first["generations"] * first["gpu_hours"]),
        gpu_name=hardware.gpu,
        peak=hardware.peak_flops / 1e12,
        mfu=100 * hardware.mfu,
        writing=100 * hardware.generation_mfu,
        low=100 * WRITING_MFU[0],
        high=100 * WRITING_MFU[1],
    )


def _recipe(name: str, tokens: int | None) -> Any:
    changed = [] if tokens is None else [f"synthesis.tokens={tokens}"]
    return load_recipe(REPOSITORY / "examples" / name / "recipe.yaml", changed)


def _plan(name: str, tokens: int | None, hardware: Hardware | None = None) -> dict[str, Any]:
    return make_plan(_recipe(name, tokens), hardware=hardware)


def _hours(name: str, tokens: int | None, share: float) -> float:
    """GPU-hours of `synthesize` if writing reaches this share of the peak."""
    return float(_plan(name, tokens, given_hardware(None, None, share))["synthesis"]["gpu_hours"])


def _share_of_writing(name: str, tokens: int | None) -> float:
    """Of the GPU-hours: what halving the rate of writing adds to them."""
    rate = Hardware().generation_mfu
    full, half = _hours(name, tokens, rate), _hours(name, tokens, rate / 2)
    return (half - full) / full


def _named(name: str, plan: dict[str, Any], tokens: int | None) -> list[str]:
    """The cells that a row begins with: tokens kept, size of the synthesizer, recipe."""
    changed = "" if tokens is None else " with more tokens"
    return [
        format_count(plan["synthesis"]["tokens"]),
        format_count(plan["model"]["parameters"]),
        f"[{name}](../examples/{name}/recipe.yaml){changed}",
    ]


def _on_gpus(plans: Sequence[tuple[str, dict[str, Any], int | None]]) -> Iterator[list[str]]:
    yield [
        "tokens kept", "parameters", "recipe", "tokens written", "generations", "per document of D",
        "H100-hours", "tokens/s of a GPU", "nodes x GPUs", "wall time",
    ]  # fmt: skip
    for name, plan, tokens in plans:
        synthesis, hardware = plan["synthesis"], plan["hardware"]
        slow, fast = (_hours(name, tokens, share) for share in WRITING_MFU)
        yield [
            *_named(name, plan, tokens),
            format_count(synthesis["planned_tokens"]),
            format_count(synthesis["generations"]),
            f"{synthesis['generations_per_document']:.1f}",
            f"{format_hours(synthesis['gpu_hours'])} ({format_hours(fast)} to {format_hours(slow)})",
            f"{synthesis['planned_tokens'] / synthesis['gpu_hours'] / 3600:,.0f}",
            f"{hardware['nodes']} x {hardware['gpus'] // hardware['nodes']}",
            span(plan["time"]["stages"]["synthesize"]),
        ]


def _on_cpus(plans: Sequence[tuple[str, dict[str, Any], int | None]]) -> Iterator[list[str]]:
    yield [
        "tokens kept", "parameters", "recipe", "disk: synthetic text", "disk: the run", "files",
        "core-hours: filters", "core-hours: tokens", "longest task",
    ]  # fmt: skip
    for name, plan, tokens in plans:
        cpu, written = plan["cpu"], ("judge", "deduplicate", "filter", "tokenize-synthetic")
        filters = sum(cpu[stage]["core_hours"] for stage in written[:3])
        longest = max(written, key=lambda stage: cpu[stage]["task_hours"])
        yield [
            *_named(name, plan, tokens),
            format_bytes(plan["disk"]["synthetic"] / (1 + len(plan["synthesizers"]))),
            format_bytes(plan["disk"]["total"]),
            format_count(plan["files"]["total"]),
            format_hours(filters),
            format_hours(cpu["tokenize-synthetic"]["core_hours"]),
            f"{span(cpu[longest]['task_hours'])} ({longest})",
        ]


def _table(rows: Iterator[list[str]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
