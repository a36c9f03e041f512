"""The whole stack on an embedded AWS of its own, deployed by the real CDK CLI, with the probes of all its roles."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator.process import LocalAws
from local_aws.hub import LoopbackHub, Repository
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.client import StackOutputs
from local_aws.walkthrough.report import Report
from local_aws.walkthrough.stand_in import make_stand_in
from tests.end_to_end.helpers.walkthrough_process import PROJECT, tool_environment
from tests.end_to_end.rights.deployed_rights import DeployedRights, Right
from tests.end_to_end.rights.probe_client import Asking
from tests.end_to_end.rights.probe_refusals import ProbeFailed, Refusals
from tests.end_to_end.rights.probe_serving import Serving
from tests.end_to_end.rights.probe_staging import Emptying, Functions, Hub, Staging

STACK = "MusicGen-dev"
STAGING, SERVING, CLIENT = "StagedModelRole", "AsyncEndpointRole", "ClientAccessPolicy"
EMPTIER = "CustomS3AutoDeleteObjectsCustomResourceProviderRole"
_CLIENT_ROLE = "probe-client"
Probe = Callable[[Refusals], None]
Keys = tuple[str, str, str]


class ProbedStack:
    """A deployed stack, the rights of its holders, and for each holder the probes that use them."""

    def __init__(self, aws: LocalAws, assembly: Path, hub: Hub) -> None:
        self.aws, self.outputs, self.rights = aws, StackOutputs.read(aws, STACK), DeployedRights(aws, STACK)
        self._make_client_role()
        functions = Functions(aws)
        self.staged = self._properties(assembly)
        self.staging = Staging(aws, self.rights, functions, self.staged, hub)
        self.serving = Serving(aws, self.outputs, self.rights)
        self.emptying = Emptying(aws, self.rights, functions)
        asking = Asking(aws, self.outputs, self.keys(CLIENT))
        self.probes: dict[str, list[Probe]] = {
            STAGING: [self.staging.stages, self.staging.removes],
            SERVING: [self.serving.answers, self.serving.refuses, self.serving.starts],
            CLIENT: [asking.asks],
            EMPTIER: [self.emptying.empties],
        }
        # What only these look at, and the others would take long to get round to.
        self.special: dict[tuple[str, str], Probe] = {
            (SERVING, "logs:CreateLogStream"): self.serving.opens_log,
            (STAGING, "lambda:InvokeFunction"): self.staging.hands_over,
        }

    def role(self, holder: str) -> str:
        """The name of the role that a holder's rights are used under."""
        return _CLIENT_ROLE if holder == CLIENT else self.rights.physical(holder)

    def keys(self, holder: str) -> Keys:
        """Credentials of a session of the holder's role."""
        arn = f"arn:aws:iam::{self.aws.account_id}:role/{self.role(holder)}"
        held = self.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="probe")["Credentials"]
        return held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"]

    def why_needed(self, right: Right) -> str | None:
        """What fails without the right, if anything does because of a refusal."""
        special = self.special.get((right.holder, right.action))
        with self.rights.without([right]):
            failure = self.first_failure(right.holder, [special] if special else self.probes[right.holder])
        if special == self.serving.opens_log:
            self.serving.rest()
        return failure

    def first_failure(self, holder: str, probes: Iterable[Probe]) -> str | None:
        """What the first of the probes that fails says; None when none does."""
        for probe in probes:
            refusals = Refusals(self.aws, self.role(holder))
            try:
                probe(refusals)
            except ProbeFailed as failure:
                assert refusals.lines(), f"nothing was refused, and yet: {failure}"
                return str(failure)
        return None

    def _make_client_role(self) -> None:
        iam = self.aws.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": self.aws.account_id}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        iam.create_role(RoleName=_CLIENT_ROLE, AssumeRolePolicyDocument=document)
        iam.attach_role_policy(RoleName=_CLIENT_ROLE, PolicyArn=self.outputs["ClientPolicyArn"])

    def _properties(self, assembly: Path) -> dict[str, str]:
        """The staged model's deployed properties, with references resolved."""
        resources: dict[str, Any] = json.loads((assembly / f"{STACK}.template.json").read_text())["Resources"]
        (found,) = (item["Properties"] for item in resources.values() if item["Type"] == "Custom::StagedModel")
        written = {name: value for name, value in found.items() if isinstance(value, str)}
        assets = f"cdk-hnb659fds-assets-{self.aws.account_id}-{self.aws.region}"
        return {**written, "CodeBucket": assets, "ModelBucket": self.outputs["ArtifactBucketName"]}


@dataclass(frozen=True)
class Account:
    """What there is before the stack: the embedded AWS, and a Hub with one commit of one model."""

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
    """Deploy into `folder`, and end all of it afterwards; within `tools_on_path`.

    `settings` are the configuration's, over the defaults; `prepare` makes what they expect to find in the account, and
    returns those that only it knows. With a `token` the model is gated. With `first` the stack is deployed with these
    settings over the others, and then changed.
    """
    stand_in = make_stand_in(folder / "stand-in")
    faults = Hub()
    repository = Repository.from_folder(stand_in.folder, model_id=stand_in.model_id, revision=stand_in.revision)
    loopback = LoopbackHub(repository, on_reply=faults, token=token)
    with LocalAws(folder / "aws") as aws, loopback as hub:
        cdk = CdkCli(PROJECT, folder / "cdk.out", aws.environment(), folder / "cdk.log", Report(io.StringIO(), 3))
        context = {"env": "dev", "model_id": stand_in.model_id, "revision": stand_in.revision}
        account = Account(aws, hub.url, stand_in.model_id, stand_in.revision)
        found: Mapping[str, str] = prepare(account) if prepare else {}
        final = {**context, "hub_endpoint": hub.url, **(settings or {}), **found}
        for number, deployed in enumerate([{**final, **first}, final] if first else [final]):
            cdk.synth(deployed)
            if number == 0:
                cdk.bootstrap(aws.account_id, aws.region)
            cdk.deploy()
        yield ProbedStack(aws, folder / "cdk.out", faults)


@contextmanager
def tools_on_path() -> Generator[None]:
    """This process's environment with the tools and source roots that make would export."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("PATH", "PYTHONPATH"):
            patched.setenv(name, tool_environment()[name])
        yield
