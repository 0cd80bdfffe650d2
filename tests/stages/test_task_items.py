"""The stage `task-items`, and what the filters do with what it finds."""

from __future__ import annotations

import pytest
from support.harness_tasks import write_tasks
from support.synthesis_run import execute_synthesis, rewrite_generations

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.evaluation_items import evaluation_items
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.task_items import TaskItemsStage

pytest.importorskip("lm_eval")

TASKS = ("evaluation.harness.task_folder=tasks", "evaluation.harness.tasks=[prose]")
LOOSE = ("filter.max_copying=1", "filter.max_repetition=1", "filter.unfinished=keep")


def names(run) -> list[str]:
    return [stage.name for stage in all_stages(run.recipe)]


def test_it_is_there_only_where_items_of_tasks_are_looked_for(make_run):
    assert "task-items" not in names(make_run("run", *TASKS))
    assert "task-items" not in names(make_run("run", "filter.contaminated=keep"))
    both = make_run("run", *TASKS, "filter.contaminated=keep")
    assert names(both).index("task-items") < names(both).index("synthesize")
    assert JudgeStage().reads(both)["task-items"] == ("evaluation_items/*",)
    for stage in all_stages(both.recipe):
        assert ("task-items" in stage.reads(both)) == (stage.name in ("judge", "scan-corpus", "evaluate"))


def test_a_text_with_an_item_of_a_task_is_dropped(undisturbed, make_run):
    folder = undisturbed.root.parent / "tasks"
    write_tasks(folder)
    run = make_run("undisturbed", *TASKS, *LOOSE, "filter.contaminated=drop")
    stage = TaskItemsStage()
    assert StageRunner(run, stage, [stage]).execute()
    assert set(evaluation_items(run)) == {"questions", "test documents", "prose"}
    item = evaluation_items(run)["prose"][3][0]
    rows = rewrite_generations(run, {0: f"As they say: {item}", 1: "Nobody ever asked for a text like this one."})
    execute_synthesis(run, "judge", "deduplicate", "filter")
    kept = {row["id"] for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)}
    assert rows[0]["id"] not in kept and rows[1]["id"] in kept
    assert files.read_json(run.audit_synthetic)["dropped"]["contaminated"] == 1


def test_another_file_of_the_tasks_makes_it_again(undisturbed, make_run):
    folder = undisturbed.root.parent / "tasks"
    write_tasks(folder)
    run = make_run("undisturbed", *TASKS, "filter.contaminated=keep")
    stage = TaskItemsStage()
    assert StageRunner(run, stage, [stage]).execute()
    (folder / "data" / "prose.jsonl").write_text('{"text": "Another item, of which only this one is left now."}')
    assert not StageRunner(run, stage, [stage]).finished() and StageRunner(run, stage, [stage]).execute()
    assert evaluation_items(run)["prose"] == [("Another item, of which only this one is left now.",)]
