"""The reference page of all settings, written from Config: `python -m infra.reference > docs/configuration.md`."""

import json
from pathlib import Path
from typing import Any, cast

from infra.config import declared_settings, default_of

_INTRODUCTION = """\
# Configuration

<!-- Written by `python -m infra.reference > docs/configuration.md`; a test holds it equal to infra/config.py. -->

Settings live in `cdk.json` under `environments`, one object per environment; `-c env=prod` chooses one (`dev` unless
said otherwise), and `-c <setting>=<value>` overrides a single setting: `npx cdk deploy -c env=prod -c
max_capacity=2`. On the command line a list is one string with commas. A setting that does not exist, a value that is
not allowed, and a model that does not fit the GPU's memory are refused before anything is deployed.

| setting | default | {columns} allowed | meaning |
|---|---|{rule}---|---|
"""

_SIZES = """
## What follows from the model

- GPU memory: the staged weights (the decoder in `decoder_dtype`, all else in float32), one key-value cache of full
  length per concurrent request, and 2 GB in reserve must fit one GPU of every instance type (`infra/sizing.py`).
- `ModelDataDownloadTimeoutInSeconds` is 300 and the staged bytes at 25 MB/s,
  `ContainerStartupHealthCheckTimeoutInSeconds` 300 and the staged bytes at 50 MB/s, both within SageMaker's 60 to
  3600.
- Models, commits and sizes are in `infra/models.json`, GPU memory in `infra/instances.json`, prices in
  `infra/prices.json`, regions in `infra/image_registries.json`.
"""

_OPTIONS = """
## Options that change the template

### A customer-managed key: `encryption=customer-managed`

The stack makes one KMS key, which rotates each year, for the three buckets, the three topics and what SageMaker writes.
Its policy lets the account's IAM policies administer it, but use it only through S3 and SNS; alarms of this account may
publish with it. The roles and the client policy get `kms:Decrypt` and `kms:GenerateDataKey` for exactly their buckets
and topics, by encryption context (`permissions.md`). `cdk destroy` schedules the key's deletion in 7 days, during which
it can be called back; with `removal_policy=retain` it stays, for the buckets that stay could not be read without it.
Whoever subscribes a queue to a topic, or reads the buckets by other means than the client policy, needs the key too.

### Files instead of a tarball: `packaging=uncompressed`

The same files lie one by one under `…/model/`, and the SageMaker model names that prefix (`ModelDataSource`). An
instance that starts loads them side by side and unpacks nothing; SageMaker is then also allowed to list the prefix.
Put nothing else there: SageMaker refuses what it cannot make a file of, such as the empty object of a folder that the
S3 console makes. Changing from one to the other replaces the model behind the endpoint; the staged one that is used no
more is removed.

### A gated or private model: `token_secret_arn`

Put the Hub's token, as plain text, into a secret of the stack's region and name the secret's whole ARN:

    aws secretsmanager create-secret --name hub-token --secret-string file://token.txt

The staging Lambda may read that one secret, sends the token to the Hub alone, and writes it nowhere. A secret with a
key of its own needs a statement in the key's policy for `StagedModelRole`; with `aws/secretsmanager` nothing is needed.
Before a first deployment that role has no name yet: let the policy name the account, with the condition that
`aws:PrincipalArn` is like `arn:aws:iam::<account>:role/MusicGen-<env>-StagedModelRole*`.

### A mirror in S3: `hub_endpoint=s3://<bucket>/<prefix>`

For accounts that must not reach the Hub, and for commits that must not vanish. A machine that reaches both makes it:

    make mirror MODEL=facebook/musicgen-small REVISION=<commit> TO=s3://<bucket>/<prefix>

It copies the files that staging reads, each checked, to `<prefix>/<model id>/<commit>/`, and at the end the Hub's own
listing of the commit as `listing.json`, by which staging checks every byte as it does with the Hub's. `HF_TOKEN` may
hold a token. The bucket is in the stack's region; one of another account, or with a key of its own, needs a policy
that lets `StagedModelRole` read.

### A private network: `vpc_subnet_ids` and `vpc_security_group_ids`

Nothing is looked up: subnets and security groups are named by id, and their VPC and its endpoints must be there. The
containers get an interface in these subnets and no other way out; the staging Lambda stays outside, for it needs the
Hub. What the network must have:

- for the containers: S3, by a gateway endpoint or NAT, with port 443 let out by the security groups: the model tarball,
  inputs, and the audio that the container writes itself. AWS documents no other need; image pulls, logs and metrics
  are SageMaker's own traffic.
- for clients in such a network: endpoints of `sagemaker.runtime` and S3, and none of KMS, which S3 calls itself.

A policy on the S3 endpoint must allow the stack's three buckets and every one in `external_buckets`. SageMaker wants
subnets in two availability zones even for one instance, and free addresses for twice the instances while it updates.

### A permissions boundary: `permissions_boundary`

The name, with its path, of a managed policy in the account that deploys; every role of the stack gets it, the one of
CDK's function that empties buckets too. It must allow what `permissions.md` lists, or staging and serving fail.

### An instance kept ready: `warm_up_schedule` and `warm_up_end_schedule`

Two scheduled actions of Application Auto Scaling: at the first time the least capacity becomes one, which starts an
instance at once; at the second it becomes zero again, and the endpoint scales in when its queue has been empty for
about 15 minutes. Between them an instance is billed. The alarm `IdleInstance` then minds only those beyond the first,
at all times. A deployment that changes the scalable target between the two times sets the least capacity to zero until
the next start.

### Instances when there are none: `fallback_instance_types` and `provision_timeout_seconds`

More than one type makes the variant an instance pool: SageMaker takes the first type that it has. When none comes in
time the deployment fails, rather than staying in `Creating`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    environments = _environments()
    columns = "".join(f" {name} |" for name in environments)
    rows = "".join(_row(name, environments) for name in declared_settings() if name != "env")
    head = _INTRODUCTION.replace("{columns}", columns.lstrip()).replace("{rule}", "---|" * len(environments))
    return head + rows + _SIZES + _OPTIONS


def _environments() -> dict[str, dict[str, Any]]:
    cdk = json.loads((Path(__file__).resolve().parents[1] / "cdk.json").read_text(encoding="utf-8"))
    return cdk["context"]["environments"]


def _row(name: str, environments: dict[str, dict[str, Any]]) -> str:
    setting = declared_settings()[name]
    values = "".join(f" {_shown(values[name]) if name in values else ''} |" for values in environments.values())
    return f"| `{name}` | {_shown(default_of(name))} |{values} {setting.rule.allowed} | {setting.doc} |\n"


def _shown(value: Any) -> str:
    text = ", ".join(cast(list[str], value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(page(), end="")
