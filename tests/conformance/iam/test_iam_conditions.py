"""Condition blocks of IAM policies, in session policies, which apply at once."""

import json

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow
from tests.conformance.identities import Identities

OPERATORS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"
CONDITION = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html"
SETS = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/"
    "reference_policies_condition-single-vs-multi-valued-context-keys.html"
)
KEYS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html"
VARIABLES = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html"
ABSENT = "aws:SourceVpce"  # no request of these tests comes through a VPC endpoint


@pytest.fixture(scope="module")
def identities(workspace: Workspace) -> Identities:
    """One bucket and one role for this file."""
    return Identities(workspace)


@documented(OPERATORS)
def test_string_equals_is_exact(identities: Identities) -> None:
    """StringEquals: exact matching, case sensitive."""
    assert identities.lists_if({"StringEquals": {"s3:prefix": "in/"}}, Prefix="in/")
    assert not identities.lists_if({"StringEquals": {"s3:prefix": "IN/"}}, Prefix="in/")


@documented(OPERATORS)
def test_string_equals_ignore_case_ignores_case(identities: Identities) -> None:
    """StringEqualsIgnoreCase: exact matching, ignoring case."""
    assert identities.lists_if({"StringEqualsIgnoreCase": {"s3:prefix": "IN/"}}, Prefix="in/")


@documented(OPERATORS)
def test_string_like_has_wildcards(identities: Identities) -> None:
    """StringLike: the values can include * and ? anywhere in the string."""
    assert identities.lists_if({"StringLike": {"s3:prefix": "i?/*"}}, Prefix="in/x")
    assert not identities.lists_if({"StringLike": {"s3:prefix": "i?/*"}}, Prefix="inn/x")


@documented(OPERATORS)
def test_string_equals_has_no_wildcards(identities: Identities) -> None:
    """StringEquals: exact matching. The values of StringLike can include wildcards, and you must specify them to
    achieve partial string matches."""
    assert not identities.lists_if({"StringEquals": {"s3:prefix": "in/*"}}, Prefix="in/x")


@documented(OPERATORS)
def test_numbers_are_compared(identities: Identities) -> None:
    """NumericLessThanEquals: "Less than or equals" matching."""
    condition = {"NumericLessThanEquals": {"s3:max-keys": "10"}}
    assert identities.lists_if(condition, MaxKeys=10)
    assert not identities.lists_if(condition, MaxKeys=11)


@documented(OPERATORS)
def test_dates_are_compared(identities: Identities) -> None:
    """DateGreaterThan: matching after a specific date and time, in an ISO 8601 format or in epoch time."""
    assert identities.reads_if({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})
    assert identities.reads_if({"NumericGreaterThan": {"aws:EpochTime": "1577836800"}})
    assert not identities.reads_if({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})


@documented(OPERATORS)
def test_addresses_match_a_range(identities: Identities) -> None:
    """IpAddress: the specified IP address or range, in the CIDR format."""
    assert identities.reads_if({"IpAddress": {"aws:SourceIp": ["0.0.0.0/0", "::/0"]}})
    assert not identities.reads_if({"NotIpAddress": {"aws:SourceIp": ["0.0.0.0/0", "::/0"]}})


