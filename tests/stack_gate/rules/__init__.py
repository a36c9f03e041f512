"""Which changes need which labels."""
