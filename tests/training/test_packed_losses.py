"""Pairs packed into a sequence are trained as if each stood alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def losses(corpus, tmp_path_factory, run_beside_megatron):
    out = tmp_path_factory.mktemp("packed") / "losses.npz"
    run_beside_megatron((Path(__file__).parents[1] / "support" / "packed_losses.py").read_text(), corpus, out)
    return np.load(out)


def test_losses_of_a_packed_batch_are_those_of_the_pairs_alone(losses):
    worst = np.abs(losses["packed"] - losses["alone"]).max()
    print(f"{losses['packed'].size} target tokens: largest difference {worst:.1e}")
    assert losses["packed"].size > 200 and worst <= 1e-5
    assert losses["packed"].std() > 0.1  # a constant would agree, too


def test_changing_one_pair_changes_no_loss_of_another(losses):
    difference, own = np.abs(losses["packed"] - losses["changed"]), losses["of_changed"]
    assert (difference[~own] == 0).all()
    assert (difference[own] > 0).mean() > 0.9
