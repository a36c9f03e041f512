"""Builds, hashes and uploads the parts of a plan, in one invocation or several.

Knows S3 through `s3.Store` and the request through `RunLease`. Imported by `custom_resource` and the handler.
"""
