"""Find what changed between two stacks: resources, properties, asset files. What needs a label is up to rules.

Imported by rules, report and gate; imports template.
"""
