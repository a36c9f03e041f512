"""Deployed stacks and a fake container for tests of the embedded AWS."""
