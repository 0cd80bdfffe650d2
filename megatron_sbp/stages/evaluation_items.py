"""The texts on which arms are evaluated, which synthetic text should not hold."""

from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.evaluation.questions import read_questions
from megatron_sbp.stages.run_folder import Run


def evaluation_items(run: Run) -> dict[str, list[str]]:
    """Every question with its true answer, and every document of the test split, by `questions` and `test documents`.

    Raises:
        InputError: see `read_questions`.
    """
    questions = [f"{one.prompt} {one.choices[one.answer]}" for one in read_questions(run.recipe)]
    documents = [row["text"] for shard in run.document_shards("test") for row in files.read_jsonl_zst(shard)]
    return {"questions": questions, "test documents": documents}
