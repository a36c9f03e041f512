"""Tests of the staging Lambda."""
