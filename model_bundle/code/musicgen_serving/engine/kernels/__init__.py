"""The decode step in Triton kernels, for GPUs only. Each launcher is in the same file as its kernel.

Imported by `loading` alone, inside a function: a CPU never imports Triton.
"""
