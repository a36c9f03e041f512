"""Benchmarks of staging and of the engine, each against simpler implementations in the same run on one machine.

Run by `make bench-staging`, `make bench-engine` and `make bench-gpu`; `gpu` measures the parts of the last.
"""
