"""Rules of pairs that compare fields of the two documents: same language, different source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_sbp.documents.field_values import MISSING, read_values
from megatron_sbp.recipe import Pairs


@dataclass(frozen=True)
class FieldRules:
    """The requirements of `pairs.same_fields` and `pairs.different_fields`.

    Attributes:
        values: digests of the fields of all documents, uint64 [fields, documents]; see `documents.field_values`.
        equal: whether a field's values must be equal or must differ, bool [fields].
    """

    values: np.ndarray
    equal: np.ndarray

    def allow(self, seeds: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Whether pairs of rows satisfy all of them: bool [pairs]. A missing field equals no other."""
        allowed = np.ones(len(seeds), bool)
        for values, equal in zip(self.values, self.equal, strict=True):
            ours = values[seeds]
            allowed &= ((ours == values[targets]) & (ours != MISSING)) == equal
        return allowed


def compared_fields(rules: Pairs) -> list[str]:
    """Names of the fields in the order of `FieldRules`."""
    return [*rules.same_fields, *rules.different_fields]


def field_rules(rules: Pairs, values: np.ndarray) -> FieldRules:
    """The rules, with the digests of `compared_fields`."""
    assert len(values) == len(compared_fields(rules)), values.shape
    return FieldRules(values, np.repeat([True, False], [len(rules.same_fields), len(rules.different_fields)]))


def no_field_rules(documents: int) -> FieldRules:
    """Rules without comparisons."""
    return FieldRules(np.empty((0, documents), np.uint64), np.empty(0, bool))


def read_field_rules(rules: Pairs, shards: Sequence[Path], documents: int) -> FieldRules:
    """The rules, with the values of all documents of some shards; reads nothing if no field is compared."""
    fields = compared_fields(rules)
    return field_rules(rules, read_values(shards, fields)) if fields else no_field_rules(documents)
