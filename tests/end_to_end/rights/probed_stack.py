"""The whole stack on its own embedded AWS, deployed by the real CDK CLI, with probes for all its roles."""

import io
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator.process import LocalAws
from local_aws.hub import LoopbackHub, Repository
from local_aws.walkthrough import bundled_assets
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.client import stack_outputs
from local_aws.walkthrough.report import Report
from local_aws.walkthrough.steps import BUNDLED_ASSETS
from local_aws.walkthrough.toy_model import toy_model
from tests.end_to_end.helpers.walkthrough_process import PROJECT, tool_environment
from tests.end_to_end.rights.access_denials import AccessDenials, ProbeFailed
from tests.end_to_end.rights.client_probes import ClientProbes
from tests.end_to_end.rights.deployed_permissions import DeployedPermissions, Permission
from tests.end_to_end.rights.endpoint_probes import EndpointProbes
from tests.end_to_end.rights.lambda_probes import (
    BucketEmptierProbes,
    BusyHub,
    FailedStartProbes,
    FunctionInvoker,
    StagingProbes,
)

STACK = "MusicGen-dev"
# CDK's own validation of a template takes 4 s of processor time. Nearly all of its errors are cfn-lint's too, which
# the tests of `infra` ask about every option; test_make_local.py and tests/infra/test_app.py run the app with it.
NO_CDK_VALIDATION = {"CDK_VALIDATION": "false"}
STAGING, SERVING, CLIENT = "StagedModelRole", "AsyncEndpointRole", "ClientAccessPolicy"
EMPTIER = "CustomS3AutoDeleteObjectsCustomResourceProviderRole"
FAILED_START = "FailedStartRole"
_CLIENT_ROLE = "probe-client"
Probe = Callable[[AccessDenials], None]
Keys = tuple[str, str, str]


class ProbedStack:
    """A deployed stack, the permissions of its principals, and probes for each of them."""

    def __init__(self, aws: LocalAws, assembly: Path, hub: BusyHub) -> None:
        self.aws, self.outputs, self.permissions = aws, stack_outputs(aws, STACK), DeployedPermissions(aws, STACK)
        self._make_client_role()
        functions = FunctionInvoker(aws)
        self.staged = self._properties(assembly)
        self.staging = StagingProbes(aws, self.permissions, functions, self.staged, hub)
        self.serving = EndpointProbes(aws, self.outputs, self.permissions)
        self.emptying = BucketEmptierProbes(aws, self.permissions, functions)
        failed_start = FailedStartProbes(aws, self.permissions, functions, STACK)
        client = ClientProbes(aws, self.outputs, self.keys(CLIENT))
        self.probes: dict[str, list[Probe]] = {
            STAGING: [self.staging.creates, self.staging.deletes],
            SERVING: [
                self.serving.serves_a_request,
                self.serving.continues_a_clip,
                self.serving.reports_an_invalid_request,
                self.serving.honours_a_cancellation,
                self.serving.starts_another_endpoint,
            ],
            CLIENT: [client.invokes_and_downloads],
            EMPTIER: [self.emptying.empties_a_bucket],
            FAILED_START: [failed_start.reads_the_stack_status],
        }
        # Probes for single permissions, which the others would take too long to exercise.
        self.special: dict[tuple[str, str], Probe] = {
            (SERVING, "logs:CreateLogStream"): self.serving.opens_log_stream,
            (STAGING, "lambda:InvokeFunction"): self.staging.continues_in_a_new_invocation,
        }

    def role(self, principal: str) -> str:
        """Return the name of the role that has a principal's permissions."""
        return _CLIENT_ROLE if principal == CLIENT else self.permissions.physical(principal)

    def keys(self, principal: str) -> Keys:
        """Return credentials of a session of the principal's role, which trusts the account while it is assumed."""
        iam, role = self.aws.client("iam"), self.role(principal)
        trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        account = {"Effect": "Allow", "Principal": {"AWS": self.aws.account_id}, "Action": "sts:AssumeRole"}
        opened = {**trust, "Statement": [*trust["Statement"], account]}
        arn = f"arn:aws:iam::{self.aws.account_id}:role/{role}"
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(opened))
        session = self.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="probe")["Credentials"]
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
        return session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]

    def failure_without(self, permission: Permission) -> str | None:
        """Return what fails without the permission, or None if nothing fails because of a denial."""
        special = self.special.get((permission.principal, permission.action))
        with self.permissions.without([permission]):
            failure = self.first_failure(
                permission.principal, [special] if special else self.probes[permission.principal]
            )
        if special == self.serving.opens_log_stream:
            self.serving.scale_back()
        return failure

    def first_failure(self, principal: str, probes: Iterable[Probe]) -> str | None:
        """Return the message of the first probe that fails, or None."""
        for probe in probes:
            denials = AccessDenials(self.aws, self.role(principal))
            try:
                probe(denials)
            except ProbeFailed as failure:
                assert denials.lines(), f"failed without a denial: {failure}"
                return str(failure)
        return None

    def _make_client_role(self) -> None:
        iam = self.aws.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": self.aws.account_id}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        iam.create_role(RoleName=_CLIENT_ROLE, AssumeRolePolicyDocument=document)
        iam.attach_role_policy(RoleName=_CLIENT_ROLE, PolicyArn=self.outputs["ClientPolicyArn"])

    def _properties(self, assembly: Path) -> dict[str, str]:
        """Return the deployed properties of the staged model, with references resolved."""
        resources: dict[str, Any] = json.loads((assembly / f"{STACK}.template.json").read_text())["Resources"]
        (found,) = (item["Properties"] for item in resources.values() if item["Type"] == "Custom::StagedModel")
        written = {name: value for name, value in found.items() if isinstance(value, str)}
        assets = f"cdk-hnb659fds-assets-{self.aws.account_id}-{self.aws.region}"
        return {**written, "CodeBucket": assets, "ModelBucket": self.outputs["ArtifactBucketName"]}


