"""Run `make local` as a child process, for the end-to-end tests."""
