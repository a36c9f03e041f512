"""Helpers of the bundle's tests: reference models, random weights, fakes and hypothesis strategies."""
