"""One instance: the model's files, a container that runs the real serving stack, its role, its logs and its health."""
