# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""The stack of CI's roles: an identity provider, and for each environment a role that deploys and one that reads."""

from typing import Any

from aws_cdk import CfnOutput, Duration, Environment, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.ci.roles import CiRole
from infra.ci.settings import CiConfig, Trust
from infra.config import Config

STACK_NAME = "MusicGenCi"
DEPLOY_SECONDS = 10_800  # `role-duration-seconds` in deploy.yml


class CiStack(Stack):
    """Creates the provider and the roles, and outputs the roles' ARNs by environment."""

    def __init__(self, scope: Construct, *, config: CiConfig) -> None:
        super().__init__(
            scope,
            STACK_NAME,
            description="Roles that CI assumes by OIDC to deploy MusicGen and to compare it with the repository",
            env=Environment(account=config.account or None, region=config.environments[0].region),
        )
        provider = config.provider_arn or self._create_provider(config)
        for environment in config.environments:
            roles = EnvironmentRoles(self, environment.env, config=config, environment=environment, provider=provider)
            # docs/ci.md and tools/repository_setup know the outputs by these names.
            name = "".join(part.capitalize() for part in environment.env.split("-"))
            for kind, role in (("Deploy", roles.deploy), ("Read", roles.read)):
                CfnOutput(
                    self,
                    f"{name}{kind}RoleArn",
                    value=role.role_arn,
                    description=f"AWS_{kind.upper()}_ROLE_ARN of {environment.env}",
                )

    def _create_provider(self, config: CiConfig) -> str:
        provider = iam.CfnOIDCProvider(
            self, "Provider", url=f"https://{config.host.issuer}", client_id_list=[config.host.audience]
        )
        return provider.attr_arn


class EnvironmentRoles(Construct):
    """The two roles of one environment of cdk.json."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: CiConfig, environment: Config, provider: str
    ) -> None:
        super().__init__(scope, construct_id)
        self.deploy = CiRole(
            self,
            "Deploy",
            description=f"CI: deploys {environment.stack_name} and asks it for music",
            trusted_by=_principal(config, provider, config.deploy_trust(environment)),
            environment=environment,
            max_session_duration=Duration.seconds(DEPLOY_SECONDS),
        )
        self.deploy.allow_deployments()
        self.deploy.allow_smoke_test()
        self.read = CiRole(
            self,
            "Read",
            description=f"CI: reads {environment.stack_name} and its configuration",
            trusted_by=_principal(config, provider, config.read_trust(environment)),
            environment=environment,
        )
        self.read.allow_drift_detection()
        if environment.permissions_boundary:
            boundary, policy = environment.permissions_boundary, iam.ManagedPolicy
            by_arn = boundary.startswith("arn:")
            imported = policy.from_managed_policy_arn if by_arn else policy.from_managed_policy_name
            iam.PermissionsBoundary.of(self).apply(imported(self, "Boundary", boundary))


def _principal(config: CiConfig, provider: str, trust: Trust) -> iam.WebIdentityPrincipal:
    """Return tokens of the repository's issuer for this audience and subject."""
    audience, subject = f"{config.host.issuer}:aud", f"{config.host.issuer}:sub"
    equal: dict[str, Any] = {audience: config.host.audience, **({} if trust.like else {subject: trust.subject})}
    conditions: dict[str, Any] = {"StringEquals": equal}
    if trust.like:
        conditions["StringLike"] = {subject: trust.subject}
    return iam.WebIdentityPrincipal(provider, conditions=conditions)
