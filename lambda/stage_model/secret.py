# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The SDK's stubs for Secrets Manager are not installed.
"""The Hub's token, from Secrets Manager: it is in no template, no property and no log."""

import os
import re
from contextlib import closing

import boto3

from stage_model.errors import StagingError
from stage_model.s3_client import config, translated

_TOKEN = re.compile(r"(?=.{8,512}$)[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1: what may follow "Bearer"


def read_token(secret_arn: str) -> str:
    """Return the secret's text. Raises StagingError when it may not be read or is no token, TransientError for now."""
    with closing(boto3.client("secretsmanager", region_name=os.environ.get("AWS_REGION"), config=config())) as client:

        def read() -> str:
            return str(client.get_secret_value(SecretId=secret_arn).get("SecretString", ""))

        token = translated(f"reading the secret {secret_arn}", read).strip()
    if not _TOKEN.fullmatch(token):
        hint = ", not key and value" if token.startswith("{") else ""  # the console's other form
        raise StagingError(f"the secret {secret_arn} must hold the token as plain text{hint}")  # never what it holds
    return token
