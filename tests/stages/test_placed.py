"""What a pattern owns, and where views and scopes lead to."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.stages.placed import Scope, owns
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(small_recipe(tmp_path, Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)), tmp_path)


@pytest.mark.parametrize(
    ("patterns", "path", "owned"),
    [
        (("words",), "words", True), (("words",), "words/a/b", True), (("words",), "wordsmith", False),
        (("tokens/real.*",), "tokens/real.bin", True), (("tokens/real.*",), "tokens/real/x.bin", False),
        (("tokens/*",), "tokens/parts/x/y", True), ((), "x", False), (("a/b",), "a", False),
    ],
)  # fmt: skip
def test_what_a_pattern_owns(patterns, path, owned):
    assert owns(patterns, path) == owned


def test_a_view_redirects_what_is_owned_and_nothing_else(run):
    view = run.view(run.root / ".work" / "x", ("tokens/pairs.*",))
    assert view.tokens("pairs") == run.root / ".work" / "x" / "tokens" / "pairs"
    assert view.tokens("real") == run.tokens("real")
    for path in (view.tokens("pairs"), view.tokens("real")):
        assert view.relative(path.with_suffix(".bin")) == f"tokens/{path.name}.bin"


def test_scopes_are_put_in_front_and_manifests_name_the_real_place(run):
    inner = run.scoped(
        run.recipe, (Scope("replicates/2", ("models",)), Scope("synthesizers/random", ("models/synthesizer",)))
    )
    assert inner.model("synthesizer") == run.root / "replicates/2/synthesizers/random/models/synthesizer"
    assert inner.model("sbp") == run.root / "replicates/2/models/sbp" and inner.tokenizer == run.tokenizer
    assert inner.relative(inner.model("sbp")) == "replicates/2/models/sbp"


def test_a_view_of_a_scope(run):
    inner = run.scoped(run.recipe, (Scope("replicates/2", ("models",)),))
    view = inner.view(run.root / ".work" / "x", ("replicates/2/models",))
    assert view.model("sbp") == run.root / ".work/x/replicates/2/models/sbp"
    assert view.relative(view.model("sbp")) == "replicates/2/models/sbp"
