"""What the audits of documents, pairs and synthetic documents have in common: counts of what each rule dropped."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject


def dropped_by_rule(audit: JsonObject | None) -> dict[str, int]:
    """Rule to number, from an audit's `dropped` (a mapping, possibly of mappings with counts)."""
    dropped = (audit or {}).get("dropped")
    if isinstance(dropped, int):
        return {"all rules": dropped}
    found = {}
    for rule, entry in (dropped or {}).items():
        if isinstance(entry, dict):
            entry = entry.get("count", entry.get("documents", 0))
        if isinstance(entry, int):
            found[str(rule).replace("_", " ")] = entry
    return found
