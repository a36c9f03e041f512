"""The settings of CI's roles: what is accepted, and the one line that a wrong value gives."""

from typing import Any

import pytest

from infra.ci.settings import from_context
from infra.config import ConfigError
from infra.config import from_context as main_from_context

GIVEN = {"ci:repository": "owner/project"}
ARN = "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com"


def test_the_main_app_ignores_them_in_cdk_json(cdk_context: dict[str, Any]) -> None:
    assert main_from_context({**cdk_context, **GIVEN}) == main_from_context(cdk_context)


def test_all_environments_of_cdk_json_get_roles(cdk_context: dict[str, Any]) -> None:
    config = from_context({**cdk_context, **GIVEN})
    assert [environment.env for environment in config.environments] == sorted(cdk_context["environments"])


def test_environments_can_be_chosen(cdk_context: dict[str, Any]) -> None:
    config = from_context({**cdk_context, **GIVEN, "ci:environments": "prod"})
    assert [environment.env for environment in config.environments] == ["prod"]


@pytest.mark.parametrize("repository", ["owner/project", "owner@1/project@23", "an-owner/a.project_1"])
def test_repositories_are_named_as_github_names_them(cdk_context: dict[str, Any], repository: str) -> None:
    config = from_context({**cdk_context, "ci:repository": repository})
    assert config.deploy_trust(config.environments[0]).subject == f"repo:{repository}:environment:dev"
    assert config.read_trust(config.environments[0]).subject == f"repo:{repository}:environment:dev-read"


def test_gitlab_trusts_the_protected_branch(cdk_context: dict[str, Any]) -> None:
    given = {"ci:host": "gitlab", "ci:repository": "group/sub/project", "ci:branch": "release/1"}
    config = from_context({**cdk_context, **given})
    deploy, read = (trust(config.environments[0]) for trust in (config.deploy_trust, config.read_trust))
    assert (deploy.subject, deploy.like) == ("project_path:group/sub/project:ref_type:branch:ref:release/1", False)
    assert (read.subject, read.like) == ("project_path:group/sub/project:ref_type:branch:ref:*", True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "ci:repository must be owner/name or owner@1/name@2, got ''"),
        ({"ci:repository": "project"}, "ci:repository must be owner/name or owner@1/name@2, got 'project'"),
        ({"ci:repository": "owner/*"}, "ci:repository must be owner/name or owner@1/name@2, got 'owner/*'"),
        (
            {"ci:repository": "owner@1/project"},
            "ci:repository must be owner/name or owner@1/name@2, got 'owner@1/project'",
        ),
        ({"ci:repository": "a:b/c"}, "ci:repository must be owner/name or owner@1/name@2, got 'a:b/c'"),
        ({"ci:repository": 1}, "ci:repository must be text, got 1"),
        ({**GIVEN, "ci:host": "bitbucket"}, "ci:host must be github or gitlab, got 'bitbucket'"),
        (
            {**GIVEN, "ci:host": "gitlab", "ci:branch": "*"},
            "ci:branch must be a branch's name without wildcards, got '*'",
        ),
        (
            {**GIVEN, "ci:provider": ARN},
            "ci:provider is not a setting (did you mean provider_arn?); docs/ci.md lists them all",
        ),
        (
            {**GIVEN, "ci:host": "gitlab", "ci:provider_arn": ARN},
            f"ci:provider_arn must be the ARN of the account's provider gitlab.com, got '{ARN}'",
        ),
        (
            {**GIVEN, "ci:environments": "dev,qa"},
            "ci:environments must be different environments of cdk.json, dev, prod, got 'dev,qa'",
        ),
        (
            {**GIVEN, "ci:environments": "dev,dev"},
            "ci:environments must be different environments of cdk.json, dev, prod, got 'dev,dev'",
        ),
        ({**GIVEN, "environments": {}}, "environments must have an entry in cdk.json, got none"),
        (
            {**GIVEN, "environments": {"dev": {"account": "1" * 12}, "prod": {"account": "2" * 12}}},
            "ci:environments must be of one account, got dev, prod of 111111111111, 222222222222: "
            "deploy once in each, with -c ci:environments=<name>",
        ),
        ({**GIVEN, "max_capacity": "0"}, "max_capacity must be 1 to 100, got 0"),
    ],
)
def test_wrong_values_are_refused_with_what_is_allowed(
    cdk_context: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, **given})
    assert str(error.value) == message
