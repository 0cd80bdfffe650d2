"""`sbp trace`: where a synthetic document of a run comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, synthesizer_run

if TYPE_CHECKING:
    from megatron_sbp.synthesis.trace import TraceSources


def trace_document(
    run: Run,
    name: str,
    synthesizer: str | None = None,
    replicate: int = 1,
    check: Callable[[Sequence[Path]], None] = lambda _: None,
) -> JsonObject:
    """Where a synthetic document comes from; see `synthesis.trace.trace`. Reads only.

    Args:
        run: finished or not.
        name: id of the document.
        synthesizer: the one that wrote it; None takes the first that has the id, since two synthesizers can use the
            same ids.
        replicate: which replicate, from 1.
        check: called with files before they are read; raises InputError for one that is not as it was written.

    Returns:
        What `trace` returns, with `synthesizer` and `replicate` in front.

    Raises:
        InputError: there is no such document, synthesizer or replicate; names similar ids.
    """
    from megatron_sbp.synthesis.trace import trace, unknown

    used = run.recipe.used_synthesizers
    if synthesizer is not None and synthesizer not in used:
        raise InputError(
            f"no arm reads text of a synthesizer '{synthesizer}'; there are: {', '.join(used) or 'none'}",
            key="--synthesizer",
        )
    if not 1 <= replicate <= run.recipe.replicates:
        raise InputError(f"must be between 1 and {run.recipe.replicates}, not {replicate}", key="--replicate")
    writers = [synthesizer] if synthesizer else used
    sources = {writer: _sources(run, writer, replicate, check) for writer in writers}
    for writer, place in sources.items():
        found = trace(name, place) if place.shards() else None
        if found is not None:
            if found["pairs"] is not None and place.pairs is not None:
                found["pairs"] = {"file": run.relative(place.pairs), **found["pairs"]}
            return {"synthesizer": writer, "replicate": replicate, **found}
    written = [place for place in sources.values() if place.shards()]
    if not written:
        raise InputError(
            "there is no synthetic document yet: the stage synthesize has finished no shard", file=run.root
        )
    raise unknown(name, written)


def _sources(run: Run, synthesizer: str, replicate: int, check: Callable[[Sequence[Path]], None]) -> TraceSources:
    from megatron_sbp.stages.judge import further_sources
    from megatron_sbp.synthesis.trace import TraceSources

    inner = synthesizer_run(replicate_run(run, replicate), synthesizer)
    recipe = inner.recipe
    return TraceSources(
        generations=inner.generations,
        verdicts=inner.judged("").verdicts.parent,
        digests=inner.judged("").digests.parent,
        signatures=inner.judged("").signatures.parent,
        repeats=inner.repeats("").parent,
        filtered=inner.audit_synthetic.exists(),
        documents=inner.document_shards("train"),
        tokens=inner.tokens("real"),
        tokenizer=inner.tokenizer,
        pairs=inner.pairs("train") if synthesizer in recipe.tuned_synthesizers else None,
        rules=recipe.filter,
        shingle_tokens=recipe.pairs.shingle_tokens,
        seed=recipe.seed,
        generations_per_shard=recipe.synthesis.generations_per_shard,
        further=further_sources(inner),
        check=check,
    )
