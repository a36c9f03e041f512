"""The staging Lambda: builds what SageMaker loads from a Hugging Face Hub commit and uploads it to S3.

Imports point one way: handler → custom_resource → upload → archive → weights → source → s3 → http → retry, errors.
"""
