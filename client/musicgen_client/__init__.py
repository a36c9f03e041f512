"""Music from a MusicGen endpoint on AWS: `MusicGen(stack="MusicGen-dev").generate("calm piano", duration=10)`.

For programs and notebooks; `musicgen` on the command line is the same. Nothing here imports another part of the
repository: docs/contracts.md is the interface.
"""
