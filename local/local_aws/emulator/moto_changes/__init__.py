"""What this package changes of moto: `moto_patches` installs everything, `moto_internals` lists it with hashes."""
