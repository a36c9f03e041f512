"""MusicGen's parts, loaded from a checkpoint: text encoder, decoder and codec. Knows nothing of requests or batches.

Imported by `step`, `kernels` and `loading`.
"""
