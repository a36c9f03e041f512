"""Tests of the project; a folder for each part."""
