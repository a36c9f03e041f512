"""Runs the staging protocol over in-memory S3, Hub, Lambda and CloudFormation, on a virtual clock with seeded faults.

Imports `stage_model`; started by `make simulate` and imported by `tests/stage_model`.
"""
