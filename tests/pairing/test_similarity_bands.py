from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.similarity_bands import bands_of, limits


def test_a_band_begins_at_its_lower_limit():
    """Also where the limit is no binary fraction, and above 1, where rounding puts the products of equal vectors."""
    scores = np.array([-0.01, 0, 0.049, 0.05, 0.3, 0.749, 0.75, 0.999, 1.0, 1.0005], np.float32)
    assert bands_of(scores).tolist() == [-1, 0, 0, 1, 6, 14, 15, 19, 19, 19]
    assert limits(-1) == {"from": -0.05, "to": 0.0} and limits(6) == {"from": 0.3, "to": 0.35}
    assert limits(19) == {"from": 0.95, "to": 1.0}
