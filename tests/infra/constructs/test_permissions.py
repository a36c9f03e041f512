"""docs/permissions.md lists exactly the permissions in the synthesised policies."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template

from tests.infra.templates import NETWORK, Synthesise, as_list, plain, plain_name

Permission = tuple[str, str, str, tuple[str, ...]]  # holder, action, resource, condition as its key and sorted values

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "permissions.md").read_text(encoding="utf-8")
OPTIONS = {
    "With a customer-managed key": {"encryption": "customer-managed"},
    "With your own key for the bootstrap bucket": {
        "bootstrap_kms_key_arn": f"arn:aws:kms:us-east-1:{'1' * 12}:key/11111111-2222-3333-4444-555555555555"
    },
    "With an external bucket": {"external_buckets": "some-bucket"},
    "With a token for the Hub": {"token_secret_arn": f"arn:aws:secretsmanager:us-east-1:{'1' * 12}:secret:hub-AbCdEf"},
    "With a mirror in S3": {"hub_endpoint": "s3://some-mirror/hub", "revision": "c" * 40},
    "With a model of your own in S3": {
        "hub_endpoint": "s3://some-mirror/hub",
        "model_id": "me/my-musicgen",
        "model_like": "facebook/musicgen-small",
        "revision": "c" * 40,
    },
    "With files instead of a tarball": {"packaging": "uncompressed"},
    "With a private network": NETWORK,
}


def policies(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the holder and the document of each identity policy."""
    for logical_id, resource in template.to_json()["Resources"].items():
        holder = plain_name(logical_id)
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::Policy":
            yield from ((plain_name(role["Ref"]), properties["PolicyDocument"]) for role in properties["Roles"])
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            yield holder, properties["PolicyDocument"]
        if resource["Type"] == "AWS::IAM::Role":
            yield from ((holder, policy["PolicyDocument"]) for policy in properties.get("Policies", []))


def granted(template: Template) -> set[Permission]:
    return {
        (holder, action, re.sub("[0-9a-f]{64}", "<asset>", plain(resource)), condition_of(statement))
        for holder, document in policies(template)
        for statement in document["Statement"]
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def condition_of(statement: dict[str, Any]) -> tuple[str, ...]:
    tests = [test for tests in statement.get("Condition", {}).values() for test in tests.items()]
    assert len(tests) <= 1, "the page has one condition per row"
    return tuple(
        part
        for key, values in tests
        for part in (key, *sorted(re.sub("[0-9a-f]{64}", "<asset>", plain(value)) for value in as_list(values)))
    )


def documented(*options: str) -> set[Permission]:
    """Return the permissions in the page's tables: the unconditional ones and those of the named options."""
    permissions: set[Permission] = set()
    holder, option = "", ""
    for line in PAGE.split("## Policies of resources")[0].splitlines():
        if line.startswith("## "):
            holder, option = line.split("`")[1], ""
        elif line.startswith("### "):
            option = line.removeprefix("### ")
        elif line.startswith("| `") and (not option or option in options):
            permissions |= set(permissions_of_row(holder, line))
    return permissions


def permissions_of_row(holder: str, line: str) -> Iterator[Permission]:
    actions, resources, condition, why = (cell.strip() for cell in line.strip("|").split("|"))
    assert why, f"row without a reason: {line}"
    key, *values = re.findall("`(.*?)`", condition) or [""]
    for action in re.findall("`(.*?)`", actions):
        for resource in re.findall("`(.*?)`", resources):
            yield holder, action, resource, (key, *sorted(values)) if key else ()


def test_page_has_a_section_for_each_option() -> None:
    assert set(re.findall("^### (.*)", PAGE, re.M)) == set(OPTIONS)


def test_page_lists_exactly_the_permissions_of_the_dev_template(synthesise: Synthesise) -> None:
    assert documented() == granted(synthesise())


@pytest.mark.parametrize("option", OPTIONS)
def test_page_lists_the_permissions_that_each_option_adds(synthesise: Synthesise, option: str) -> None:
    assert documented(option) == granted(synthesise(**OPTIONS[option]))
    assert documented(option) > documented()


def test_page_explains_every_kind_of_resource_policy(synthesise: Synthesise) -> None:
    table = PAGE.split("## Policies of resources")[1].split("##")[0]
    template = synthesise(encryption="customer-managed").to_json()["Resources"].values()
    kinds = {resource["Type"]: resource["Properties"] for resource in template}
    documents = [
        kinds["AWS::S3::BucketPolicy"]["PolicyDocument"],
        kinds["AWS::SNS::TopicPolicy"]["PolicyDocument"],
        {"Statement": kinds["AWS::KMS::Key"]["KeyPolicy"]["Statement"][1:]},  # the first is administration
    ]
    actions = {action for document in documents for s in document["Statement"] for action in as_list(s["Action"])}
    assert actions == set(re.findall("`((?:s3|sns|kms):.*?)`", table))
