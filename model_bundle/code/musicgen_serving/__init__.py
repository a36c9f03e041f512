"""Serve MusicGen on SageMaker: `service` starts, `http` answers requests, `engine` generates clips.

`http` imports `engine`'s errors and parameters, never the reverse; the modules at this level are imported by both.
"""
