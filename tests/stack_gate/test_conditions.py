"""Whether one IAM condition implies another."""

from typing import Any

import pytest

from stack_gate.iam.conditions import implies, parse_condition
from stack_gate.template import Resolver, Stack

RESOLVER = Resolver(Stack(name="Any", template={}, region="us-east-1"))

ACCOUNT = {"StringEquals": {"aws:SourceAccount": "1"}}
CASES: list[tuple[dict[str, Any], dict[str, Any], bool | None]] = [
    (ACCOUNT, {}, True),
    ({}, ACCOUNT, False),
    ({**ACCOUNT, "Bool": {"aws:SecureTransport": "true"}}, ACCOUNT, True),
    (ACCOUNT, {"StringEquals": {"AWS:sourceaccount": ["1", "2"]}}, True),
    ({"StringEquals": {"aws:SourceAccount": ["1", "2"]}}, ACCOUNT, False),
    (ACCOUNT, {"StringLike": {"aws:SourceAccount": "*"}}, True),
    ({"StringLike": {"aws:SourceAccount": "*"}}, ACCOUNT, None),
    (ACCOUNT, {"StringEqualsIfExists": {"aws:SourceAccount": "1"}}, True),
    ({"StringEqualsIfExists": {"aws:SourceAccount": "1"}}, ACCOUNT, False),
    ({"StringLike": {"s3:prefix": "out/a*"}}, {"StringLike": {"s3:prefix": ["out/*", "in/*"]}}, True),
    ({"StringLike": {"s3:prefix": "*"}}, {"StringLike": {"s3:prefix": ["out/*", "in/*"]}}, False),
    ({"StringEquals": {"s3:prefix": "out*"}}, {"StringLike": {"s3:prefix": "out?"}}, True),
    ({"ArnEquals": {"aws:SourceArn": "arn:a"}}, {"ArnLike": {"aws:SourceArn": "arn:*"}}, True),
    ({"ArnLike": {"aws:SourceArn": "arn:*"}}, {"ArnEquals": {"aws:SourceArn": "arn:a"}}, False),
    ({"StringNotEquals": {"k": ["1", "2"]}}, {"StringNotEquals": {"k": "1"}}, True),
    ({"StringNotEquals": {"k": "1"}}, {"StringNotEquals": {"k": ["1", "2"]}}, False),
    ({"StringNotLike": {"k": "a*"}}, {"StringNotLike": {"k": "ab*"}}, True),
    ({"NumericLessThan": {"k": "5"}}, {"NumericLessThan": {"k": "10"}}, True),
    ({"NumericLessThan": {"k": "10"}}, {"NumericLessThan": {"k": "5"}}, False),
    ({"NumericGreaterThanEquals": {"k": "10"}}, {"NumericGreaterThanEquals": {"k": "5"}}, True),
    ({"DateLessThan": {"k": "2026-01-01"}}, {"DateLessThan": {"k": "2027-01-01"}}, None),
    ({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}, {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, True),
    ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
    ({"Null": {"k": "true"}}, {"Null": {"k": "false"}}, False),
    ({"StringEquals": {"k": "1"}}, {"StringNotEquals": {"k": "2"}}, True),
    ({"StringEquals": {"k": "${aws:username}"}}, {"StringNotEquals": {"k": "2"}}, None),
    ({"StringLike": {"k": "a*"}}, {"StringNotLike": {"k": "b*"}}, True),
    ({"StringLike": {"k": "a*"}}, {"StringNotLike": {"k": "*b"}}, None),
    ({"StringLike": {"k": "a*"}}, {"Null": {"k": "false"}}, True),
    ({"Null": {"k": "true"}}, {"StringEqualsIfExists": {"k": "1"}}, True),
    ({"ForAllValues:StringEquals": {"k": "1"}}, {"ForAnyValue:StringEquals": {"k": "1"}}, None),
    ({"ForAnyValue:StringEquals": {"k": "1"}}, {"ForAnyValue:StringEquals": {"k": ["1", "2"]}}, True),
]


@pytest.mark.parametrize(("strict", "loose", "expected"), CASES)
def test_condition_implies_another(strict: dict[str, Any], loose: dict[str, Any], expected: bool | None) -> None:
    first, second = parse_condition(strict, RESOLVER), parse_condition(loose, RESOLVER)

    assert first is not None
    assert second is not None
    assert implies(first, second) is expected


def test_condition_with_an_intrinsic_function_is_unreadable() -> None:
    assert parse_condition({"Fn::If": ["A", {}, {}]}, RESOLVER) is None
