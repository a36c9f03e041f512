"""Tests of the pull-request gate."""
