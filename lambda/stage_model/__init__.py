"""Builds a MusicGen model tarball from a Hugging Face Hub commit and stages it in S3, for `Custom::StagedModel`."""
