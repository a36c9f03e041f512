"""Tests of the stack: configuration, synthesised templates and their pages."""
