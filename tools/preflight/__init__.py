"""Checks, before anything is deployed or billed, that an AWS account has what the configured stack needs.

Read-only. Imports `infra.config`; nothing imports this package.
"""
