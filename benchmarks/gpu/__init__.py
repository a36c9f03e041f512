"""Measurements of `benchmarks.engine_gpu`: device, roofline, clips, logits, a step's launches; and their report."""