@dataclass(frozen=True)
class Account:
    """The embedded AWS before deployment, and a Hub with one commit of one model."""

    aws: LocalAws
    hub_url: str
    model_id: str
    revision: str


@contextmanager
def probed_stack(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    prepare: Callable[[Account], Mapping[str, str]] | None = None,
    *,
    token: str | None = None,
    first: Mapping[str, str] | None = None,
) -> Generator[ProbedStack]:
    """Deploy into `folder` and stop everything afterwards. Use within `tools_on_path`.

    `settings` override the default configuration; `prepare` creates what they need in the account and returns further
    settings. With a `token`, the model is gated. With `first`, the stack is first deployed with these settings over the
    others, and then updated.
    """
    model = toy_model()
    faults = BusyHub()
    repository = Repository.from_folder(model.folder, model_id=model.model_id, revision=model.revision)
    loopback = LoopbackHub(repository, on_reply=faults, token=token)
    with LocalAws(folder / "aws") as aws, loopback as hub:
        environment = {**aws.environment(), **NO_CDK_VALIDATION}
        cdk = CdkCli(PROJECT, folder / "cdk.out", environment, folder / "cdk.log", Report(io.StringIO(), 3))
        context = {"env": "dev", "model_id": model.model_id, "revision": model.revision}
        account = Account(aws, hub.url, model.model_id, model.revision)
        found: Mapping[str, str] = prepare(account) if prepare else {}
        final = {**context, "hub_endpoint": hub.url, **(settings or {}), **found}
        for number, deployed in enumerate([{**final, **first}, final] if first else [final]):
            with cdk.bootstrapping(aws.account_id, aws.region) if number == 0 else nullcontext():
                synthesise(cdk, deployed)
            cdk.deploy()
        yield ProbedStack(aws, folder / "cdk.out", faults)


def synthesise(cdk: CdkCli, context: dict[str, str]) -> None:
    """Synthesise as `make local` does, with the Lambda that any run bundled from the same sources."""
    store = PROJECT / BUNDLED_ASSETS
    bundled_assets.restore(store, cdk.assembly)
    cdk.synth(context)
    bundled_assets.keep(cdk.assembly, store)


@contextmanager
def tools_on_path() -> Generator[None]:
    """Add the tools and source roots that make exports to this process's environment.

    CDK's own validation, which takes seconds, is left to `make local` and the tests of app.py.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CDK_VALIDATION", "false")
        for name in ("PATH", "PYTHONPATH"):
            patched.setenv(name, tool_environment()[name])
        yield
