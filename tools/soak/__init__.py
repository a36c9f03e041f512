"""Soak test: send mixed requests to a real multi-model-server while its worker is killed, and check each response.

`make soak` runs it; tests/model_bundle also uses its client and its server.
"""
