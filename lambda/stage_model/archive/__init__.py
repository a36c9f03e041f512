"""What the staged objects look like, byte for byte, before any weights move: inputs, plan, manifest, tar and gzip.

Performs no uploads. Imported by `upload` and the handler.
"""
