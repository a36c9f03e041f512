"""The account: credentials, region, CDK bootstrap, quotas, images, and the endpoint that is already deployed."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from infra.config import Config
from infra.config.images import image_uri
from infra.config.instances import inference_ami_version
from preflight.report import Check, Status, action_of, error_code, explain, failed, is_denied, passed, unknown

# What aws-cdk-lib's default synthesiser needs of the bootstrap stack; a test compares it with a synthesised manifest.
BOOTSTRAP_VERSION = 6
DEFAULT_QUALIFIER = "hnb659fds"

_HOME_REGIONS = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}  # enabled in every account
_SERVICE = "sagemaker"
_OPEN_REQUEST = ("PENDING", "CASE_OPENED")
_CLIENT = ClientConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be deployed and with whose credentials. `session` is a boto3 session or one like it.

    `overrides` are the `-c` options; `environment_types` the instance types that the environment has without them.
    """

    config: Config
    session: Any
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    environment_types: tuple[str, ...] = ()
    qualifier: str = DEFAULT_QUALIFIER

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a boto3 client in the stack's region."""
        return self.session.client(service, region_name=region or self.config.region, config=_CLIENT)

    def deploy_command(self, *options: str) -> str:
        """Return `npx cdk deploy` with the environment, the overrides that are not about instances, and `options`."""
        ours = {"env", "scaling", "instance_type", "fallback_instance_types"}
        kept = [f"{name}={value}" for name, value in self.overrides.items() if name not in ours]
        words = [f"-c {shlex.quote(option)}" for option in (f"env={self.config.env}", *kept, *options)]
        return " ".join(["npx cdk deploy", *words])


def check_credentials(target: Target) -> list[Check]:
    """Check that AWS accepts the credentials, and that they are of the configured account.

    Here no network is a failure too: nothing can be deployed from this machine.
    """
    name = "credentials"
    try:
        identity = target.client("sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        why = explain(name, error)
        remedy = why.remedy or "check this machine's network, proxy and AWS_ENDPOINT_URL"
        return [failed(name, why.detail.removeprefix("cannot be checked: "), remedy)]
    account, wanted = identity["Account"], target.config.account
    if wanted and account != wanted:
        remedy = f"use a profile of account {wanted} (AWS_PROFILE or --profile), or change the setting `account`"
        return [failed(name, f"account must be {wanted}, got {account} ({identity['Arn']})", remedy)]
    return [passed(name, f"account {account}, {identity['Arn']}")]


def check_region(target: Target) -> list[Check]:
    """Check that the account has enabled the region."""
    name, region = "region", target.config.region
    home = _HOME_REGIONS.get(target.session.get_partition_for_region(region), region)
    found = target.client("ec2", home).describe_regions(RegionNames=[region], AllRegions=True)["Regions"]
    status = found[0].get("OptInStatus", "opt-in-not-required") if found else "unknown to EC2"
    if status in ("opt-in-not-required", "opted-in"):
        return [passed(name, f"{region} is enabled")]
    remedy = f"aws account enable-region --region-name {region}    # takes minutes to hours; needs account:EnableRegion"
    return [failed(name, f"{region} is not enabled in this account ({status})", remedy)]


def check_bootstrap(target: Target) -> list[Check]:
    """Check that the CDK's bootstrap stack exists in the region and is new enough."""
    name, parameter = "CDK bootstrap", f"/cdk-bootstrap/{target.qualifier}/version"
    try:
        value = str(target.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])
    except ClientError as error:
        if error_code(error) != "ParameterNotFound":
            raise
        detail = f"{target.config.region} is not bootstrapped: no SSM parameter {parameter}"
        return [failed(name, detail, _bootstrap_command(target))]
    if not value.isdigit() or int(value) < BOOTSTRAP_VERSION:
        detail = f"version must be at least {BOOTSTRAP_VERSION}, got {value}"
        return [failed(name, detail, _bootstrap_command(target))]
    return [passed(name, f"version {value}; at least {BOOTSTRAP_VERSION} is needed")]


def _bootstrap_command(target: Target) -> str:
    account = target.client("sts").get_caller_identity()["Account"]
    custom = f" --qualifier {target.qualifier}" if target.qualifier != DEFAULT_QUALIFIER else ""
    return f"npx cdk bootstrap{custom} aws://{account}/{target.config.region}"


def check_quotas(target: Target) -> list[Check]:
    """Check the quota of each instance type against what a blue/green update of the full fleet needs."""
    client, types = target.client("service-quotas"), target.config.instance_types
    wanted = {f"{instance_type} for endpoint usage" for instance_type in types}
    found = _find_quotas(client, "list_service_quotas", wanted)
    if missing := wanted - found.keys():  # one that was never changed may have a default alone
        found |= _find_quotas(client, "list_aws_default_service_quotas", missing)
    return [_check_quota(target, client, instance_type, found) for instance_type in types]


def _check_quota(target: Target, client: Any, instance_type: str, found: Mapping[str, Any]) -> Check:
    name, needed, region = f"quota {instance_type}", target.config.required_quota, target.config.region
    quota = found.get(f"{instance_type} for endpoint usage")
    console = f"https://{region}.console.aws.amazon.com/servicequotas/home/services/{_SERVICE}/quotas"
    if quota is None:
        why = f"Service Quotas lists no `{instance_type} for endpoint usage` in {region}; the type may not exist there"
        return unknown(name, why, f"look at {console}")
    granted, why = int(quota["Value"]), f"max_capacity {target.config.max_capacity} and the new fleet of an update"
    if granted >= needed:
        return passed(name, f"{granted} granted, {needed} needed ({why}); the account's other endpoints share it")
    code = quota["QuotaCode"]
    request = (
        f"aws service-quotas request-service-quota-increase --region {region} --service-code {_SERVICE} "
        f"--quota-code {code} --desired-value {needed}"
    )
    remedy = f"{request}\nor {console}/{code}; granting takes minutes to days, longest for new accounts"
    if target.config.device == "cuda":
        remedy += "\nuntil then, without GPU: -c model_id=facebook/musicgen-small -c instance_type=ml.c7i.4xlarge"
    pending = _pending_request(client, code)
    return failed(name, f"{needed} needed ({why}), {granted} granted; {pending}", remedy)


