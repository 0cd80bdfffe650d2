"""Everything that the page shows, read from the run folder; what is missing is None or empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import METRICS
from megatron_sbp.recipe import Recipe, dump_recipe
from megatron_sbp.report.examples import EXAMPLES, Example, draw_examples, dropped_examples
from megatron_sbp.report.filter_opinions import filters_of
from megatron_sbp.report.sources import ReportSources, SynthesizerSources, read_if_present
from megatron_sbp.training.metrics import read_metrics

Rows = list[JsonObject]
"""Rows of metrics.jsonl: kind, iteration, tokens, loss."""

_FURTHER_EXAMPLES = 20
"""Of each synthesizer but the first: the page stays small."""


@dataclass
class SynthesizerData:
    """What the page shows of one synthesizer."""

    recipe: Recipe
    """With what the synthesizer overrides."""
    figures: JsonObject
    """`pairs`, `tuning`, `synthetic`, and `quality` of results.json."""
    metrics: list[Rows] = field(default_factory=list)
    """Of the tuning, by replicate."""
    pairs: JsonObject | None = None
    """pairs/audit.json."""
    synthetic: JsonObject | None = None
    """synthetic/audit.json."""
    examples: list[Example] = field(default_factory=list)
    """Of what was kept."""
    dropped: list[Example] = field(default_factory=list)
    """The first ones of each rule."""


@dataclass
class ReportData:
    """What the page is made of."""

    recipe: Recipe
    results: JsonObject
    metrics: dict[str, list[Rows]] = field(default_factory=dict)
    """Of the training runs of each arm, by replicate."""
    documents: JsonObject | None = None
    """documents/audit.json."""
    tokens: JsonObject | None = None
    """tokens/audit.json."""
    synthesizers: dict[str, SynthesizerData] = field(default_factory=dict)
    """By name; empty where no arm has synthetic text."""

    @property
    def recipe_text(self) -> str:
        """The resolved recipe as YAML."""
        return dump_recipe(self.recipe)


def load_report_data(sources: ReportSources, recipe: Recipe, results: JsonObject) -> ReportData:
    """Reads what exists.

    Args:
        sources: what the stages wrote.
        recipe: the recipe.
        results: what `collect_results` returned.
    """
    return ReportData(
        recipe=recipe,
        results=results,
        metrics={arm: [_drawn(one[arm].metrics) for one in sources.replicates] for arm in sources.arms},
        documents=read_if_present(sources.documents_audit),
        tokens=read_if_present(sources.tokens_audit),
        synthesizers={name: _synthesizer(sources, recipe, results, name) for name in sources.synthesizers},
    )


def _synthesizer(sources: ReportSources, recipe: Recipe, results: JsonObject, name: str) -> SynthesizerData:
    found: SynthesizerSources = sources.synthesizers[name]
    first = name == next(iter(sources.synthesizers))
    figures = results if first else results["synthesizers"][name]
    own = recipe.for_synthesizer(name)
    kept, audit = (figures["synthetic"] or {}).get("documents"), read_if_present(found.synthetic_audit)
    filters = filters_of(own, sources.tokenizer)
    wanted = EXAMPLES if first else _FURTHER_EXAMPLES
    shards = found.synthetic
    return SynthesizerData(
        recipe=own,
        figures={key: figures[key] for key in ("pairs", "tuning", "synthetic", "quality")},
        metrics=[_drawn(one[name].model / METRICS) for one in sources.writers],
        pairs=read_if_present(found.pairs_audit),
        synthetic=audit,
        examples=draw_examples(shards, sources.documents, kept=kept, seed=recipe.seed, filters=filters, wanted=wanted)
        if kept
        else [],
        dropped=dropped_examples((audit or {}).get("examples") or {}, sources.documents, filters),
    )


def _drawn(file: Path) -> Rows:
    """The rows of a training run that the charts show; millions of rows of every arm would not fit into memory."""
    return [{name: row[name] for name in ("kind", "iteration", "tokens", "loss")} for row in read_metrics(file)]
