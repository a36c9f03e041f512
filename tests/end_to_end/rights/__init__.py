"""Probe what each deployed role may and may not do."""
