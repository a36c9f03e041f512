"""Smoke test of a deployed stack: request a clip from the endpoint and check the audio. `make smoke-test` runs it."""
