"""The conformance suite: documented behaviours of AWS, each with a test that runs against any target.

`python -m conformance` runs the suite and writes docs/behaviours.md. See docs/conformance.md.
"""
