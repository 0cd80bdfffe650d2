"""Pure arithmetic before a run: tokens of every arm, cost, the plan."""
