"""Fingerprints: the same for the same value in any order of keys, different for different values."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from megatron_sbp.base import files

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def reversed_keys(tree):
    if isinstance(tree, dict):
        return {key: reversed_keys(tree[key]) for key in reversed(tree)}
    return [reversed_keys(item) for item in tree] if isinstance(tree, list) else tree


@given(tree=TREES)
def test_the_order_of_keys_does_not_count(tree):
    assert files.digest(reversed_keys(tree)) == files.digest(tree)
    assert len(files.digest(tree)) == 32


@given(one=TREES, other=TREES)
@example(one={"a": 1}, other={"a": "1"})
@example(one={"a": 1}, other={"a": True})
@example(one={"a": 1}, other={"a": 1.0})
@example(one=[[1], 2], other=[1, [2]])
@example(one={"a": {"b": 1}}, other={"a": {}, "b": 1})
@example(one=None, other="None")
@example(one=["a", "b"], other=["b", "a"])
def test_other_values_have_other_digests(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (files.digest(one) == files.digest(other)) == same
