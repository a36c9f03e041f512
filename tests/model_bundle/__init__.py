"""Tests of the inference bundle."""
