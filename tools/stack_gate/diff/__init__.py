"""Find what changed between two stacks: resources, properties, asset files. Judges nothing.

Imported by rules, report and gate; imports template.
"""
