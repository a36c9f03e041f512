"""Prepare a GitHub repository for the workflows: labels, environments, variables, branch rules and code owners."""
