"""The quality figures of one run: synthetic documents before and after the filters, and real ones, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation import quality, sheet
from megatron_sbp.evaluation.agreement import shipped_agreement
from megatron_sbp.evaluation.compared import GROUPS, Compared, LookedFor, QualityFiles, compared_texts
from megatron_sbp.evaluation.confidence import estimate, pair, share_interval
from megatron_sbp.evaluation.contamination import Contamination, ItemsIn
from megatron_sbp.evaluation.corpus_pass import CorpusPass
from megatron_sbp.evaluation.corpus_scan import join_findings
from megatron_sbp.evaluation.judge import load_judge
from megatron_sbp.evaluation.judging import judge_groups
from megatron_sbp.evaluation.real_text import WrittenTexts, with_seed_rows
from megatron_sbp.evaluation.row_choice import choose
from megatron_sbp.evaluation.shard_reading import read_shards
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.evaluation.similarity import sampled_pairs, similarity_figures
from megatron_sbp.overlap.novelty import share_of
from megatron_sbp.pairing.document_rows import rows_of
from megatron_sbp.recipe import Recipe
from megatron_sbp.tokenization.indexed import IndexedTokens
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer


def measure_quality(found: QualityFiles, recipe: Recipe) -> JsonObject:
    """Measures what evaluation/quality.json holds.

    Real documents are cut to the lengths of the synthetic ones, since long texts repeat more, and near-duplicates are
    counted among equal numbers of documents.

    Args:
        found: the files.
        recipe: its seed, `evaluation`, `filter`, `embedding`, shingle length and generation length are used.

    Returns:
        `groups`: figures of `synthetic` (kept by the filters), `generations` (before the filters) and `real` (the seed
        documents; its `corpus_copying` and `novel_ngrams` are those of valid documents, which are not in D). Besides
        plain figures, whose 95 % intervals are in `intervals`, each has those of `sheet.measure_groups`, `lengths`,
        `retokenized`, `perplexity` by arm, and, where the recipe names a judge, `non_factual` and `pair_irrelevance`.
        `similarity`: see `similarity_figures`. `judge`: whose opinion it is, and of an endpoint its `agreement` with a
        known truth (`shipped_agreement`). `limits`: the settings behind the figures.
        `contamination`, where items are looked for: see `Contamination.figures`.
    """
    judge = load_judge(recipe, found.answers)  # one that fails to load is reported before the work
    tokenizer = load_tokenizer(found.tokenizer)
    shards = {"synthetic": found.synthetic, "generations": found.generations}
    texts = compared_texts(found, recipe, tokenizer)
    real, population, samples = texts.real, texts.population, texts.samples
    compared = min([*population.values(), recipe.evaluation.duplicate_pairs])
    groups: dict[str, JsonObject] = {}
    written = WrittenTexts()
    for group, count in population.items():
        say(f"quality: {group}, {count:,} documents")
        several = choose(count, compared, recipe.seed, GROUPS[group][1])
        if group == "real":
            alike = real.alike(with_seed_rows(several, written.seed_rows, recipe.seed), written.tokens)
            words: Iterable[str] = (one.text for one in alike)
        else:
            found_rows = (row for _, row in rows_of(shards[group], several))
            words = (row["text"] for row in (written.noting(found_rows) if group == "synthetic" else found_rows))
        groups[group] = {"population": count, **_group(recipe, real.tokens, samples[group], words, group)}
    items = None if found.items is None else Contamination(found.items)
    _add_sheet(groups, texts, found, recipe=recipe, tokenizer=tokenizer, items=items)
    groups["real"]["corpus_documents"] = len(texts.held_out)
    if found.pairs is not None:
        _add_copying_of_pairs(groups["real"], found.pairs, real.tokens, recipe)
    result = {
        "groups": groups,
        "similarity": similarity_figures(found.embeddings, found.pairs, samples, recipe),
        "limits": {
            "max_repetition": recipe.filter.max_repetition,
            "max_copying": recipe.filter.max_copying,
            "duplicate_threshold": recipe.filter.duplicate_threshold,
            "shingle_tokens": recipe.pairs.shingle_tokens,
            "max_tokens": recipe.max_new_tokens - 1,
            "intervals": sheet.method(),
        },
    }
    if items is not None:
        for group, files_ in shards.items() if found.findings is None else ():
            looking = ItemsIn(items.without_findings(), group)
            read_shards(looking, files_, population[group], f"quality: evaluation items in {group}", rows=False)
            items.absorb(looking.found())
        result["contamination"] = items.figures()
    if judge is None:
        return {**result, "judge": None}
    measured = {}
    if recipe.evaluation.judge_endpoint.base_url is not None:  # a function may know the run's own documents only
        measured = {"agreement": shipped_agreement(judge)}
    judge_groups(judge, groups, samples, pairs_file=found.pairs, real=real, seed=recipe.seed)
    return {**result, "judge": {**judge.about(), **measured}}


def _add_sheet(
    groups: dict[str, JsonObject],
    texts: Compared,
    found: QualityFiles,
    *,
    recipe: Recipe,
    tokenizer: TextTokenizer,
    items: Contamination | None,
) -> None:
    """Adds the figures of the quality sheet to those of the groups; takes what was found in D, or reads D once."""
    samples, held_out, real = texts.samples, texts.held_out, texts.real
    wanted = LookedFor.of(texts.wanted(), recipe.pairs.shingle_tokens)
    overlap, novelty = wanted.overlap, wanted.novelty
    reading = CorpusPass(found.tokens["train"], overlap, novelty, items)
    if found.findings is None:
        read_shards(reading, found.documents["train"], len(real.tokens), "quality: reading D")
    else:
        join_findings(found.findings, reading, wanted.digest)
    counted = overlap.counts()
    compared = sheet.measure_groups(samples, novelty, recipe.seed)
    retokenized = sheet.retokenized_counts(found.retokenized)
    perplexity = sheet.perplexities(
        {**samples, "real": held_out},
        found.checkpoints,
        tokenizer,
        context=recipe.model.sequence_length,
        batch_size=recipe.evaluation.batch_size,
        seed=recipe.seed,
        device=recipe.launch.device,
    )
    for group, figures in groups.items():
        counts = counted.get(group, {})
        figures |= {name: share_of(count) for name, count in counts.items()}
        figures["intervals"] |= {**sheet.share_intervals(figures), **sheet.count_intervals(counts, recipe.seed)}
        tokens = [len(one.tokens) for one in samples[group]]
        if group == "real":  # as long as they are: this figure is not compared at equal lengths, it compares them
            tokens = real.lengths(one.own for one in samples[group]).tolist()
        figures["lengths"] = sheet.lengths(tokens, recipe.max_new_tokens - 1, recipe.seed)
        if group == "real":
            figures["retokenized"] = sheet.retokenized_real(samples[group], tokenizer)
        else:
            figures["retokenized"] = retokenized.get(group) or sheet.retokenized(samples[group])
        figures |= compared[group]
        figures["perplexity"] = perplexity[group]


def _group(recipe: Recipe, real: IndexedTokens, sample: list[Sampled], texts: Iterable[str], group: str) -> JsonObject:
    words = [one.text for one in sample]
    copying = finished = None  # of documents without a seed document
    if group != "real" and sample:
        finished = sum(one.row["finished"] for one in sample) / len(sample)
    if group != "real" and all(one.row["seed_row"] is not None for one in sample):
        seeds = [real[one.row["seed_row"]][:-1] for one in sample]
        encoded = [one.tokens for one in sample]
        copying = quality.copying(encoded, seeds, recipe.pairs.shingle_tokens, recipe.filter.max_copying)
    loops = quality.repetition(words, recipe.filter.max_repetition, recipe.seed)
    pairs, threshold = recipe.evaluation.duplicate_pairs, recipe.filter.duplicate_threshold
    repeats = quality.duplicates(texts, pairs, threshold, recipe.seed)
    return {
        "documents": len(sample),
        **loops,
        **repeats,
        "intervals": {**loops["intervals"], **repeats["intervals"]},
        "copying": copying,
        "corpus_copying": None,
        "novel_ngrams": None,
        "finished": finished,
        "tokens": quality.lengths([len(one.tokens) for one in sample]),
    }


def _add_copying_of_pairs(figures: JsonObject, pairs: Path, real: IndexedTokens, recipe: Recipe) -> None:
    """Adds what corresponds to `copying` in real text: the share of pairs whose target copies its seed document, both
    whole; `copying_pairs` is how many were drawn. Pairs count as independent."""
    drawn = sampled_pairs(pairs, recipe.evaluation.quality_documents, recipe.seed).tolist()
    seeds, targets = ([real[row[place]][:-1] for row in drawn] for place in (0, 1))
    value = quality.copying(targets, seeds, recipe.pairs.shingle_tokens, recipe.filter.max_copying)
    figures["copying"], figures["copying_pairs"] = value, len(drawn)
    copies = 0 if value is None else round(value * len(drawn))
    figures["intervals"]["copying"] = pair(estimate(value, share_interval(copies, len(drawn))))
