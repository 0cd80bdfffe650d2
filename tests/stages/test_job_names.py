"""`slurm.stages`: a name that no job has is found before anything is asked of Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.cli import main
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.mark.parametrize("name, near", [("cpuu", "cpu"), ("tokenise", "tokenize"), ("tun", "tune"), ("zzz", None)])
def test_a_name_that_no_job_has(name, near):
    recipe = load_recipe(TINY, [f"slurm.stages={{{name}: {{memory: 3G}}}}"])
    with pytest.raises(InputError) as error:
        all_stages(recipe)
    assert str(error.value).startswith(f"command line: 'slurm.stages.{name}': there is no stage and no kind of job")
    assert str(error.value).endswith(f"did you mean '{near}'?" if near else "of that name")


def test_file_and_line_are_told(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(TINY.read_text() + "\nslurm:\n  stages:\n    cpuu: {memory: 3G}\n")
    with pytest.raises(InputError) as error:
        all_stages(load_recipe(file))
    assert error.value.line == len(file.read_text().splitlines()) and error.value.key == "slurm.stages.cpuu"


@pytest.mark.parametrize("name", ["cpu", "gpu", "training", "tune", "train-sbp", "filter", "report"])
def test_kinds_verbs_and_stages(name):
    all_stages(load_recipe(TINY, [f"slurm.stages={{{name}: {{memory: 3G}}}}"]))


@pytest.mark.parametrize("verb", ["plan", "doctor", "status"])
def test_every_verb_refuses_it(verb, capsys):
    assert main([verb, str(TINY), "slurm.stages={cpuu: {memory: 3G}}"]) == 2
    assert "did you mean 'cpu'?" in capsys.readouterr().err
