"""Soak test: mixed requests to a real instance whose worker is killed in between."""
