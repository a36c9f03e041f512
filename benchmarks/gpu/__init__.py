"""What `benchmarks.engine_gpu` is made of."""
