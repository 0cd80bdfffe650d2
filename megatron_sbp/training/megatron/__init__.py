"""What is put into Megatron: attention, CPU backend, hooks, signals."""
