"""Where published bytes come from: the Hugging Face Hub, an API-compatible mirror, or a copy in S3.

Knows nothing of tensors, archives or uploads. Imported by `weights`, `archive`, the handler and `tools/mirror_model`.
"""