@documented(OPERATORS)
def test_each_part_of_an_arn_is_compared(identities: Identities) -> None:
    """ArnLike: each of the six colon-delimited components of the ARN is checked separately and each can include
    wildcards."""
    assert identities.reads_if({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}})
    assert not identities.reads_if({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*"}})


@documented(OPERATORS)
def test_an_absent_key_does_not_match(identities: Identities) -> None:
    """If the key that you specify in a policy condition is not present in the request context, the values do not match
    and the condition is false."""
    assert not identities.reads_if({"StringLike": {ABSENT: "*"}})


@documented(OPERATORS)
def test_a_negated_operator_is_true_for_an_absent_key(identities: Identities) -> None:
    """If the policy condition requires that the key is not matched, such as StringNotLike, and the key is not present,
    the condition is true."""
    assert identities.reads_if({"StringNotLike": {ABSENT: "*"}})


@documented(OPERATORS)
def test_if_exists_is_true_for_an_absent_key(identities: Identities) -> None:
    """...IfExists: if the key is not present, evaluate the condition element as true; otherwise process the key as
    specified in the policy."""
    assert identities.reads_if({"StringEqualsIfExists": {ABSENT: "vpce-1"}})
    assert not identities.lists_if({"StringEqualsIfExists": {"s3:prefix": "in/"}}, Prefix="out/")


@documented(OPERATORS)
def test_null_tests_for_presence(identities: Identities) -> None:
    """In the policy statement of Null, use either true (the key doesn't exist, it is null) or false (the key exists and
    its value is not null)."""
    assert identities.reads_if({"Null": {ABSENT: "true", "aws:PrincipalArn": "false"}})
    assert not identities.reads_if({"Null": {ABSENT: "false"}})
    assert not identities.reads_if({"Null": {"aws:PrincipalArn": "true"}})


@documented(SETS)
def test_for_all_values_is_true_for_an_absent_key(identities: Identities) -> None:
    """ForAllValues also returns true if there are no context keys in the request, or if the context key value resolves
    to a null dataset."""
    assert identities.reads_if({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}})


@documented(SETS)
def test_for_any_value_is_false_for_an_absent_key(identities: Identities) -> None:
    """ForAnyValue: for no matching context key or if the key does not exist, the condition returns false."""
    assert not identities.reads_if({"ForAnyValue:StringEquals": {"aws:TagKeys": ["Team"]}})
    assert not identities.reads_if({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["Team"]}})


@documented(SETS)
def test_set_operators_compare_all_or_any_tag(identities: Identities, workspace: Workspace) -> None:
    """ForAllValues: every context key value in the request matches a value in the policy. ForAnyValue: any does."""

    def tags(quantifier: str, keys: list[str]) -> str:
        limit = {f"{quantifier}:StringEquals": {"aws:TagKeys": ["Team", "Cost"]}}
        role = identities.role({**allow("sqs:*", resource="*"), "Condition": limit})
        sqs, name = identities.client("sqs", role), workspace.name()
        try:
            url = sqs.create_queue(QueueName=name, tags={key: "x" for key in keys})["QueueUrl"]
        except sqs.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        workspace.later(name, lambda: workspace.client("sqs").delete_queue(QueueUrl=url))
        return "created"

    assert tags("ForAllValues", ["Team", "Cost"]) == "created"
    assert tags("ForAllValues", ["Team", "Other"]) != "created"
    assert tags("ForAnyValue", ["Team", "Other"]) == "created"
    assert tags("ForAnyValue", ["Other"]) != "created"


@documented(CONDITION)
def test_condition_keys_ignore_case(identities: Identities) -> None:
    """Context key names are not case-sensitive."""
    assert identities.lists_if({"StringEquals": {"S3:PREFIX": "in/"}}, Prefix="in/")


@documented(
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html"
)
def test_conditions_are_anded_and_values_ored(identities: Identities) -> None:
    """Multiple condition operators and keys are evaluated with a logical AND, multiple values of a key with an OR."""
    either = {"StringEquals": {"s3:prefix": ["out/", "in/"]}}
    assert identities.lists_if(either, Prefix="in/")
    assert not identities.lists_if({**either, "NumericLessThan": {"s3:max-keys": "5"}}, Prefix="in/", MaxKeys=9)


@documented(KEYS)
def test_requested_region_is_the_regions_name(identities: Identities, workspace: Workspace) -> None:
    """aws:RequestedRegion compares the AWS Region that was called in the request."""
    assert identities.reads_if({"StringEquals": {"aws:RequestedRegion": workspace.target.region}})
    assert not identities.reads_if({"StringNotEquals": {"aws:RequestedRegion": workspace.target.region}})


@documented(KEYS)
def test_principal_arn_is_the_roles(identities: Identities) -> None:
    """aws:PrincipalArn: for IAM roles, the request context returns the ARN of the role, not of the session."""
    assert not identities.reads_if({"ArnLike": {"aws:PrincipalArn": "arn:aws:sts::*:assumed-role/*"}})


