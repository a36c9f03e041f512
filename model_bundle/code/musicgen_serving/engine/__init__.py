"""Text to music on one device: continuous batching over MusicGen, token for token what transformers generates.

Serving imports `generator`, `loading`, `sampling_params` and `errors`. The engine imports nothing of the service but
its JSON log. `model` is the network, `step` one decode step and its state, `kernels` that step in Triton.
"""
