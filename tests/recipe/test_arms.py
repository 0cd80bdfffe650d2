"""Arms, synthesizers and replicates of a recipe: what they change, and what is refused."""

from __future__ import annotations

import pytest
from paths import QUICKSTART  # noqa: F401
