"""Run `make local` as a process of its own."""
