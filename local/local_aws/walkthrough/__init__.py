"""`make local`: deploy, use and destroy the whole stack on one machine, and show each step.

Nothing imports this package but the end-to-end tests.
"""
