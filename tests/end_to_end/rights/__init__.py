"""Probe what each deployed role may and may not do.

Imported by the end-to-end tests of permissions, options and the S3 mirror.
"""
