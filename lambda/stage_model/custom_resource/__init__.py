"""What CloudFormation sees: `Custom::StagedModel` events, their record in S3, the lease on it, responses and cleanup.

Everything above the upload of one model. Imported by the handler only.
"""