@documented(KEYS)
def test_principal_tag_is_the_roles_tag(identities: Identities) -> None:
    """aws:PrincipalTag/tag-key compares the tag attached to the principal making the request with the tag that you
    specify. It is included for a principal using an IAM role with attached tags."""
    assert identities.reads_if({"StringEquals": {"aws:PrincipalTag/Team": "in"}})
    assert not identities.reads_if({"StringEquals": {"aws:PrincipalTag/Team": "out"}})


@documented(KEYS)
def test_secure_transport_is_known(identities: Identities) -> None:
    """aws:SecureTransport checks whether the request was sent using TLS. This key is always included in the request
    context."""
    assert not identities.reads_if({"Null": {"aws:SecureTransport": "true"}})


@documented(KEYS)
def test_username_is_absent_for_roles(identities: Identities) -> None:
    """aws:username: requests that are made using the root user or IAM roles do not include this key."""
    assert identities.reads_if({"Null": {"aws:username": "true"}})


@documented(VARIABLES)
def test_variables_are_replaced_in_resources(identities: Identities) -> None:
    """When the policy is evaluated, the policy variables are replaced with values that come from the conditional
    context keys passed in the request. You can use a policy variable in the Resource element."""
    tagged = identities.within(allow("s3:GetObject", resource=f"{identities.arn}/${{aws:PrincipalTag/Team}}/*"))
    assert identities.reads(tagged, "in/a")
    assert not identities.reads(tagged, "out/a")


@documented(VARIABLES)
def test_variables_are_replaced_in_conditions(identities: Identities) -> None:
    """You can use policy variables in the Resource element and in string comparisons in the Condition element."""
    condition = {"StringLike": {"s3:prefix": "${aws:PrincipalTag/Team}/*"}}
    assert identities.lists_if(condition, Prefix="in/")
    assert not identities.lists_if(condition, Prefix="out/")


@documented(VARIABLES)
def test_a_variable_without_a_value_matches_nothing(identities: Identities) -> None:
    """If a variable that has no value in the authorization context is used as part of the Resource element, the
    resource will not match any resource. Condition operators like StringEquals do not match."""
    absent = identities.within(allow("s3:GetObject", resource=f"{identities.arn}/in/${{aws:username}}*"))
    assert not identities.reads(absent)
    assert not identities.lists_if({"StringLike": {"s3:prefix": "${aws:username}*"}}, Prefix="in/")


@documented(VARIABLES)
def test_a_variable_without_a_value_is_not_equal_to_anything(identities: Identities) -> None:
    """Inverted condition operators like StringNotEquals do match against a null value, as the value of the condition
    key they are testing against is not equal to the effectively null value."""
    assert identities.lists_if({"StringNotEquals": {"s3:prefix": "${aws:username}"}}, Prefix="in/")


@documented(VARIABLES)
def test_variables_need_the_policys_version(identities: Identities) -> None:
    """If you don't include the Version element and set it to an appropriate version date (2012-10-17), variables like
    ${aws:username} are treated as literal strings in the policy."""
    statement = allow("s3:GetObject", resource=f"{identities.arn}/${{aws:PrincipalTag/Team}}/*")
    role = identities.role(*identities.everything)
    name = role.rpartition("/")[2]
    identities.workspace.client("iam").tag_role(RoleName=name, Tags=[{"Key": "Team", "Value": "in"}])
    for version, readable in (({"Version": "2012-10-17"}, True), ({}, False)):
        document = json.dumps({**version, "Statement": [statement]})
        assert identities.reads(identities.client("s3", role, Policy=document)) == readable


@documented(VARIABLES)
def test_a_variable_may_have_a_default(identities: Identities) -> None:
    """To add a default value to a variable, surround the default value with single quotes, and separate the variable
    text and the default value with a comma and space."""
    default = identities.within(allow("s3:GetObject", resource=f"{identities.arn}/${{aws:PrincipalTag/None, 'in'}}/*"))
    assert identities.reads(default)


@documented(VARIABLES)
def test_special_characters_are_escaped_by_a_variable(identities: Identities) -> None:
    """Special characters: ${*} - use where you need an * (asterisk) character, instead of a wildcard."""
    literal = identities.within(allow("s3:GetObject", resource=f"{identities.arn}/in/${{*}}"))
    assert not identities.reads(literal)
