"""Tests across parts: the whole stack on the embedded AWS."""
