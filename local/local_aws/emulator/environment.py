"""The environment in which the CDK CLI, Node, boto3, Lambdas and containers find the embedded AWS and nothing else."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

from local_aws.emulator.account import ACCOUNT_ID, REGION, ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY

# The user's own profiles, roles and endpoints must not leak in: a deployment to a real account by mistake costs money.
_FOREIGN_PREFIXES = ("AWS_", "AMAZON_", "CDK_", "BOTO_", "MOTO_")
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def endpoint_environment(endpoint_url: str, authority: Path, trust: Path) -> dict[str, str]:
    """Variables that direct any AWS SDK to the embedded AWS; without credentials."""
    return {
        # An address, not `localhost`: SDKs then put the bucket's name into the path.
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_CA_BUNDLE": str(authority),
        "NODE_EXTRA_CA_CERTS": str(authority),
        "SSL_CERT_FILE": str(trust),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def tool_environment(endpoint_url: str, authority: Path, trust: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The whole environment for the CDK CLI and for boto3 with the administrator's credentials.

    `base` is the caller's own environment; its AWS settings are dropped, the rest (PATH, HOME, proxies) is kept.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(_FOREIGN_PREFIXES)}
    no_profile = str(authority.parent / "no-aws-profile")
    kept.update(endpoint_environment(endpoint_url, authority, trust))
    kept.update(
        PATH=os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        AWS_ACCESS_KEY_ID=ROOT_ACCESS_KEY_ID,
        AWS_SECRET_ACCESS_KEY=ROOT_SECRET_ACCESS_KEY,
        AWS_CONFIG_FILE=no_profile,
        AWS_SHARED_CREDENTIALS_FILE=no_profile,
        # The CLI writes this into TemplateURL, which the embedded CloudFormation reads as "bucket in the path".
        AWS_ENDPOINT_URL_S3_FOR_CLOUDFORMATION=f"https://s3.{REGION}.amazonaws.com",
        CDK_DEFAULT_ACCOUNT=ACCOUNT_ID,
        CDK_DEFAULT_REGION=REGION,
        CDK_DISABLE_CLI_TELEMETRY="true",
        CI="true",
        JSII_RUNTIME_PACKAGE_CACHE="enabled",
    )
    return kept


def write_trust_bundle(authority: Path, target: Path) -> None:
    """Write the machine's own trusted certificates plus `authority` to `target`.

    `SSL_CERT_FILE` replaces the machine's certificates, and a program in this environment may still call elsewhere
    (pip, while the CDK app bundles the Lambda).
    """
    paths = ssl.get_default_verify_paths()
    candidates = [os.environ.get("SSL_CERT_FILE"), paths.cafile, *_SYSTEM_BUNDLES]
    found = next((Path(name) for name in candidates if name and Path(name).is_file()), None)
    machine = found.read_text(encoding="utf-8") if found else ""
    target.write_text(machine + "\n" + authority.read_text(encoding="utf-8"), encoding="utf-8")
