"""Copies a commit from the Hugging Face Hub to S3, where the staging Lambda can read it: `hub_endpoint=s3://…`."""
