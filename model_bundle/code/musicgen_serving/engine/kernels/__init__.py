"""A decode step in Triton kernels, for GPUs only: whatever runs on a CPU imports nothing from here."""
