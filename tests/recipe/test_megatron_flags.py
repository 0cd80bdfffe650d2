"""`training.megatron` against Megatron's own parser, asked once and then known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe, megatron_flags
from megatron_sbp.recipe.planned_flags import FIXED, OVERRIDABLE, RECIPE_KEYS

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "recipe.yaml"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder that one real question has filled."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert len(megatron_flags.megatron_flags()) > 500
    return folder


@pytest.fixture
def cached(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    # Nobody may be asked a second time.
    monkeypatch.setattr(megatron_flags, "_PROGRAM", "raise SystemExit('asked again')")
    return cache


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{num-wrkers: 0}", "Megatron has no flag --num-wrkers; did you mean 'num-workers'?"),
        ("{log_interval: 3}", "did you mean 'log-interval'?"),
        ("{log-interval: x}", "--log-interval must be a whole number, not 'x'"),
        ("{recompute-granularity: fulll}", "must be one of full, selective, not 'fulll'"),
        ("{log-throughput: 3}", "takes no value"),
        ("{optimizer: true}", "needs a value"),
        ("{num-workers: [1, 2]}", "takes one value"),
    ],
)
def test_the_plan_refuses_what_megatron_would(cached, given, words):
    recipe = load_recipe(EXAMPLE, [f"training.megatron={given}"])
    with pytest.raises(InputError) as caught:
        make_plan(recipe)
    assert words in str(caught.value) and caught.value.file == "command line"
    assert caught.value.key.startswith("training.megatron.")


@pytest.mark.slow
def test_file_and_line_are_named(cached, tmp_path):
    file = tmp_path / "recipe.yaml"
    text = EXAMPLE.read_text().replace("training:\n", "training:\n  megatron: {num-workerz: 0}\n")
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        make_plan(load_recipe(file))
    assert (caught.value.file, caught.value.line) == (file.resolve(), text[: text.index("num-workerz")].count("\n") + 1)


@pytest.mark.slow
def test_those_of_an_arm_are_checked(cached):
    arms = "arms={baseline: {}, other: {training: {megatron: {num-workers: many}}}}"
    with pytest.raises(InputError, match="must be a whole number, not 'many'") as caught:
        make_plan(load_recipe(EXAMPLE, [arms]))
    assert caught.value.key == "arms.other.training.megatron.num-workers"


@pytest.mark.slow
def test_what_megatron_takes_passes(cached):
    given = "{recompute-granularity: full, recompute-method: block, recompute-num-layers: 1, no-rope-fusion: null, "
    given += "async-save: true, lr-decay-style: WSD, recompute-modules: [mlp, core_attn], exit-duration-in-mins: 5, "
    given += "attention-dropout: 0.1}"
    make_plan(load_recipe(EXAMPLE, [f"training.megatron={given}"]))


@pytest.mark.slow
def test_a_damaged_cache_is_asked_for_again(cached, capsys):
    file = next((cached / "megatron-sbp").iterdir())
    good = file.read_text()
    try:
        for text in ("", "[]", "{}", '{"lr": 1}', good[:1000]):
            file.write_text(text)
            assert megatron_flags.megatron_flags() is None  # the question is replaced by one that fails
            assert "asked again" in capsys.readouterr().err
    finally:
        file.write_text(good)
    assert megatron_flags.megatron_flags() == json.loads(good)


def test_without_a_cache_folder_and_without_megatron(monkeypatch, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))  # no folder can be made below a file
    answer = {"num-workers": {"values": "one", "type": "int", "choices": None}}
    monkeypatch.setattr(megatron_flags, "_PROGRAM", f"print('''{json.dumps(answer)}''')")
    assert megatron_flags.megatron_flags() == answer
    monkeypatch.setattr(megatron_flags.importlib.util, "find_spec", lambda name: None)
    recipe = load_recipe(EXAMPLE, ["training.megatron={num-wrkers: 0}"])
    megatron_flags.check_megatron_flags(recipe)
    assert "was not checked: Megatron is not installed here\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_plan_with_a_cache_imports_no_torch(cache):
    program = (
        "import sys\nfrom megatron_sbp.planning.plan import make_plan\nfrom megatron_sbp.recipe import load_recipe\n"
        f"make_plan(load_recipe({str(EXAMPLE)!r}))\nprint('torch' in sys.modules)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False\n" and done.stderr == ""


@pytest.mark.slow
def test_the_flags_that_are_refused_are_megatrons(cached):
    known = megatron_flags.megatron_flags()
    assert [name for name in (*RECIPE_KEYS, *FIXED, *OVERRIDABLE) if name not in known] == []


def test_who_has_no_home_has_no_cache(monkeypatch, tmp_path):
    """In a container, a user that no passwd knows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(megatron_flags.files, "home_expanded", lambda path: path)
    flags = {"values": "one", "type": "int", "choices": None}
    monkeypatch.setattr(megatron_flags, "_PROGRAM", f"import json; print(json.dumps({{'lr': {flags}}}))")
    assert megatron_flags.megatron_flags() == {"lr": flags}
    assert list(tmp_path.iterdir()) == []
