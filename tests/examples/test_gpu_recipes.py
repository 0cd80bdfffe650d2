"""The recipes for GPUs, the paper's three and the smaller two: marks, plans, jobs, and the table of what they cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatron_sbp.cli import main
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("sbp_*/recipe.yaml"))
SMALLER = [EXAMPLES / name / "recipe.yaml" for name in ("sbp_100m_2b", "sbp_1b_20b")]


def name_of(file: Path) -> str:
    return file.parent.name


def test_there_are_five():
    assert len(FILES) == 5 and set(SMALLER) < set(FILES)


def commented(text: str) -> dict[str, str]:
    """The mark in the comment behind every value, by recipe key."""
    found, sections = {}, ["", "", ""]
    for line in text.splitlines():
        if whole := re.match(r"( *)(\w+):\s*(#|$)", line):
            depth = len(whole[1]) // 2
            sections[depth + 1] = f"{sections[depth]}{whole[2]}."
        if marked := re.match(r"( *)(\w+): .*  # (V|S2|S|A|M|O)\b", line):
            found[sections[len(marked[1]) // 2] + marked[2]] = marked[3]
    return found


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_marks_repeat_the_comments(file):
    marks = load_recipe(file).marks
    in_comments = {key: mark for key, mark in commented(file.read_text()).items() if not key.startswith("synthesizers")}
    assert {key: str(mark) for key, mark in marks.items()} == {
        key: mark for key, mark in in_comments.items() if not key.startswith("arms")
    }


@pytest.mark.parametrize("file", SMALLER, ids=name_of)
def test_the_smaller_ones_have_the_papers_proportions_and_the_controls(file):
    recipe = load_recipe(file)
    plan = make_plan(recipe)
    assert list(recipe.arms) == ["baseline", "regularized", "control", "sbp", "oracle"]
    assert recipe.for_arm("regularized").training.weight_decay == 0.8
    assert recipe.for_synthesizer("random").pairs.relation == "random"
    arms = plan["arms"]
    assert arms["baseline"]["real_epochs"] == pytest.approx(20, abs=0.1)
    assert arms["sbp"]["synthetic_share"] == pytest.approx(0.375, abs=1e-3)
    assert arms["sbp"]["real_epochs"] == pytest.approx(12.5, abs=0.1) == arms["control"]["real_epochs"]
    assert 0.97 <= arms["oracle"]["real_epochs"] <= 1.0


def test_their_sizes_are_those_of_their_names():
    sizes = [make_plan(load_recipe(file)) for file in SMALLER]
    assert [plan["model"]["parameters"] for plan in sizes] == [
        pytest.approx(1e8, rel=0.05),
        pytest.approx(1e9, rel=0.05),
    ]
    assert [plan["hardware"]["gpus"] for plan in sizes] == [1, 8]
    one, node = (max(entry["total"] for entry in plan["memory"]["trainings"].values()) for plan in sizes)
    assert one < 0.9 * 24e9 and node < 0.9 * 80e9


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_plan_jobs_and_rehearsal(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # the embedder need not be in the cache; nothing is fetched
    graph = all_stages(load_recipe(file))
    words = [str(file), f"run_folder={tmp_path}/run"]
    assert main(["plan", *words]) == 0 and "wall time" in capsys.readouterr().out
    assert main(["submit", *words, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "without --dry-run, this would be refused" in told.err  # there is no corpus
    jobs = [line for line in told.out.splitlines() if "=$(sbatch" in line]
    assert [job.partition("=")[0] for job in jobs] == [re.sub(r"\W", "_", stage.name) for stage in graph]
    assert main(["rehearse", *words, "--dry-run"]) == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_table_has_the_costs_of_the_plan(file):
    """As the table rounds: two digits or more."""
    (row,) = [line for line in (EXAMPLES / "README.md").read_text().splitlines() if f"| [{name_of(file)}](" in line]
    plan = make_plan(load_recipe(file))
    hours, time = re.search(r"([\d,]+) H100-hours: ([\d.]+ (?:hours|days))", row).groups()
    assert float(hours.replace(",", "")) == pytest.approx(plan["total"]["gpu_hours"], rel=0.03)
    value, unit = time.split()
    assert float(value) == pytest.approx(plan["time"]["one_after_another"] / {"hours": 1, "days": 24}[unit], rel=0.03)
    size, unit = re.findall(r"([\d.]+) (TB|GB)", row.split("|")[2])[-1]
    assert float(size) == pytest.approx(plan["disk"]["total"] / {"TB": 1e12, "GB": 1e9}[unit], rel=0.03)


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in EXAMPLES.glob("*/*.yaml")))
def test_every_folder_is_in_the_table(folder):
    assert f"]({folder}/" in (EXAMPLES / "README.md").read_text() and list((EXAMPLES / folder).glob("*.md"))
