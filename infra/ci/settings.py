"""The settings of CI's roles, `-c ci:<name>=<value>`, and which tokens they trust.

Names contain a colon, so that the main app ignores them when they are written into cdk.json.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from infra.config import Config, ConfigError
from infra.config import from_context as environment_from_context
from infra.config.setting_rules import did_you_mean, shown

PREFIX = "ci:"
NAMES = ("repository", "environments", "host", "provider_arn", "branch")
READ_SUFFIX = "-read"  # the GitHub environment whose jobs only read, as in drift.yml and pr.yml
_PROVIDER_ARN = r"arn:aws[a-z-]*:iam::\d{12}:oidc-provider/{issuer}"
# What GitHub writes into tokens: names, or, of repositories since July 2026, names with the numbers of owner and
# repository (https://docs.github.com/actions/reference/openid-connect-reference).
_GITHUB = r"[\w.-]+/[\w.-]+|[\w.-]+@\d+/[\w.-]+@\d+"
_GITLAB = r"[\w.-]+(/[\w.-]+)+"
_BRANCH = r"[\w./-]{1,200}"


@dataclass(frozen=True)
class Host:
    """Where the repository is, and what its tokens contain."""

    issuer: str
    audience: str
    repository: str  # a pattern
    example: str


HOSTS = {
    "github": Host("token.actions.githubusercontent.com", "sts.amazonaws.com", _GITHUB, "owner/name or owner@1/name@2"),
    "gitlab": Host("gitlab.com", "https://gitlab.com", _GITLAB, "group/project"),
}


@dataclass(frozen=True)
class Trust:
    """The subjects (claim `sub`) of the tokens that may have a role; `*` is a wildcard if `like`."""

    subject: str
    like: bool = False


@dataclass(frozen=True, kw_only=True)
class CiConfig:
    """The checked settings."""

    environments: tuple[Config, ...]
    repository: str
    host_name: str = "github"
    provider_arn: str = ""  # an existing identity provider; empty: the stack creates it
    branch: str = "main"

    @property
    def host(self) -> Host:
        return HOSTS[self.host_name]

    @property
    def account(self) -> str:
        """The account that the environments' settings name, or an empty string."""
        return self.environments[0].account

    def deploy_trust(self, environment: Config) -> Trust:
        """Return who may deploy: jobs of the GitHub environment, or of the protected branch on GitLab.

        GitLab's subject contains no environment.
        """
        if self.host_name == "gitlab":
            return Trust(f"project_path:{self.repository}:ref_type:branch:ref:{self.branch}")
        return Trust(f"repo:{self.repository}:environment:{environment.env}")

    def read_trust(self, environment: Config) -> Trust:
        """Return who may read: jobs of the GitHub environment `<name>-read`, or of every branch on GitLab."""
        if self.host_name == "gitlab":
            return Trust(f"project_path:{self.repository}:ref_type:branch:ref:*", like=True)
        return Trust(f"repo:{self.repository}:environment:{environment.env}{READ_SUFFIX}")


def from_context(context: Mapping[str, Any], *, default_region: str | None = None) -> CiConfig:
    """Return the settings from the app's whole context; ConfigError names one that cannot be used."""
    given = {key.removeprefix(PREFIX): value for key, value in context.items() if key.startswith(PREFIX)}
    for name, value in given.items():
        if name not in NAMES:
            raise ConfigError(f"{PREFIX}{name} is not a setting{did_you_mean(name, NAMES)}; docs/ci.md lists them all")
        if not isinstance(value, str):
            raise ConfigError(f"{PREFIX}{name} must be text, got {shown(value)}")
    host = given.get("host", "github")
    if host not in HOSTS:
        raise ConfigError(f"{PREFIX}host must be {' or '.join(HOSTS)}, got {shown(host)}")
    issuer = re.escape(HOSTS[host].issuer)
    _check("repository", given.get("repository", ""), HOSTS[host].repository, HOSTS[host].example)
    if given.get("provider_arn"):
        pattern = _PROVIDER_ARN.replace("{issuer}", issuer)
        _check(
            "provider_arn", given["provider_arn"], pattern, f"the ARN of the account's provider {HOSTS[host].issuer}"
        )
    _check("branch", given.get("branch", "main"), _BRANCH, "a branch's name without wildcards")
    return CiConfig(
        environments=_environments(context, given.get("environments", ""), default_region),
        repository=given["repository"],
        host_name=host,
        provider_arn=given.get("provider_arn", ""),
        branch=given.get("branch", "main"),
    )


def _environments(context: Mapping[str, Any], chosen: str, default_region: str | None) -> tuple[Config, ...]:
    """Return the configurations of the chosen environments of cdk.json, or of all of them."""
    declared: Any = context.get("environments", {})
    known: list[str] = sorted(map(str, cast(Mapping[str, Any], declared))) if isinstance(declared, Mapping) else []
    names = [name.strip() for name in chosen.split(",")] if chosen else known
    for name in names:
        if name not in known or names.count(name) > 1:
            allowed = f"different environments of cdk.json, {', '.join(known) or 'none'}"
            raise ConfigError(f"{PREFIX}environments must be {allowed}, got {shown(chosen)}")
    if not names:
        raise ConfigError("environments must have an entry in cdk.json, got none")
    given = {key: value for key, value in context.items() if not key.startswith(PREFIX)}
    configs = [environment_from_context({**given, "env": name}, default_region=default_region) for name in names]
    accounts = sorted({config.account for config in configs})
    if len(accounts) > 1:
        shown_accounts = ", ".join(account or "none" for account in accounts)
        raise ConfigError(
            f"{PREFIX}environments must be of one account, got {', '.join(names)} of {shown_accounts}: "
            f"deploy once in each, with -c {PREFIX}environments=<name>"
        )
    return tuple(configs)


def _check(name: str, value: str, pattern: str, allowed: str) -> None:
    if not re.fullmatch(pattern, value, re.ASCII):
        raise ConfigError(f"{PREFIX}{name} must be {allowed}, got {shown(value)}")
