"""The wrapped methods of Megatron's distributed optimizer; that a resume is exact is in test_resumed_trainings.py."""

from __future__ import annotations

import pytest
import torch
from megatron.core.optimizer import distrib_optimizer

from megatron_sbp.training.megatron import optimizer_resume
from megatron_sbp.training.megatron.optimizer_resume import REPLACED, repair


@pytest.fixture
def optimizer_class(monkeypatch):
    """A class in place of Megatron's, which remembers what it was called with."""

    class Optimizer:
        def sharded_state_dict(self, model_sharded_state_dict, is_loading=False):
            return dict(self.optimizer.state)

        def _set_main_param_and_optimizer_states(self, model_param, tensors):
            return tensors

        def load_state_dict(self, state_dict):
            return state_dict

    monkeypatch.setattr(distrib_optimizer, "DistributedOptimizer", Optimizer)
    return Optimizer


def test_each_method_is_wrapped_once(optimizer_class, monkeypatch):
    monkeypatch.setattr(distrib_optimizer, "HAVE_APEX_OR_TE", False)
    assert repair() is True
    wrapped = [getattr(optimizer_class, name) for name in REPLACED]
    assert all(hasattr(function, "__wrapped__") for function in wrapped)
    assert repair() is True and [getattr(optimizer_class, name) for name in REPLACED] == wrapped


def test_nothing_is_touched_where_another_adam_is_used(optimizer_class, monkeypatch):
    monkeypatch.setattr(distrib_optimizer, "HAVE_APEX_OR_TE", True)
    before = [getattr(optimizer_class, name) for name in REPLACED]
    assert repair() is False and [getattr(optimizer_class, name) for name in REPLACED] == before


@pytest.fixture
def made(optimizer_class, monkeypatch):
    """A repaired optimizer with torch's Adam over two parameters."""
    monkeypatch.setattr(distrib_optimizer, "HAVE_APEX_OR_TE", False)
    optimizer_resume.repair()
    found = optimizer_class()
    found.parameters = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    found.optimizer = torch.optim.Adam(found.parameters)
    return found


def test_there_is_a_state_before_loading_and_only_then(made):
    assert made.sharded_state_dict({}) == {}
    state = made.sharded_state_dict({}, is_loading=True)
    assert [entry["exp_avg"].shape for entry in state.values()] == [(2,), (3,)]
    state[made.parameters[0]]["step"] += 7
    assert made.sharded_state_dict({}, is_loading=True)[made.parameters[0]]["step"] == 7  # what is there stays


def test_parameters_do_not_share_a_step_after_loading(made):
    shared = torch.tensor(5.0)
    for parameter in made.parameters:
        made.optimizer.state[parameter]["step"] = shared
    made.load_state_dict({})
    first, second = (made.optimizer.state[parameter]["step"] for parameter in made.parameters)
    first += 1
    assert (float(first), float(second), float(shared)) == (6.0, 5.0, 5.0)


def test_saved_tensors_without_a_step_take_the_present_one(made):
    made.sharded_state_dict({}, is_loading=True)
    key = object()
    made.model_param_group_index_map = {key: (0, 1)}
    made.optimizer.state[made.parameters[1]]["step"] = torch.tensor(4.0)
    found = made._set_main_param_and_optimizer_states(key, {"exp_avg": 1})
    assert found["step"] == 4.0 and found["exp_avg"] == 1
    given = {"step": torch.tensor(9.0)}
    assert made._set_main_param_and_optimizer_states(key, given) is given
