"""Exact resume of Megatron's distributed optimizer on torch's Adam: without Transformer Engine and without Apex.

megatron-core 0.19 has three faults there, on any device:

1. Before loading, it requests the optimizer's state, which is still empty: AssertionError at --load.
2. A parameter's saved tensors lack Adam's `step`, which is then accessed: KeyError.
3. After loading, all parameters share one `step` tensor. Every parameter's update increments it, so Adam's bias
   correction runs ahead, and the resumed run drifts silently.

`repair()` fixes them; it changes nothing if Transformer Engine or Apex is installed: their Adam has one step for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from megatron.core.optimizer import distrib_optimizer

if TYPE_CHECKING:
    from megatron.core.dist_checkpointing.mapping import ShardedStateDict
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

REPLACED = ("sharded_state_dict", "_set_main_param_and_optimizer_states", "load_state_dict")
"""Methods of DistributedOptimizer that are wrapped."""


def repair() -> bool:
    """Wraps DistributedOptimizer, once per process; returns whether this installation needs it."""
    optimizer = distrib_optimizer.DistributedOptimizer
    if distrib_optimizer.HAVE_APEX_OR_TE:
        return False
    if not getattr(optimizer, "_sbp_repaired", False):
        optimizer.sharded_state_dict = _with_state_before_loading(optimizer.sharded_state_dict)
        optimizer._set_main_param_and_optimizer_states = _with_step(optimizer._set_main_param_and_optimizer_states)
        optimizer.load_state_dict = _with_a_step_of_its_own(optimizer.load_state_dict)
        optimizer._sbp_repaired = True
    return True


def _with_state_before_loading[Result](function: Callable[..., Result]) -> Callable[..., Result]:
    @functools.wraps(function)
    def sharded_state_dict(
        self: DistributedOptimizer,
        model_sharded_state_dict: ShardedStateDict,
        is_loading: bool = False,
        *args: object,
        **kwargs: object,
    ) -> Result:
        if is_loading:
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    if not self.optimizer.state[parameter]:
                        self.optimizer.state[parameter].update(
                            step=torch.zeros((), dtype=torch.float32),
                            exp_avg=torch.zeros_like(parameter),
                            exp_avg_sq=torch.zeros_like(parameter),
                        )
        return function(self, model_sharded_state_dict, is_loading, *args, **kwargs)

    return sharded_state_dict


def _with_step[Result](function: Callable[..., Result]) -> Callable[..., Result]:
    @functools.wraps(function)
    def _set_main_param_and_optimizer_states(
        self: DistributedOptimizer, model_param: torch.nn.Parameter, tensors: dict[str, torch.Tensor]
    ) -> Result:
        if "step" not in tensors:
            group, place = self.model_param_group_index_map[model_param]
            state = self.optimizer.state[self.optimizer.param_groups[group]["params"][place]]
            if isinstance(state.get("step"), torch.Tensor):
                tensors = {**tensors, "step": state["step"]}
        return function(self, model_param, tensors)

    return _set_main_param_and_optimizer_states


def _with_a_step_of_its_own[Result](function: Callable[..., Result]) -> Callable[..., Result]:
    @functools.wraps(function)
    def load_state_dict(self: DistributedOptimizer, state_dict: dict[str, object]) -> Result:
        result = function(self, state_dict)
        for state in self.optimizer.state.values():
            if isinstance(state.get("step"), torch.Tensor):
                state["step"] = state["step"].detach().clone()
        return result

    return load_state_dict
