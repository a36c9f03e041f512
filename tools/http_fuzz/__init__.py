"""Fuzz the container's HTTP server: generated requests, a fake engine behind the real hooks, and memory from outside.

`python -m http_fuzz` (or `make fuzz`) runs it; the tests use its parts.
"""
