"""Weight files: which are staged, what tensors they hold, and how these are cast and laid out in safetensors shards.

Reads headers and byte ranges only; never imports torch. Imported by `archive`, `upload` and `tools/mirror_model`.
"""
