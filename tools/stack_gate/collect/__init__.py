"""Collect what the gate compares: both revisions from git, synthesised, with their price tables.

Imported by gate and __main__ only; imports template.
"""
