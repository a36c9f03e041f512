"""Read what the policies of a stack allow and deny, and decide whether one statement covers another.

Imported by rules; imports template.
"""
