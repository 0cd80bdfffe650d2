"""The `sbp` command line: its parser (arguments), and what each verb does (run_verbs, show_verbs)."""

from megatron_sbp.cli.command import main

__all__ = ["main"]
