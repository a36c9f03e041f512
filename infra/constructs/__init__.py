"""The stack's constructs, one concern per module, and the helpers they share.

Imported by `infra.stack` alone, which creates the constructs and grants between them; they import `infra.config`.
"""
