"""The stage that measures the arms and the synthetic text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.questions import documents_by_group, question_file, read_questions
from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import ARMS, Run
from megatron_sbp.stages.stage import Stage


class EvaluateStage(Stage):
    """Held-out loss and continuation choice of every arm; quality of the synthetic text."""

    name = "evaluate"
    title = "held-out loss and continuation choice of every arm, quality of the synthetic text"
    sharded = True
    device = "gpu"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        asked = run.recipe.evaluation.question_group_field is not None
        return {
            "documents": ("documents/*/*",) if asked else ("documents/train/*", "documents/valid/*"),
            "tokenizer": ("tokenizer/*",),
            "tokenize": ("tokens/real.*", "tokens/valid.*", "tokens/test.*", "tokens/audit.json"),
            "embed": ("embeddings/train/*", "embeddings/test/*"),
            "pairs": ("pairs/pairs.parquet", "pairs/valid_pairs.parquet"),
            "tokenize-pairs": ("tokens/valid_pairs.*",),
            "export-synthesizer": ("export/synthesizer/*",),
            "synthesize": ("synthetic/drafts/*",),
            "filter": ("synthetic/[0-9]*",),
            "export-arms": tuple(f"export/{arm}/*" for arm in ARMS),
        }

    def external(self, run: Run) -> list[Path]:
        file = question_file(run.recipe)
        return [] if file is None else [file]

    def settings(self, run: Run) -> dict[str, Any]:
        recipe = run.recipe
        return {
            "seed": recipe.seed,
            "sequence_length": recipe.model.sequence_length,
            # The batch size is in it: sums of floats come out differently in their last digits.
            # Questions count by the contents of their file, see `external`.
            "evaluation": settings(recipe.evaluation, "questions"),
            "embedding": settings(recipe.embedding, "batch_size"),
            "shingle_tokens": recipe.pairs.shingle_tokens,
            "max_new_tokens": recipe.max_new_tokens,
            "max_repetition": recipe.filter.max_repetition,
            "max_copying": recipe.filter.max_copying,
            "duplicate_threshold": recipe.filter.duplicate_threshold,
        }

    def units(self, run: Run) -> list[str]:
        return [*ARMS, "quality", "reading"]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("evaluation",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        if unit == "quality":
            from megatron_sbp.evaluation.measure import measure_quality

            result = measure_quality(run)
        elif unit == "reading":
            result = measure_reading(run)
        else:
            result = evaluate_arm(run, unit)
        files.write_json(run.evaluation(unit), result)
        return [run.evaluation(unit)]


def evaluate_arm(run: Run, arm: str) -> dict[str, Any]:
    """Measures one arm: `valid` and `test` as in `perplexity.held_out_loss`, `choice` as in `choice.choice_summary`,
    `recall` as in `recall.recall_summary` (null without `evaluation.questions`).

    Raises:
        InputError: missing or damaged tokens, embeddings that do not fit the test documents, a checkpoint that does not
            load or knows too few tokens, a wrong question.
    """
    import numpy as np
    import torch

    from megatron_sbp.base.device import compute_device
    from megatron_sbp.evaluation.choice import answer, build_questions, choice_summary
    from megatron_sbp.evaluation.model import device_name, load_model
    from megatron_sbp.evaluation.perplexity import held_out_loss
    from megatron_sbp.tokenization.indexed import open_indexed
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    recipe, tokenizer = run.recipe, load_tokenizer(run.tokenizer)
    device = torch.device(compute_device(recipe.launch.device))
    model = load_model(run.export(arm), device)
    entries = model.get_input_embeddings().num_embeddings
    if entries < tokenizer.vocab_size:
        raise InputError(
            f"knows {entries} tokens, the tokenizer has {tokenizer.vocab_size}", file=run.export(arm) / "config.json"
        )
    asked = read_questions(recipe)
    audit = files.read_json(run.tokens("audit").with_suffix(".json"))
    result: dict[str, Any] = {"arm": arm, "engine": "transformers", "precision": "fp32", "device": device_name(device)}
    for split in ("valid", "test"):
        result[split] = held_out_loss(
            model,
            open_indexed(run.tokens(split)),
            end_of_document=tokenizer.end_of_document,
            sequence_length=recipe.model.sequence_length,
            text_bytes=audit[split]["bytes"],
            batch_size=recipe.evaluation.batch_size,
            label=f"{arm}: {split} loss",
        )
    test = open_indexed(run.tokens("test"))
    shards = sorted(run.embeddings("test").glob("[0-9]*.npy"))
    vectors = np.concatenate([np.load(shard) for shard in shards]) if shards else np.empty((0, 1), np.float16)
    if len(vectors) != len(test):
        raise InputError(f"{len(vectors)} embeddings for {len(test)} test documents", file=run.embeddings("test"))
    questions, counts = build_questions(
        test,
        vectors,
        questions=recipe.evaluation.choice_questions,
        context=recipe.evaluation.choice_context,
        continuation=recipe.evaluation.choice_continuation,
        seed=recipe.seed,
    )
    credits = answer(
        model,
        questions,
        end_of_document=tokenizer.end_of_document,
        batch_size=recipe.evaluation.batch_size,
        label=f"{arm}: continuations",
    )
    result["choice"] = choice_summary(credits, counts)
    result["recall"] = _recall(run, model, tokenizer, asked, arm) if asked else None
    return result


def _recall(run: Run, model: Any, tokenizer: Any, asked: list[Any], arm: str) -> dict[str, Any]:
    from megatron_sbp.evaluation.recall import choice_scores, encode_questions, recall_summary

    documents = documents_by_group(run, asked)
    file = question_file(run.recipe)
    assert file is not None
    encoded = encode_questions(asked, tokenizer, file)
    scores = choice_scores(model, encoded, run.recipe.evaluation.batch_size, f"{arm}: recall")
    return recall_summary(asked, scores, documents)


def measure_reading(run: Run) -> dict[str, Any]:
    """What the synthesizer reads from its seed, on pairs of the valid split: see `reading.reading`."""
    import pyarrow.parquet
    import torch

    from megatron_sbp.base.device import compute_device
    from megatron_sbp.evaluation.model import load_model
    from megatron_sbp.evaluation.reading import reading
    from megatron_sbp.tokenization.indexed import open_indexed
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    recipe, tokenizer = run.recipe, load_tokenizer(run.tokenizer)
    table = pyarrow.parquet.read_table(run.pairs("valid"), columns=["seed", "target"])
    return reading(
        load_model(run.export("synthesizer"), torch.device(compute_device(recipe.launch.device))),
        open_indexed(run.tokens("valid_pairs")),
        (table["seed"].to_numpy(), table["target"].to_numpy()),
        separator=tokenizer.separator,
        padding=tokenizer.padding,
        at_most=recipe.evaluation.quality_documents,
        seed=recipe.seed,
        batch_size=recipe.evaluation.batch_size,
    )
