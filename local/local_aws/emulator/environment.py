"""Environment variables that direct the CDK CLI, Node, boto3, Lambdas and containers to the embedded AWS only."""

import argparse
import os
import shlex
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

from local_aws.emulator.account import ACCOUNT_ID, REGION, ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY

# The user's own profiles, roles and endpoints must not leak in: an accidental deployment to a real account costs money.
_FOREIGN_PREFIXES = ("AWS_", "AMAZON_", "CDK_", "BOTO_", "MOTO_")
_EXPORTED = ("AWS_", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def endpoint_environment(endpoint_url: str, authority: Path, trust: Path) -> dict[str, str]:
    """Return the variables that direct any AWS SDK to the embedded AWS, without credentials."""
    return {
        # An IP address, not `localhost`, so that SDKs put the bucket's name into the path.
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
    """Return the whole environment for the CDK CLI and for boto3 with the administrator's credentials.

    The AWS settings in `base` are dropped, the rest (PATH, HOME, proxies) is kept.
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
        # The CLI derives TemplateURL from this; the embedded CloudFormation expects the bucket in its path.
        AWS_ENDPOINT_URL_S3_FOR_CLOUDFORMATION=f"https://s3.{REGION}.amazonaws.com",
        CDK_DEFAULT_ACCOUNT=ACCOUNT_ID,
        CDK_DEFAULT_REGION=REGION,
        CDK_DISABLE_CLI_TELEMETRY="true",
        CI="true",
        JSII_RUNTIME_PACKAGE_CACHE="enabled",
    )
    return kept


def add_instance_environment(parser: argparse.ArgumentParser) -> None:
    """Add the option `--instance-env`, which may be repeated; its value is a list of names and values."""
    parser.add_argument(
        "--instance-env",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="a variable for the containers of all SageMaker instances, such as HF_ENDPOINT of a mirror; no secret",
    )


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value


def shell_exports(environment: Mapping[str, str]) -> str:
    """Return a script that exports what directs tools to the embedded AWS, to be sourced."""
    exports = [
        f"export {name}={shlex.quote(value)}" for name, value in environment.items() if name.startswith(_EXPORTED)
    ]
    return "\n".join(sorted(exports)) + "\n"


def write_trust_bundle(authority: Path, target: Path) -> None:
    """Write the machine's trusted certificates and `authority` to `target`.

    `SSL_CERT_FILE` replaces the machine's certificates, and a program in this environment may still call other hosts
    (pip, while the CDK app bundles the Lambda).
    """
    paths = ssl.get_default_verify_paths()
    candidates = [os.environ.get("SSL_CERT_FILE"), paths.cafile, *_SYSTEM_BUNDLES]
    found = next((Path(name) for name in candidates if name and Path(name).is_file()), None)
    machine = found.read_text(encoding="utf-8") if found else ""
    target.write_text(machine + "\n" + authority.read_text(encoding="utf-8"), encoding="utf-8")
