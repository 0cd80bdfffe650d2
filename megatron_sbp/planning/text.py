"""The plan as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from megatron_sbp.planning.assumptions import assumed

_COLUMNS = 4
"""Arms up to which each has a column; a terminal has about 100."""


def format_plan(plan: dict[str, Any]) -> str:
    """The plan as text for a terminal of 100 columns."""
    model, memory = plan["model"], plan["memory"]
    arms = plan["arms"]
    lines = [
        f"Plan of {plan['name']}",
        "",
        f"model       {model['parameters']:,} parameters ({model['embedding_parameters']:,} in embeddings), "
        f"sequences of {model['sequence_length']:,} tokens",
        f"D           {_unique(plan['unique_tokens']['real'])}",
        f"oracle has  {_unique(plan['unique_tokens']['oracle'])}",
        "",
        *(_columns(arms) if len(arms) <= _COLUMNS else _rows(arms)),
    ]
    embedding, neighbors = plan["embedding"], plan["neighbors"]
    lines += [
        "",
        "outside the token budget",
        f"  embedding   {embedding['documents']:,} documents, {embedding['dimensions']} dimensions, "
        f"{embedding['flops']:.2e} FLOPs, {_hours(embedding['gpu_hours'])} H100-hours *",
        f"  neighbors   k = {neighbors['k']}, engine {neighbors['engine']}; exact search is "
        f"{neighbors['exact_flops']:.2e} FLOPs, {_hours(neighbors['exact_gpu_hours'])} H100-hours *",
    ]
    if plan["synthesis"]:
        lines += _synthesizer(plan["tuning"], plan["synthesis"], "")
    for name, entry in plan["synthesizers"].items():
        lines += _synthesizer(entry["tuning"], entry["synthesis"], f" ({name})")
    if plan["replicates"] > 1:
        lines.append(f"  replicates  {plan['replicates']}: trainings and synthesis so many times, the rest once")
    ranks = f"{memory['ranks']} rank{'s' if memory['ranks'] != 1 else ''}"
    lines += [
        "",
        f"memory of a rank: {format_bytes(memory['per_rank'])} ({ranks} = data {memory['data_parallel']} x tensor "
        f"{memory['tensor_parallel']} x pipeline {memory['pipeline_parallel']} x context {memory['context_parallel']}; "
        f"{memory['chosen'].replace('_', ' ')})",
    ]
    for name in ("plain", "distributed_optimizer"):
        entry = memory[name]
        lines.append(
            f"  {name.replace('_', ' '):22} weights {format_bytes(entry['weights'])}, "
            f"gradients {format_bytes(entry['gradients'])}, "
            f"optimizer {format_bytes(entry['optimizer'])}, activations ~{format_bytes(entry['activations'])}"
        )
    disk = plan["disk"]
    lines += [
        "",
        f"disk: {format_bytes(disk['total'])} at its fullest (a checkpoint is {format_bytes(disk['one_checkpoint'])})",
    ]
    kinds = [f"{name} {format_bytes(size)}" for name, size in disk.items() if name not in ("total", "one_checkpoint")]
    lines += ["  " + ", ".join(kinds[:4]), "  " + ", ".join(kinds[4:]), ""]
    lines += _sources(plan["sources"])
    lines.append(
        f"~ estimated: {assumed('tokens_per_document'):g} tokens a document until D is tokenized. * at "
        f"{100 * assumed('training_mfu'):g} % (writing {100 * assumed('generation_mfu'):g} %) of "
        f"{assumed('peak_flops') / 1e12:g} TFLOP/s, an assumption."
    )
    lines += [f"warning: {warning}" for warning in plan["warnings"]]
    return "\n".join(lines) + "\n"


def _columns(arms: Mapping[str, dict[str, Any]]) -> list[str]:
    """A column for every arm."""
    lines = [f"{'':24}" + "".join(f"{arm:>20}" for arm in arms)]

    def row(label: str, cell: Callable[[dict[str, Any]], str]) -> None:
        lines.append(f"{label:24}" + "".join(f"{cell(arm):>20}" for arm in arms.values()))

    row("training tokens", lambda arm: f"{arm['train_tokens']:,}")
    row("samples (sequences)", lambda arm: f"{arm['samples']:,}")
    row("optimizer steps", lambda arm: f"{arm['steps']:,}")
    row("real tokens", lambda arm: f"{arm['real_tokens']:,}")
    row("  unique", _unique_of)
    row("  epochs", _epochs_of)
    row("synthetic tokens", lambda arm: f"{arm['synthetic_tokens']:,}")
    row("  share", _share_of)
    row("FLOPs", lambda arm: f"{arm['flops']:.2e}")
    row("  by 6 N D", lambda arm: f"{arm['flops_6nd']:.2e}")
    row("H100-hours *", lambda arm: _hours(arm["gpu_hours"]))
    return lines


def _rows(arms: Mapping[str, dict[str, Any]]) -> list[str]:
    """A row for every arm, and what is the same for all in front."""
    one = next(iter(arms.values()))
    width = max(len("arm"), *map(len, arms))
    flops = f"{one['flops']:.2e} FLOPs ({one['flops_6nd']:.2e} by 6 N D)"
    lines = [
        f"every arm   {one['train_tokens']:,} training tokens, {one['samples']:,} samples (sequences),",
        f"            {one['steps']:,} optimizer steps, {flops}, {_hours(one['gpu_hours'])} H100-hours *",
        "",
        f"{'arm':{width}}{'real tokens':>20}{'unique':>12}{'epochs':>10}{'synthetic tokens':>20}{'share':>9}",
    ]
    for name, arm in arms.items():
        cells = f"{_unique_of(arm):>12}{_epochs_of(arm):>10}{arm['synthetic_tokens']:>20,}{_share_of(arm):>9}"
        lines.append(f"{name:{width}}{arm['real_tokens']:>20,}{cells}")
    return lines


def _unique_of(arm: dict[str, Any]) -> str:
    return _marked(arm["unique_real_tokens"], arm["from"], format_count)


def _epochs_of(arm: dict[str, Any]) -> str:
    return _marked(arm["real_epochs"], arm["from"], "{:.2f}".format)


def _share_of(arm: dict[str, Any]) -> str:
    return f"{100 * arm['synthetic_share']:.1f} %"


def _synthesizer(tuning: dict[str, Any] | None, synthesis: dict[str, Any], name: str) -> list[str]:
    tuned = []
    if tuning:
        tuned = [
            f"  tuning      {tuning['pairs']:,} pairs{name} ({tuning['from']}), up to {tuning['max_steps']:,} steps, "
            f"{tuning['max_flops']:.2e} FLOPs, {_hours(tuning['max_gpu_hours'])} H100-hours *"
        ]
    return [
        *tuned,
        f"  synthesis   {format_count(synthesis['planned_tokens'])} tokens to write for "
        f"{format_count(synthesis['tokens'])} kept{name}, "
        f"{synthesis['generations']:,} generations ({synthesis['generations_per_document']:.1f} per document),",
        f"              {synthesis['flops']:.2e} FLOPs, {_hours(synthesis['gpu_hours'])} H100-hours *",
    ]


def _sources(sources: dict[str, str]) -> list[str]:
    """Which figures were measured in this run folder, and which are not."""
    meanings = {"measured": "measured here", "recipe": "by the recipe", "at most": "upper bounds"}
    return [
        f"{meanings.get(kind, kind)}: {', '.join(name for name in sources if sources[name] == kind)}"
        for kind in dict.fromkeys(sources.values())
    ]


def _marked(value: Any, source: str, form: Callable[[Any], str]) -> str:
    if value is None:
        return "unknown"
    return ("~" if source == "estimated" else "") + form(value)


def _unique(entry: dict[str, Any]) -> str:
    if entry["tokens"] is None:
        return "an unknown number of unique tokens"
    return f"{entry['documents']:,} documents, {_marked(entry['tokens'], entry['from'], '{:,}'.format)} unique tokens"


def format_count(value: float) -> str:
    """A number with a suffix: 1.5M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def format_bytes(value: float) -> str:
    """Bytes with a decimal unit: 1.5 MB."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
