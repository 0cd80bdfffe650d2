"""`sbp evaluate`: held-out loss, continuation choice and recall of the arms; quality of the synthetic text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.checkpoint.tracker import checkpoint_folder
from megatron_sbp.evaluation.judge_file import judge_place
from megatron_sbp.evaluation.judge_prompt import endpoint_settings
from megatron_sbp.evaluation.questions import documents_by_group, question_file, question_files, read_questions
from megatron_sbp.planning.recall_points import recall_iterations
from megatron_sbp.planning.units import MEASURED
from megatron_sbp.recipe import Recipe, settings
from megatron_sbp.recipe.names import RELATED, SPLITS
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.evaluation_items import item_reads
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import suffix, synthesizer_run
from megatron_sbp.stages.stage import UNIT, Stage

if TYPE_CHECKING:
    from megatron_sbp.evaluation.recall import RecallQuestions

_OF_PAIRS = {
    "pairs": (usual.pairs("train"), usual.pairs("valid")),
    "tokenize-pairs": (usual.tokens("valid_pairs"),),
    "export-synthesizer": (usual.inside(usual.export("synthesizer")),),
}
"""Inputs from every synthesizer that is tuned on pairs."""

_OF_SYNTHESIZER = {
    "synthesize": (usual.inside(usual.GENERATIONS),),
    "filter": (usual.SYNTHETIC_FILES,),
    "scan-corpus": (usual.inside(usual.corpus_findings(UNIT)),),
}
"""Inputs from every synthesizer."""

_JUDGING = ("baseline", "oracle")
"""Arms that have read no synthetic text: their perplexity on it is a measure of its quality."""


class EvaluateStage(Stage):
    """Held-out loss and continuation choice of every arm; quality of the synthetic text."""

    name = "evaluate"
    title = "measure loss, continuation choice, and recall of every arm, and the quality of the synthetic text"
    sharded = True
    units_of_recipe = True
    device = "gpu"
    version = 3

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        asked = run.recipe.evaluation.question_group_field is not None
        splits = ("train", "valid", *(("test",) if _looks_for_items(run.recipe) else ()))
        return {
            "documents": (usual.documents("*"),) if asked else tuple(map(usual.documents, splits)),
            "tokenizer": (usual.inside(usual.TOKENIZER),),
            "tokenize": (*map(usual.tokens, ("real", "valid", "test")), usual.audit_tokens("audit")),
            "embed": (usual.inside(usual.embeddings("train")), usual.inside(usual.embeddings("test"))),
            "export-arms": tuple(usual.inside(usual.export(arm)) for arm in (UNIT, *_judging(run.recipe))),
            **{
                f"train-{arm}": (usual.checkpoints(UNIT),)
                for arm in run.recipe.arms
                if recall_iterations(run.recipe, arm)
            },
            **{
                name: patterns
                for synthesizer in run.recipe.used_synthesizers
                for name, patterns in item_reads(synthesizer_run(run, synthesizer)).items()
            },
            **{
                name + suffix(synthesizer): tuple(synthesizer_run(run, synthesizer).named(path) for path in patterns)
                for synthesizer in run.recipe.used_synthesizers
                for name, patterns in _read_of(run, synthesizer).items()
            },
        }

    def external(self, run: Run) -> list[Path]:
        judge = judge_place(run.recipe)
        return [*question_files(run.recipe), *([] if judge is None else [judge.file])]

    def settings(self, run: Run) -> JsonObject:
        recipe = run.recipe
        others = [name for name in recipe.used_synthesizers if name != RELATED]
        asked = recipe.evaluation.recall_points > 0
        rules = {name: _rules(recipe.for_synthesizer(name)) for name in others}
        judge, endpoint = judge_place(recipe), recipe.evaluation.judge_endpoint
        left_out = ("questions", "judge", "judge_endpoint", "harness")
        return {
            "seed": recipe.evaluation_seed,
            "sequence_length": recipe.model.sequence_length,
            # The batch size is in it: sums of floats come out differently in their last digits.
            # Questions and the judge count by the contents of their files, see `external`; an endpoint by what its
            # answers depend on. The harness is a stage of its own.
            "evaluation": settings(recipe.evaluation, *left_out, *([] if asked else ["recall_points"])),
            **({} if judge is None else {"judge": judge.name}),
            **({} if endpoint.base_url is None else {"judge_endpoint": endpoint_settings(endpoint)}),
            "embedding": recipe.embedding.of_vectors(),
            **_rules(recipe),
            **({"synthesizers": rules} if rules else {}),
        }

    def grown_from(self, run: Run, former: Mapping[str, JsonValue]) -> bool:
        """With additional synthesizers, whose arms may be new too, the others are measured again."""
        present = self.settings(run)
        rules = present.get("synthesizers", {})
        kept = all(rules.get(name) == mine for name, mine in former.get("synthesizers", {}).items())
        return kept and {**former, "synthesizers": rules} == {**present, "synthesizers": rules}

    def units(self, run: Run) -> list[str]:
        synthesizers = [
            kind + suffix(name)
            for name in run.recipe.used_synthesizers
            for kind in MEASURED[run.recipe.synthesizers[name].method]
        ]
        return [*run.recipe.arms, *synthesizers]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("evaluation",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        kind, _, synthesizer = unit.partition(".")
        measure = {"quality": _quality, "reading": _reading}.get(kind)
        found = measure(run, synthesizer or RELATED) if measure else _arm(run, unit)
        files.write_json(run.evaluation(unit), found)
        return [run.evaluation(unit)]


def _read_of(run: Run, synthesizer: str) -> dict[str, tuple[str, ...]]:
    found = {**(_OF_PAIRS if synthesizer in run.recipe.tuned_synthesizers else {}), **_OF_SYNTHESIZER}
    if _retokenized(synthesizer_run(run, synthesizer)) is not None:
        found["filter"] += (usual.AUDIT_SYNTHETIC,)
    return found


def _retokenized(run: Run) -> dict[str, int] | None:
    """The filters' counts of texts that tokenize differently from what was written; earlier versions have none."""
    try:
        return files.read_json(run.audit_synthetic).get("retokenized") if run.audit_synthetic.exists() else None
    except InputError:  # damaged: the stage that reads the outputs of `filter` reports it
        return None


