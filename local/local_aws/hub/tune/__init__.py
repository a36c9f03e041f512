"""A toy model for `make local`: a 2 MB MusicGen that plays a tune in the key, mode and tempo that its prompt names.

`train` writes the files of MODEL, which are committed; PROVENANCE.md says how. `music`, `prompts` and `listening` need
only numpy.
"""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""The toy model's files, in the Hub's layout."""
