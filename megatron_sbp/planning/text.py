"""The plan as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.assumptions import assumed
from megatron_sbp.planning.cost_text import arrays, cpu_time, host_memory, memory_of, rates, totals
from megatron_sbp.planning.numbers import format_bytes, format_count, format_hours

_COLUMNS = 4
"""Arms up to which each has a column; a terminal has about 100."""


def format_plan(plan: JsonObject) -> str:
    """The plan as text for a terminal of 100 columns."""
    model, memory = plan["model"], plan["memory"]
    arms, gpu = plan["arms"], plan["hardware"]["gpu"]
    lines = [
        f"Plan of {plan['name']}",
        "",
        f"model       {model['parameters']:,} parameters ({model['embedding_parameters']:,} in embeddings), "
        f"sequences of {model['sequence_length']:,} tokens",
        f"D           {_unique(plan['unique_tokens']['real'])}",
        f"oracle has  {_unique(plan['unique_tokens']['oracle'])}",
        "",
        *(_columns(arms, gpu) if len(arms) <= _COLUMNS else _rows(arms, gpu)),
    ]
    embedding, neighbors = plan["embedding"], plan["neighbors"]
    lines += [
        "",
        "outside the token budget",
        f"  embedding   {embedding['documents']:,} documents, {embedding['dimensions']} dimensions, "
        f"{embedding['flops']:.2e} FLOPs, {format_hours(embedding['gpu_hours'])} {gpu}-hours *",
        f"  neighbors   k = {neighbors['k']}, engine {neighbors['engine']}; exact search is "
        f"{neighbors['exact_flops']:.2e} FLOPs, {format_hours(neighbors['exact_gpu_hours'])} {gpu}-hours *",
    ]
    if plan["synthesis"]:
        lines += _synthesizer(plan["tuning"], plan["synthesis"], "", gpu)
    for name, entry in plan["synthesizers"].items():
        lines += _synthesizer(entry["tuning"], entry["synthesis"], f" ({name})", gpu)
    if plan["replicates"] > 1:
        lines.append(f"  replicates  {plan['replicates']}: training and synthesis run this many times, the rest once")
    lines += ["", *totals(plan), *cpu_time(plan["cpu"])]
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
    lines += [*memory_of(memory["trainings"]), *host_memory(plan["host_memory"])]
    disk, checkpoint = plan["disk"], plan["checkpoint"]
    lines += [
        "",
        f"disk: {format_bytes(disk['total'])} at its peak (a checkpoint is {format_bytes(checkpoint['bytes'])}, "
        f"~{format_hours(checkpoint['write_seconds'])} s to write *), ~{format_count(plan['files']['total'])} files",
    ]
    kinds = [f"{name} {format_bytes(size)}" for name, size in disk.items() if name not in ("total", "one_checkpoint")]
    lines += ["  " + ", ".join(kinds[:4]), "  " + ", ".join(kinds[4:]), *arrays(plan["arrays"]), ""]
    lines += _sources(plan["sources"])
    lines += [f"~ estimated: {_per_document(plan)} until D is tokenized.", rates(plan)]
    lines += [f"warning: {warning}" for warning in plan["warnings"]]
    return "\n".join(lines) + "\n"


def _per_document(plan: JsonObject) -> str:
    sample = plan["sample"]
    if sample is None:
        return f"{assumed('tokens_per_document'):g} tokens a document"
    size = plan["assumptions"]["bytes_per_token"]["value"]
    return (
        f"{sample['tokens_per_document']:.0f} tokens a document, of {size:g} bytes each "
        f"(from the first {sample['documents']:,} of {sample['file']}),"
    )


def _columns(arms: Mapping[str, JsonObject], gpu: str) -> list[str]:
    """A column for every arm."""
    width = max(20, 2 + max(map(len, arms)))
    lines = [f"{'':24}" + "".join(f"{arm:>{width}}" for arm in arms)]

    def row(label: str, cell: Callable[[JsonObject], str]) -> None:
        lines.append(f"{label:24}" + "".join(f"{cell(arm):>{width}}" for arm in arms.values()))

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
    row(f"{gpu}-hours *", lambda arm: format_hours(arm["gpu_hours"]))
    return lines


def _rows(arms: Mapping[str, JsonObject], gpu: str) -> list[str]:
    """A row for every arm, after the values that all arms share."""
    one = next(iter(arms.values()))
    width = max(len("arm"), *map(len, arms))
    flops = f"{one['flops']:.2e} FLOPs ({one['flops_6nd']:.2e} by 6 N D)"
    lines = [
        f"every arm   {one['train_tokens']:,} training tokens, {one['samples']:,} samples (sequences),",
        f"            {one['steps']:,} optimizer steps, {flops}, {format_hours(one['gpu_hours'])} {gpu}-hours *",
        "",
        f"{'arm':{width}}{'real tokens':>20}{'unique':>12}{'epochs':>10}{'synthetic tokens':>20}{'share':>9}",
    ]
    for name, arm in arms.items():
        cells = f"{_unique_of(arm):>12}{_epochs_of(arm):>10}{arm['synthetic_tokens']:>20,}{_share_of(arm):>9}"
        lines.append(f"{name:{width}}{arm['real_tokens']:>20,}{cells}")
    return lines


def _unique_of(arm: JsonObject) -> str:
    return _marked(arm["unique_real_tokens"], arm["from"], format_count)


def _epochs_of(arm: JsonObject) -> str:
    return _marked(arm["real_epochs"], arm["from"], "{:.2f}".format)


def _share_of(arm: JsonObject) -> str:
    return f"{100 * arm['synthetic_share']:.1f} %"


def _synthesizer(tuning: JsonObject | None, synthesis: JsonObject, name: str, gpu: str) -> list[str]:
    tuned = []
    if tuning:
        tuned = [
            f"  tuning      {tuning['pairs']:,} pairs{name} ({tuning['from']}), up to {tuning['max_steps']:,} steps, "
            f"{tuning['max_flops']:.2e} FLOPs, {format_hours(tuning['max_gpu_hours'])} {gpu}-hours *"
        ]
    return [
        *tuned,
        f"  synthesis   {format_count(synthesis['planned_tokens'])} tokens to write for "
        f"{format_count(synthesis['tokens'])} kept{name}, "
        f"{synthesis['generations']:,} generations ({synthesis['generations_per_document']:.1f} per document),",
        f"              {synthesis['flops']:.2e} FLOPs, {format_hours(synthesis['gpu_hours'])} {gpu}-hours *",
        *_comparing(synthesis, gpu),
    ]


def _comparing(synthesis: JsonObject, gpu: str) -> list[str]:
    if not synthesis["compare_flops"]:
        return []
    hours = format_hours(synthesis["compare_gpu_hours"])
    return [
        f"              comparing them with their seed documents {synthesis['compare_flops']:.2e} FLOPs, "
        f"{hours} {gpu}-hours *"
    ]


def _sources(sources: dict[str, str]) -> list[str]:
    """Which figures were measured in this run folder, and which are not."""
    meanings = {"measured": "measured here", "recipe": "from the recipe", "at most": "upper bounds"}
    return [
        f"{meanings.get(kind, kind)}: {', '.join(name for name in sources if sources[name] == kind)}"
        for kind in dict.fromkeys(sources.values())
    ]


def _marked[Value](value: Value | None, source: str, form: Callable[[Value], str]) -> str:
    if value is None:
        return "unknown"
    return ("~" if source == "estimated" else "") + form(value)


def _unique(entry: JsonObject) -> str:
    if entry["tokens"] is None:
        return "an unknown number of unique tokens"
    return f"{entry['documents']:,} documents, {_marked(entry['tokens'], entry['from'], '{:,}'.format)} unique tokens"
