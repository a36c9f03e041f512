"""A loopback GitHub API."""
