"""The card of a synthetic corpus."""

from __future__ import annotations

from collections.abc import Mapping

from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.publishing.card_parts import TAGS, card, license_header, table
from megatron_sbp.recipe import Recipe
from megatron_sbp.report.judge_reading import agreement_sentence
from megatron_sbp.report.numbers import count
from megatron_sbp.report.quality_rows import GROUPS, sheet_rows
from megatron_sbp.report.seed_reading import seed_sentence

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))

_MORE_SIZES = ((1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"), (1e12, "100B<n<1T"))


def dataset_card(
    recipe: Recipe,
    documents: Mapping[str, int],
    audits: Mapping[str, Mapping[str, JsonValue]],
    quality: Mapping[str, Mapping[str, JsonValue] | None],
) -> str:
    """The card of a synthetic corpus.

    Args:
        recipe: of the run.
        documents: number of documents by configuration (synthesizer, and replicate where there are several).
        audits: synthetic/audit.json of each.
        quality: evaluation/quality.json of each, or None.
    """
    total = sum(documents.values())
    size = next((name for limit, name in (*_SIZES, *_MORE_SIZES) if total < limit), "n>1T")
    first = next(iter(documents))
    configs = [
        {"config_name": name, "data_files": f"data/{name}/*.parquet", **({"default": True} if name == first else {})}
        for name in documents
    ]
    header = {
        **license_header(recipe.documents.license),
        "pretty_name": f"{recipe.name}: synthetic documents",
        "task_categories": ["text-generation"],
        "tags": ["synthetic", *TAGS],
        "size_categories": [size],
        "configs": configs,
    }
    parts = [
        f"# {recipe.name}: synthetic documents",
        "Synthetic text of a run of Synthetic Bootstrapped Pretraining "
        "([arXiv 2509.15248](https://arxiv.org/abs/2509.15248)): a synthesizer is tuned on pairs of related documents, "
        "and writes a new document for a given one. **None of this is fact**: the text is what looked plausible to a "
        "model, and was not checked by anyone.",
        table(
            ["configuration", "written by", "documents", "tokens", "raw generations"],
            [
                [f"`{name}`", _writer(recipe, name), count(number)]
                + [count(audits[name].get(key)) for key in ("tokens", "generations")]
                for name, number in documents.items()
            ],
        ),
        "Columns: `id`, `text`, `tokens` (end-of-document included), `finished`, and the parents: "
        "`seed_id` and `seed_row` (the document of the source corpus it was written for), `generation` (how many texts "
        "were written for it before), `synthesizer` (SHA-256 of the weights), `round`, `pairs_file` (the pairs that "
        "the synthesizer was tuned on, below the run folder) and `pairs` (its SHA-256), `temperature`, `top_p`, "
        "`max_new_tokens`, `engine`, `precision`, `replaced` (share of tokens replaced at random, for that control), "
        "`run_seed`. The seed documents themselves are not included.",
        "## Filters",
        _dropped(audits),
        "## Quality",
        *(_quality(name, quality.get(name)) for name in documents),
    ]
    return card(header, parts, recipe, "documents")


def _writer(recipe: Recipe, configuration: str) -> str:
    """How the text of a configuration (a synthesizer, then a dash and the replicate) was made."""
    name = configuration.partition("-")[0]
    about = recipe.synthesizers[name]
    if about.method == "samples":
        return "the baseline, without a seed document (a control)"
    if about.method == "replacement":
        return f"chance: seed documents with {100 * about.replaced:g} % of their tokens replaced (a control)"
    relation = recipe.for_synthesizer(name).pairs.relation
    told = {"similar": "similar documents", "random": "random documents (a control)"}
    told["shuffled"] = "documents that are not related, with the targets of similar ones (a control)"
    return f"a synthesizer tuned on pairs of {told.get(relation, relation.replace('_', ' '))}"


def _dropped(audits: Mapping[str, Mapping[str, JsonValue]]) -> str:
    """What each rule dropped, by configuration."""
    rules = dict.fromkeys(rule for audit in audits.values() for rule in audit.get("dropped") or {})
    rows = [
        [rule.replace("_", " "), *(count((audit.get("dropped") or {}).get(rule)) for audit in audits.values())]
        for rule in rules
    ]
    return table(["generations dropped by rule", *(f"`{name}`" for name in audits)], rows)


def _quality(name: str, quality: Mapping[str, JsonValue] | None) -> str:
    if quality is None:
        return f"`{name}`: not measured."
    told = " ".join(filter(None, (seed_sentence(quality["similarity"]), agreement_sentence(quality.get("judge")))))
    shown = table(["", *(label for _, label, _ in GROUPS)], sheet_rows(dict(quality)))
    return f"`{name}`, in brackets the 95 % interval. {told}\n\n{shown}"
