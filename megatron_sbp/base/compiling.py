"""Whether numba can keep compiled functions on disk, so that not every process compiles them."""

from __future__ import annotations

import numba

from megatron_sbp.base.progress import say


def _can_cache() -> bool:
    """Not if neither the package nor the user's cache folder can be written to, as on nodes without home folders, where
    numba raises an error instead of going without."""
    try:
        numba.njit(cache=True)(_can_cache)
    except RuntimeError as error:
        say(f"compiled functions are not kept, every process compiles them: set NUMBA_CACHE_DIR to a folder ({error})")
        return False
    return True


CACHED = _can_cache()
"""For `numba.njit(cache=CACHED)`."""