def _judging(recipe: Recipe) -> list[str]:
    """Arms that the figures of synthetic text need, too."""
    return [arm for arm in _JUDGING if arm in recipe.arms]


def _rules(recipe: Recipe) -> JsonObject:
    return {
        "shingle_tokens": recipe.pairs.shingle_tokens,
        "max_new_tokens": recipe.max_new_tokens,
        "max_repetition": recipe.filter.max_repetition,
        "max_copying": recipe.filter.max_copying,
        "duplicate_threshold": recipe.filter.duplicate_threshold,
        # Whether contaminated texts are dropped concerns the filters; here it only matters whether they are looked for.
        **({} if recipe.filter.contaminated is None else {"contamination": True}),
    }


def _looks_for_items(recipe: Recipe) -> bool:
    used = (recipe.for_synthesizer(name).filter for name in recipe.used_synthesizers)
    return any(rules.contaminated is not None for rules in used)


def _arm(run: Run, arm: str) -> JsonObject:
    from megatron_sbp.evaluation.arm import HeldOut, evaluate_arm
    from megatron_sbp.evaluation.recall_curve import recall_curve

    recipe, splits = run.recipe, ("valid", "test")
    questions = _questions(run)
    audit = files.read_json(run.audit_tokens("audit"))
    found = evaluate_arm(
        arm,
        checkpoint=run.export(arm),
        tokenizer=run.tokenizer,
        held_out=HeldOut(
            tokens={split: run.tokens(split) for split in splits},
            text_bytes={split: audit[split]["bytes"] for split in splits},
            embeddings=run.embeddings("test"),
        ),
        evaluation=recipe.evaluation,
        sequence_length=recipe.model.sequence_length,
        seed=recipe.evaluation_seed,
        device=recipe.launch.device,
        questions=questions,
    )
    wanted = {number: checkpoint_folder(run.model(arm), number) for number in recall_iterations(recipe, arm)}
    kept = {number: folder for number, folder in wanted.items() if folder.exists()}
    if len(kept) < len(wanted):
        reason = "it was trained before evaluation.recall_points was set"
        say(f"{arm}: recall against tokens on {len(kept)} of {len(wanted)} checkpoints; {reason}")
    if kept and questions is not None:
        step_tokens = recipe.training.global_batch_size * recipe.model.sequence_length
        found["recall_curve"] = recall_curve(
            {number * step_tokens: folder for number, folder in kept.items()},
            model=recipe.model,
            tokenizer=run.tokenizer,
            questions=questions,
            batch_size=recipe.evaluation.batch_size,
            device=recipe.launch.device,
            label=f"{arm}: recall against tokens",
        )
    return found


def _questions(run: Run) -> RecallQuestions | None:
    from megatron_sbp.evaluation.recall import RecallQuestions
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    recipe, file = run.recipe, question_file(run.recipe)
    if file is None:
        return None
    questions, field, groups = read_questions(recipe), recipe.evaluation.question_group_field, None
    if field is not None:
        groups = documents_by_group(questions, {split: run.document_shards(split) for split in SPLITS}, field, file)
    return RecallQuestions(questions, load_tokenizer(run.tokenizer), file, groups, recipe.model.sequence_length)


def _quality(run: Run, synthesizer: str) -> JsonObject:
    from megatron_sbp.evaluation.measure import measure_quality
    from megatron_sbp.stages.quality_files import quality_files

    tuned = synthesizer in run.recipe.tuned_synthesizers
    sheet = "quality" + suffix(synthesizer)
    answers = run.answers(sheet)
    run = synthesizer_run(run, synthesizer)
    found = quality_files(
        run,
        pairs=run.pairs("train") if tuned else None,
        checkpoints={arm: run.export(arm) for arm in _judging(run.recipe)},
        answers=answers,
        retokenized=_retokenized(run),
        findings=run.findings(sheet),
    )
    return measure_quality(found, run.recipe)


def _reading(run: Run, synthesizer: str) -> JsonObject:
    from megatron_sbp.evaluation.seed_use import measure_reading

    run = synthesizer_run(run, synthesizer)
    recipe = run.recipe
    return measure_reading(
        checkpoint=run.export("synthesizer"),
        tokenizer=run.tokenizer,
        pairs=run.pairs("valid"),
        pair_tokens=run.tokens("valid_pairs"),
        at_most=recipe.evaluation.quality_documents,
        batch_size=recipe.evaluation.batch_size,
        seed=recipe.evaluation_seed,
        device=recipe.launch.device,
    )
