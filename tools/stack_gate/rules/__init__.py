"""Decide which changes need a label. Imported by report and gate; imports iam, diff, findings and template.

To add a rule about one property of a resource type, add a row to rules.toml under its class (and a function to
predicates.py if no predicate fits). To let a property change freely or to add a type, edit types.toml. For a rule about
the stack as a whole, add a function to the module of its topic, list it in evaluate.py, and give it a class and reason
in rules.toml.
"""
