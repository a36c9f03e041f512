"""Where moto answers otherwise than AWS, one module each."""

from __future__ import annotations

from local_aws.emulator.fixes import s3_multipart, sagemaker_instance_types


def install() -> None:
    """Install every fix."""
    s3_multipart.install()
    sagemaker_instance_types.install()
