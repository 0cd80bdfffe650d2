"""The small recipe: the same graph, every difference listed, whatever the recipe says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.harness_tasks import write_tasks

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Evaluation, Recipe, load_recipe
from megatron_sbp.rehearsal.changes import Change, flat
from megatron_sbp.rehearsal.derive import Rehearsal, derive, write
from megatron_sbp.rehearsal.site import ENGINES, Site
from megatron_sbp.rehearsal.table import format_changes
from megatron_sbp.stages.graph import all_stages

REPOSITORY = Path(__file__).parents[2]
JUDGE = "judge: check_facts.py:judge "
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/*.yaml"))
CPU = Site(slurm=False, gpus=0, packages=frozenset(ENGINES))
GPUS = Site(slurm=False, gpus=8, packages=frozenset(ENGINES))
CLUSTER = Site(slurm=True, gpus=0, packages=frozenset(ENGINES))
PAPER = REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml"


def of(path: Path, *words: str, site: Site = CPU, folder: Path = Path("/nowhere")) -> Rehearsal:
    return derive(load_recipe(path, words), folder, site)


def change(rehearsal: Rehearsal, key: str) -> Change:
    return next(change for change in rehearsal.changes if change.key == key)


def differences(real: Recipe, here: Recipe) -> set[str]:
    """Keys whose values differ."""
    one, other = flat(real.to_dict()), flat(here.to_dict())
    return {".".join(key) for key in one.keys() | other.keys() if one.get(key, "gone") != other.get(key, "gone")}


@pytest.mark.parametrize("site", [CPU, GPUS, CLUSTER], ids=["cpu", "gpus", "cluster"])
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_example_keeps_its_graph_and_lists_what_differs(file, site):
    tasks = ["evaluation.harness.task_folder=none"] * bool(load_recipe(file).evaluation.harness.tasks)
    rehearsal = of(file, *tasks, site=site)
    real, here = rehearsal.real, rehearsal.recipe
    of_tasks = ("harness", "task-items")  # whose files are not here
    graph = [stage.name for stage in all_stages(real) if stage.name not in of_tasks]
    assert [stage.name for stage in all_stages(here)] == graph
    listed = {change.key for change in rehearsal.changes}
    assert len(listed) == len(rehearsal.changes)
    whole = ("marks", "evaluation.harness.shots.")  # one line for the mapping
    assert {key for key in differences(real, here) if not key.startswith(whole)} == listed - {"marks"}
    assert all(change.reason for change in rehearsal.changes if change.kind != "size")
    for change in rehearsal.changes:  # a size is cut
        if change.kind == "size" and isinstance(change.real, int | float) and change.here is not None:
            assert change.here < change.real, change
    # Whatever is divided stays divided.
    assert here.documents.train >= 2 * here.documents.documents_per_shard
    assert here.training.train_tokens >= 4 * here.training.eval_interval * here.model.sequence_length or (
        here.training.eval_interval == real.training.eval_interval
    )
    for name in ("nodes", "ranks_per_node", "tensor_parallel", "pipeline_parallel"):
        if getattr(real.launch, name) > 1 and not (name == "nodes" and not site.slurm):
            assert getattr(here.launch, name) > 1, name
    assert (here.model.num_query_groups < here.model.num_attention_heads) == (
        real.model.num_query_groups < real.model.num_attention_heads
    )


def test_what_is_not_here_is_replaced_and_named():
    rehearsal = of(PAPER)
    replaced = {change.key for change in rehearsal.changes if change.kind == "replaced"}
    assert {"documents.inputs", "synthesis.engine", "embedding.model", "launch.device", "launch.nodes"} <= replaced
    assert rehearsal.recipe.launch.device == "auto" and rehearsal.recipe.synthesis.engine == "transformers"
    assert rehearsal.recipe.training.precision == "bf16" and rehearsal.recipe.neighbors.engine == "exact"
    text = format_changes(rehearsal, 18)
    assert "12,077,000" in text and "vLLM needs a GPU" in text and "18 stages" in text


def test_what_is_here_stays():
    here = of(PAPER, site=GPUS).recipe
    assert (here.launch.device, here.synthesis.engine) == ("cuda", "vllm")
    assert here.launch.nodes * here.launch.ranks_per_node <= GPUS.gpus


def test_vllm_may_live_in_an_environment_of_its_own(tmp_path):
    elsewhere = Site(slurm=False, gpus=8, packages=frozenset())
    assert of(PAPER, site=elsewhere).recipe.synthesis.engine == "transformers"
    file = shutil.copy(PAPER, tmp_path / "recipe.yaml")
    chosen = of(file, "synthesis.vllm.python=vllm/bin/python", site=elsewhere).recipe.synthesis
    assert (chosen.engine, chosen.vllm.python) == ("vllm", str(tmp_path / "vllm/bin/python"))


def test_a_cluster_is_asked_for_what_the_real_run_asks_for():
    rehearsal = of(PAPER, site=CLUSTER)
    real, here = rehearsal.real, rehearsal.recipe
    assert here.slurm.model_copy(update={"time": "", "array_size": 1}) == real.slurm.model_copy(
        update={"time": "", "array_size": 1}
    )
    assert (here.slurm.time, here.slurm.array_size) == ("00:30:00", 3)
    assert (here.launch.nodes, here.launch.ranks_per_node) == (2, 8) and here.launch.device == "cuda"
    without = Site(slurm=True, gpus=0, packages=frozenset())
    assert of(PAPER, site=without).recipe.synthesis.engine == "transformers"


LAYOUT = ("launch.tensor_parallel=4", "launch.pipeline_parallel=2", "launch.context_parallel=2")


@pytest.mark.parametrize(
    "site, expected",
    [
        (CPU, (8, 2, 2, 1)),  # 2 data parallel ranks; context parallelism has no CPU engine
        (Site(False, 8, frozenset()), (8, 2, 2, 2)),
        (Site(False, 4, frozenset()), (4, 2, 2, 1)),
        (Site(False, 1, frozenset()), (1, 1, 1, 1)),
        (CLUSTER, (16, 2, 2, 2)),
    ],
)
def test_layouts_stay_in_kind_as_far_as_there_are_ranks(site, expected):
    rehearsal = of(PAPER, *LAYOUT, site=site)
    launch = rehearsal.recipe.launch
    ranks = launch.nodes * launch.ranks_per_node
    assert (ranks, launch.tensor_parallel, launch.pipeline_parallel, launch.context_parallel) == expected
    for key in ("tensor_parallel", "pipeline_parallel", "context_parallel"):
        if getattr(launch, key) == 1:
            assert change(rehearsal, f"launch.{key}").kind == "replaced"


def test_an_odd_layout_divides_what_it_must():
    words = ["launch.tensor_parallel=3", "launch.ranks_per_node=3", "model.num_attention_heads=24"]
    words += ["model.num_query_groups=6", "model.num_layers=27", "training.global_batch_size=2048"]
    here = of(PAPER, *words, "tuning.global_batch_size=32").recipe
    assert here.launch.tensor_parallel == 3 and here.model.num_attention_heads % 3 == 0


def test_sizes_of_arms_and_synthesizers_are_cut_too():
    words = ["arms={baseline: {}, small: {synthetic: related, synthetic_share: 0.001, training: {eval_interval: 400}}}"]
    words += ["synthesizers={related: {synthesis: {tokens: 7_000_000_000, engine: vllm}, pairs: {alpha: 0.9}, "]
    words[-1] += "tuning: {max_epochs: 4, max_seed_tokens: 3000, max_target_tokens: 1000}, filter: {min_tokens: 60}}}"
    rehearsal = of(PAPER, *words)
    small = rehearsal.recipe.for_synthesizer("related")
    assert small.synthesis.engine == "transformers" and (small.pairs.alpha, rehearsal.recipe.pairs.alpha) == (0.8, 0.75)
    assert (small.tuning.max_epochs, small.filter.min_tokens) == (1.0, 8)
    assert small.max_seed_tokens + small.max_target_tokens + 2 <= small.pair_room
    assert rehearsal.recipe.arms["small"].training == {"eval_interval": 8}
    assert {"synthesizers.related.synthesis.tokens", "arms.small.synthetic_share"} <= {
        change.key for change in rehearsal.changes
    }


def test_megatron_flags_that_need_a_gpu_are_left_out_and_named():
    words = ["training.megatron={sequence-parallel: true, recompute-num-layers: 20, overlap-grad-reduce: true}"]
    rehearsal = of(PAPER, *words)
    assert rehearsal.recipe.training.megatron == {"recompute-num-layers": 2, "overlap-grad-reduce": True}
    assert "Transformer Engine" in change(rehearsal, "training.megatron.sequence-parallel").reason
    assert "sequence-parallel" in of(PAPER, *words, site=GPUS).recipe.training.megatron


def test_flags_of_an_arm_that_have_no_place_here_are_left_out():
    flags = "{sequence-parallel: true, recompute-num-layers: 20, overlap-grad-reduce: true}"
    rehearsal = of(PAPER, f"arms={{baseline: {{}}, other: {{training: {{megatron: {flags}}}}}}}")
    assert rehearsal.recipe.arms["other"].training["megatron"] == {
        "recompute-num-layers": 2, "overlap-grad-reduce": True,
    }  # fmt: skip
    assert "Transformer Engine" in change(rehearsal, "arms.other.training.megatron.sequence-parallel").reason


def test_a_small_recipe_stays_small():
    words = ["model.hidden_size=32", "model.num_attention_heads=2", "model.num_query_groups=2", "model.num_layers=1"]
    words += ["model.ffn_hidden_size=64", "training.train_tokens=4096", "synthesis.tokens=1024"]
    here = of(REPOSITORY / "examples" / "people" / "recipe.yaml", *words).recipe
    assert (here.model.hidden_size, here.model.num_layers, here.model.ffn_hidden_size) == (32, 1, 64)
    assert here.training.train_tokens <= 4096


def test_a_recipe_that_someone_changed_is_not_replaced(tmp_path):
    shutil.copy(REPOSITORY / "examples" / "quickstart" / "foldoc.jsonl.zst", tmp_path)
    shutil.copy(REPOSITORY / "examples" / "quickstart" / "recipe.yaml", tmp_path)
    rehearsal = of(tmp_path / "recipe.yaml", folder=tmp_path / "small")
    file = write(rehearsal)
    before = {path: path.stat().st_mtime_ns for path in file.parent.rglob("*")}
    assert write(rehearsal) == file
    assert {path: path.stat().st_mtime_ns for path in file.parent.rglob("*")} == before
    assert load_recipe(file).to_dict() == rehearsal.recipe.to_dict()
    file.write_text(file.read_text().replace("train: 64", "train: 48"))
    with pytest.raises(InputError, match=r"was changed.* move it away") as found:
        write(rehearsal)
    assert found.value.file == file and "train: 48" in file.read_text()


def people(tmp_path: Path, instead_of_judge: str = JUDGE) -> Path:
    """The recipe of the made-up people in another folder, without its corpus, with another line of `evaluation`."""
    shutil.copytree(REPOSITORY / "examples" / "people", tmp_path / "people", ignore=shutil.ignore_patterns("*.jsonl"))
    file = tmp_path / "people" / "recipe.yaml"
    text = file.read_text()
    assert JUDGE in text
    file.write_text(text.replace(JUDGE, instead_of_judge))
    return file


def test_a_judge_of_real_documents_stays_with_them(tmp_path):
    file = people(tmp_path)
    gone = of(file)
    assert gone.recipe.evaluation.judge is None and change(gone, "evaluation.judge").kind == "replaced"
    rows = [
        f'{{"id": "{n}", "person": "p{n % 40}", "text": "Document {n} is about person {n % 40}."}}' for n in range(400)
    ]
    (tmp_path / "people" / "corpus.jsonl").write_text("\n".join(rows))
    here = of(file)
    assert here.recipe.evaluation.judge == f"{tmp_path}/people/check_facts.py:judge"
    assert change(here, "evaluation.judge").kind == "own"


def test_a_rehearsal_asks_no_endpoint(tmp_path):
    found = of(people(tmp_path, "judge_endpoint: {base_url: 'http://localhost:1/v1', model: m} "))
    assert found.recipe.evaluation.judge_endpoint == Evaluation().judge_endpoint
    gone = change(found, "evaluation.judge_endpoint.base_url")
    assert gone.kind == "replaced" and "asks no endpoint" in gone.reason and gone.real == "http://localhost:1/v1"


def test_tasks_are_asked_in_small_where_they_are_here(tmp_path):
    file = people(tmp_path, "harness: {tasks: [colors], task_folder: tasks, shots: {colors: 1}, backend: vllm} ")
    gone = of(file)
    assert gone.recipe.evaluation.harness.tasks == [] and gone.recipe.evaluation.harness.shots == {}
    assert "the folder of its task files is not here" in change(gone, "evaluation.harness.tasks").reason
    write_tasks(tmp_path / "people" / "tasks")
    found = of(file)
    harness = found.recipe.evaluation.harness
    assert (harness.tasks, harness.limit, harness.backend) == (["colors"], 8, "hf")
    assert harness.task_folder == str(tmp_path / "people" / "tasks")
    assert change(found, "evaluation.harness.limit").kind == "size"
    without = of(file, site=Site(slurm=False, gpus=0, packages=frozenset()))
    assert "lm-eval is not installed here" in change(without, "evaluation.harness.tasks").reason


def test_tasks_that_were_not_fetched_are_left_out(tmp_path):
    file = people(tmp_path, "harness: {tasks: [colors, webqs], task_folder: tasks, shots: {webqs: 1, colors: 2}} ")
    write_tasks(tmp_path / "people" / "tasks")
    found = of(file)
    harness = found.recipe.evaluation.harness
    assert harness.tasks == ["colors"] and harness.shots == {"colors": 2}
    left = change(found, "evaluation.harness.tasks")
    assert left.kind == "replaced" and left.reason == "not in the folder of task files: webqs"
