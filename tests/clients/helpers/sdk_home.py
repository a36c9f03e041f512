"""What version 2 of the SageMaker SDK needs besides the environment of the embedded AWS.

It calls STS at an address that it takes from botocore's endpoint table, whatever AWS_ENDPOINT_URL says, and botocore
prefers the table in ~/.aws/models. Its default bucket is set in a configuration file.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.loaders import Loader

from local_aws.emulator.account import REGION


def sdk_settings(folder: Path, endpoint_url: str, default_bucket: str) -> dict[str, str]:
    """Write a home folder and a configuration to `folder`; return the variables that select them.

    Without a `default_bucket` the SDK creates its own, as on AWS.
    """
    models = folder / ".aws" / "models"
    models.mkdir(parents=True, exist_ok=True)
    (models / "endpoints.json").write_text(json.dumps(_endpoints(urlsplit(endpoint_url).netloc)), encoding="utf-8")
    session = {"DefaultS3Bucket": default_bucket} if default_bucket else {}
    config = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"Session": session}}}}
    path = folder / "sagemaker.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return {"HOME": str(folder), "SAGEMAKER_USER_CONFIG_OVERRIDE": str(path)}


def _endpoints(host: str) -> Any:
    """Return botocore's endpoint table with STS of the embedded AWS's region at `host`."""
    table: Any = Loader().load_data("endpoints")
    aws = next(partition for partition in table["partitions"] if partition["partition"] == "aws")
    aws["services"]["sts"]["endpoints"][REGION] = {"hostname": host, "credentialScope": {"region": REGION}}
    return table