def _find_quotas(client: Any, operation: str, wanted: set[str]) -> dict[str, Any]:
    """Return the wanted quotas by name; stops at the page with the last of them, as the service throttles."""
    found: dict[str, Any] = {}
    for page in client.get_paginator(operation).paginate(ServiceCode=_SERVICE):
        found |= {quota["QuotaName"]: quota for quota in page["Quotas"] if quota["QuotaName"] in wanted}
        if wanted <= found.keys():
            break
    return found


def _pending_request(client: Any, code: str) -> str:
    operation = "list_requested_service_quota_change_history_by_quota"
    try:
        pages: Iterator[Any] = client.get_paginator(operation).paginate(ServiceCode=_SERVICE, QuotaCode=code)
        requests = [request for page in pages for request in page["RequestedQuotas"]]
    except ClientError as error:
        outcome = "denied" if is_denied(error) else "failed"
        return f"could not check for an open quota request: {action_of(error)} {outcome}"
    except BotoCoreError as error:
        return f"could not check for an open quota request: {error}"
    pending = [request for request in requests if request.get("Status") in _OPEN_REQUEST]
    if not pending:
        return "no request is open"
    return f"a request for {pending[-1]['DesiredValue']:g} is open ({pending[-1]['Status']})"


def check_images(target: Target) -> list[Check]:
    """Check the container image in the region's registry; show the host image with the GPU driver."""
    config = target.config
    uri = image_uri(config.region, config.device)
    return [_check_container_image(target, uri), _check_host_image(config)]


def _check_container_image(target: Target, uri: str) -> Check:
    name = "container image"
    registry, _, path = uri.partition("/")
    repository, _, tag = path.partition(":")
    remedy = "correct infra/config/image_registries.json, or choose another region"
    try:
        answer = target.client("ecr").batch_get_image(
            registryId=registry.partition(".")[0], repositoryName=repository, imageIds=[{"imageTag": tag}]
        )
    except ClientError as error:
        if error_code(error) == "RepositoryNotFoundException":
            return failed(name, f"{uri}: the registry has no such repository", remedy)
        why = explain(name, error)
        return Check(name, why.status, f"{uri} is in the table; in the registry it {why.detail}", why.remedy)
    if not answer["images"]:
        reason = answer["failures"][0]["failureReason"] if answer["failures"] else "no answer"
        return failed(name, f"{uri}: {reason}", remedy)
    return passed(name, f"{uri} is in the registry")


def _check_host_image(config: Config) -> Check:
    version, types = inference_ami_version(config.instance_types), ", ".join(config.instance_types)
    if version is None:
        return passed("host image", f"SageMaker's default: {types} has no GPU, and needs no driver")
    return passed("host image", f"{version} for {types} (infra/config/instances.json)")


def check_deployed_endpoint(target: Target) -> list[Check]:
    """Check that the deployment does not change the instance types of an endpoint with a scalable target."""
    name, config, sagemaker = "deployed endpoint", target.config, target.client(_SERVICE)
    try:
        endpoint = sagemaker.describe_endpoint(EndpointName=config.endpoint)
    except ClientError as error:
        if "could not find" not in str(error).lower():
            raise
        return [passed(name, f"{config.endpoint} does not exist yet")]
    settings = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    variant = settings["ProductionVariants"][0]
    deployed, wanted = _instance_types(variant), config.instance_types
    state = f"{config.endpoint} ({endpoint['EndpointStatus']}) has {', '.join(deployed)}"
    if deployed == wanted:
        return [passed(name, f"{state}, as configured")]
    resource = f"endpoint/{config.endpoint}/variant/{variant['VariantName']}"
    targets = target.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace=_SERVICE, ResourceIds=[resource]
    )["ScalableTargets"]
    if not targets:
        return [passed(name, f"{state}; scaling is off, so it can change to {', '.join(wanted)}")]
    detail = (
        f"{state}, and {', '.join(wanted)} is configured: SageMaker rejects the change while a scalable target exists"
    )
    return [failed(name, detail, _two_deployments(target, deployed))]


def _two_deployments(target: Target, deployed: tuple[str, ...]) -> str:
    """Return both commands. Synthesis accepts `scaling=off` only with the types that the environment has."""
    new = [
        f"{name}={value}"
        for name, value in target.overrides.items()
        if name in ("instance_type", "fallback_instance_types")
    ]
    first, second = target.deploy_command("scaling=off"), target.deploy_command(*new)
    if deployed == target.environment_types:
        return f"{first}\nthen {second}"
    types = f"instance_type {deployed[0]} and fallback_instance_types {list(deployed[1:])}"
    return f"set {types} for {target.config.env} in cdk.json, and\n{first}\nthen set the new ones again, and {second}"


def _instance_types(variant: Mapping[str, Any]) -> tuple[str, ...]:
    pools = sorted(variant.get("InstancePools") or [], key=lambda pool: pool.get("Priority", 0))
    return tuple(pool["InstanceType"] for pool in pools) or (variant["InstanceType"],)


def works(checks: list[Check]) -> bool:
    """Return whether none of `checks` failed."""
    return all(check.status is not Status.FAIL for check in checks)
