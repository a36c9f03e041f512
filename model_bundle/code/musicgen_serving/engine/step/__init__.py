"""One decode step over the batch's slots: KV cache, sampling, delay pattern, CUDA graphs.

Imports `model`; imported by `batch`, `loading` and `kernels`. Nothing here waits for the device.
"""
