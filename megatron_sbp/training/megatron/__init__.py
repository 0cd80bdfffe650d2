"""Extensions of Megatron: attention, CPU backend, hooks, signals."""
