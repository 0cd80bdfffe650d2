"""`python -m megatron_sbp` is `sbp`."""

from megatron_sbp.cli import main

raise SystemExit(main())
