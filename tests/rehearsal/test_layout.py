"""Ranks of a rehearsal: what is divided stays divided, as far as there are ranks."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents, Recipe
from megatron_sbp.recipe.sections import Launch, Slurm
from megatron_sbp.rehearsal.changes import Draft
from megatron_sbp.rehearsal.layout import cut_layout, data_parallel
from megatron_sbp.rehearsal.site import Site

NAMES = ("nodes", "ranks_per_node", "tensor_parallel", "pipeline_parallel", "context_parallel")


def recipe(nodes=1, ranks=1, tensor=1, pipeline=1, context=1, **slurm) -> Recipe:
    launch = Launch(**dict(zip(NAMES, (nodes, ranks, tensor, pipeline, context), strict=True)))
    documents = Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30)
    return small_recipe(Path("/run"), documents, launch=launch, slurm=Slurm(**slurm))


def machine(gpus: int) -> Site:
    return Site(slurm=False, gpus=gpus, packages=frozenset())


CLUSTER = Site(slurm=True, gpus=0, packages=frozenset())


def cut(real: Recipe, site: Site) -> tuple[tuple[int, ...], dict[str, str]]:
    """The layout in the order of NAMES, and the kind of every change."""
    draft = Draft(real)
    launch = cut_layout(draft, real, site)
    found = tuple(getattr(launch, name) for name in NAMES)
    assert found == tuple(draft.get("launch", name) for name in NAMES)
    return found, {change.key.removeprefix("launch."): change.kind for change in draft.changes}


def test_data_parallel_ranks_are_what_the_other_dimensions_leave():
    assert data_parallel(Launch(nodes=4, ranks_per_node=8, tensor_parallel=4, pipeline_parallel=2)) == 4
    assert data_parallel(Launch(ranks_per_node=8, context_parallel=8)) == data_parallel(Launch()) == 1


def test_one_rank_stays_one_rank():
    for site in (machine(0), machine(8), CLUSTER):
        assert cut(recipe(), site) == ((1, 1, 1, 1, 1), {})


@pytest.mark.parametrize(
    ("size", "gpus", "expected"),
    [
        ((1, 8), 0, (1, 2, 1, 1, 1)),
        ((1, 8), 1, (1, 1, 1, 1, 1)),
        ((1, 2, 2), 0, (1, 2, 2, 1, 1)),
        ((1, 8, 4, 2), 0, (1, 4, 2, 2, 1)),
        ((1, 9, 9), 8, (1, 3, 3, 1, 1)),  # the smallest divisor above one
        ((1, 16, 4, 2, 2), 8, (1, 8, 2, 2, 2)),
        ((1, 32, 4, 2, 2), 8, (1, 8, 2, 2, 2)),  # data parallelism is given up first
        ((1, 16, 4, 2, 2), 4, (1, 4, 2, 2, 1)),  # then context, then pipeline
        ((1, 16, 4, 2, 2), 2, (1, 2, 2, 1, 1)),
        ((4, 8, 8), 8, (1, 4, 2, 1, 1)),
    ],
)
def test_on_one_machine(size, gpus, expected):
    assert cut(recipe(*size), machine(gpus))[0] == expected


def test_no_context_parallelism_on_cpus():
    layout, kinds = cut(recipe(1, 4, context=4), machine(0))
    assert layout == (1, 1, 1, 1, 1) and kinds["context_parallel"] == "replaced"
    layout, kinds = cut(recipe(2, 4, context=4), CLUSTER)  # jobs without GPUs
    assert layout == (2, 4, 1, 1, 1) and kinds == {"context_parallel": "replaced"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((16, 8), (2, 8, 1, 1, 1)),
        ((16, 8, 4, 4, 2), (2, 8, 2, 2, 2)),
        ((3, 8, 3), (2, 8, 1, 1, 1)),  # 16 ranks cannot be divided by three
        ((1, 4, 4), (1, 4, 2, 1, 1)),
    ],
)
def test_nodes_of_a_cluster_are_whole(size, expected):
    assert cut(recipe(*size, gpus_per_node=8), CLUSTER)[0] == expected


def test_what_becomes_one_is_not_rehearsed_and_the_rest_is_a_size():
    _, kinds = cut(recipe(16, 8, 4, 2), machine(2))
    assert kinds == {
        "nodes": "replaced", "ranks_per_node": "size", "tensor_parallel": "size", "pipeline_parallel": "replaced",
    }  # fmt: skip


@pytest.mark.parametrize("site", [machine(0), machine(1), machine(3), machine(8), CLUSTER])
def test_every_layout_divides_its_ranks_and_fits(site):
    for nodes, data, tensor, pipeline, context in itertools.product((1, 3), (1, 2, 6), (1, 2, 3), (1, 4), (1, 2)):
        real = recipe(nodes, data * tensor * pipeline * context, tensor, pipeline, context, gpus_per_node=8)
        (here_nodes, ranks, *splits), _ = cut(real, site)
        product = splits[0] * splits[1] * splits[2]
        assert here_nodes * ranks % product == 0, (real.launch, splits)
        assert all(one % other == 0 for one, other in zip((tensor, pipeline, context), splits, strict=True))
        if not site.slurm:
            assert here_nodes == 1 and ranks <= (site.gpus or 8)
