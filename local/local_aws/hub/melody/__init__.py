"""A toy melody model: MusicGen's melody architecture, which whistles the melody that it is given.

`train` makes the weights in `trained.safetensors`, PROVENANCE.md says how, and `model.write_model` writes all files of
the model. `music` and `listening` need only numpy.
"""
