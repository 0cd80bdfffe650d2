"""Where a synthetic document comes from, as text for a terminal."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject


def format_trace(found: JsonObject) -> str:
    """What `stages.tracing.trace_document` returns, for a terminal."""
    sampling, seed, pairs, filters = (found[key] for key in ("sampling", "seed", "pairs", "filters"))
    lines = [f"{found['id']}: written by {found['synthesizer']}, replicate {found['replicate']}, {found['shard']}"]
    ended = "ended by itself" if found["finished"] else "not ended"
    lines.append(f"  {found['tokens']:,} tokens, {ended}")
    lines.append("  " + ", ".join(f"{name} {value}" for name, value in sampling.items() if value is not None))
    lines += ["", *_indented(found["text"]), ""]
    if seed is None:
        lines.append("seed document: none, it was written without one")
    else:
        lines += [f"seed document {seed['id']}, row {seed['row']:,} of D", "", *_indented(seed["text"]), ""]
    if pairs is not None:
        lines.append(
            f"pairs tuned on, {pairs['file']}: {pairs['as_seed']:,} with this seed document, "
            f"{pairs['as_target']:,} with it as target"
        )
        for pair in pairs["tuned_on"]:
            lines += [f"  target {pair['target_id']}, similarity {pair['score']:.3f}", *_indented(pair["text"], 300)]
    lines += ["", f"filters: {_verdict(filters)}"]
    lines += [f"  {_said(rule)}" for rule in filters["rules"]]
    return "\n".join(lines)


def _verdict(filters: JsonObject) -> str:
    verdict = filters["verdict"].replace("_", " ")
    if verdict in ("kept", "not filtered yet"):
        return verdict
    return f"dropped ({verdict}{' of ' + filters['repeats'] if filters['repeats'] else ''})"


def _said(rule: JsonObject) -> str:
    limit = rule["limit"]
    notes = [] if limit is None else [f"rule: {limit}" if isinstance(limit, str) else f"limit: {limit}"]
    notes += [f"of {rule['sampled']:,} shingles looked up"] if "sampled" in rule else []
    told = f"{_measured(rule)}{f' ({", ".join(notes)})' if notes else ''}{', dropped' if rule['drops'] else ''}"
    return f"{rule['rule'].replace('_', ' ')}: {told}"


def _measured(rule: JsonObject) -> str:
    value = rule["value"]
    if rule["drops"] is None:
        return "not judged"
    if value is None:
        return "none found" if rule["rule"] == "duplicate" and not rule["drops"] else "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _indented(text: str, at_most: int = 3000) -> list[str]:
    shown = text if len(text) <= at_most else f"{text[:at_most]} [...]"
    return [f"    {line}" for line in shown.split("\n")]
