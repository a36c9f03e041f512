"""Every property in CloudFormation's schema of a type with data or permissions, removed, weakened or added.

Properties that may change are listed here, independently of the gate's tables: every other one must need a label.
"""

from itertools import islice

import pytest

from stack_gate.template import Stack
from tests.stack_gate.mutants.schemas import Weakening, properties_of, sample, weakenings
from tests.stack_gate.mutants.stacks import Compare, Draft

TYPES = (
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::Logs::LogGroup",
    "AWS::KMS::Key",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::EndpointConfig",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::IAM::Role",
)
DOCUMENTS = {"KeyPolicy", "AssumeRolePolicyDocument", "Policies", "ManagedPolicyArns"}  # compared as permissions
# May be added, removed and changed.
HARMLESS = {
    "AWS::S3::Bucket": {"Tags", "MetricsConfigurations", "AnalyticsConfigurations", "AccelerateConfiguration"},
    "AWS::SNS::Topic": {
        "Tags",
        "DisplayName",
        "TracingConfig",
        "DeliveryStatusLogging",
        "ContentBasedDeduplication",
        "FifoThroughputScope",
    },
    "AWS::SQS::Queue": {
        "Tags",
        "DelaySeconds",
        "ReceiveMessageWaitTimeSeconds",
        "VisibilityTimeout",
        "MaximumMessageSize",
        "KmsDataKeyReusePeriodSeconds",
    },
    "AWS::Logs::LogGroup": {"Tags", "FieldIndexPolicies"},
    "AWS::KMS::Key": {"Tags", "Description", "BypassPolicyLockoutSafetyCheck"},
    "AWS::SageMaker::Endpoint": {"Tags", "EndpointConfigName"},
    "AWS::SageMaker::EndpointConfig": {
        "Tags",
        "MetricsConfig",
        "EndpointConfigName",
        "ProductionVariants",  # this and the next are covered part by part in the mutants
        "AsyncInferenceConfig",
    },
    "AWS::ApplicationAutoScaling::ScalableTarget": {"ResourceId"},
    "AWS::IAM::Role": {"Tags", "Description", "RoleName"},
}
# Parts of the other properties that may be added, removed and changed.
HARMLESS_PARTS = {
    "BucketEncryption": (".BucketKeyEnabled",),  # fewer calls to KMS, the same key
    "LifecycleConfiguration": (".Id", ".Status"),  # a name; and CloudFormation rejects a rule without a status
}
# May be removed, but not added.
EXPOSING = {
    "AWS::S3::Bucket": {
        "AccessControl",
        "WebsiteConfiguration",
        "CorsConfiguration",
        "ReplicationConfiguration",
        "InventoryConfigurations",
        "NotificationConfiguration",
        "MetadataConfiguration",
        "MetadataTableConfiguration",
    },
    "AWS::SNS::Topic": {"Subscription"},
    "AWS::SQS::Queue": {"SqsManagedSseEnabled"},  # true where it is absent
    "AWS::KMS::Key": {"Enabled"},  # true where it is absent
    "AWS::SageMaker::Endpoint": {"RetainAllVariantProperties"},
    "AWS::SageMaker::EndpointConfig": {"DataCaptureConfig", "ExplainerConfig", "ShadowProductionVariants"},
}


def guarded(type_name: str) -> list[str]:
    """Return the properties of a type whose change must need a label in at least one direction."""
    out = HARMLESS[type_name] | DOCUMENTS | {"Tags"}
    return [name for name in properties_of(type_name) if name not in out]


def value_of(type_name: str, name: str) -> object:
    """Return a value that fits the property's schema."""
    schema = properties_of(type_name)[name]
    return sample(schema, schema["definitions"])


CASES = [(type_name, name) for type_name in TYPES for name in guarded(type_name)]
REMOVALS = [case for case in CASES if case[1] not in EXPOSING.get(case[0], set())]
PARTS = [
    (type_name, name, weakening)
    for type_name, name in REMOVALS
    for weakening in islice(weakenings(value_of(type_name, name)), 40)
    if not weakening.where.endswith(HARMLESS_PARTS.get(name, ("nothing",)))
]


def with_property(base: Stack, type_name: str, name: str, value: object) -> Stack:
    """Return the stack with one more resource of the type, without the property if the value is None."""
    draft = Draft(base)
    draft.add("Generated", type_name, **({} if value is None else {name: value}))
    return draft.stack()


@pytest.fixture(scope="module")
def bare() -> Stack:
    """A stack without resources."""
    return Stack(name="Bare", template={"Resources": {}}, region="us-east-1")


def test_schemas_yield_enough_cases() -> None:
    assert len(REMOVALS) > 60
    assert len(PARTS) > 130


def test_removed_property_needs_a_label(bare: Stack, compare_stacks: Compare) -> None:
    pairs = [
        (with_property(bare, kind, name, value_of(kind, name)), with_property(bare, kind, name, None))
        for kind, name in REMOVALS
    ]

    passed = [case for case, comparison in zip(REMOVALS, compare_stacks(pairs), strict=True) if not comparison.findings]

    assert passed == []


def test_exposing_property_needs_a_label_if_added(bare: Stack, compare_stacks: Compare) -> None:
    cases = [(kind, name) for kind, names in EXPOSING.items() for name in sorted(names)]
    weakened = {"SqsManagedSseEnabled": False, "Enabled": False}
    pairs = [
        (
            with_property(bare, kind, name, None),
            with_property(bare, kind, name, weakened.get(name, value_of(kind, name))),
        )
        for kind, name in cases
    ]

    passed = [case for case, comparison in zip(cases, compare_stacks(pairs), strict=True) if not comparison.findings]

    assert passed == []


def test_harmless_property_needs_no_label(bare: Stack, compare_stacks: Compare) -> None:
    cases = [(kind, name) for kind, names in HARMLESS.items() for name in sorted(names - {"ProductionVariants"})]
    cases = [(kind, name) for kind, name in cases if name not in ("AsyncInferenceConfig", "ResourceId")]
    pairs = [
        (with_property(bare, kind, name, None), with_property(bare, kind, name, value_of(kind, name)))
        for kind, name in cases
    ]

    refused = {
        case: comparison.findings
        for case, comparison in zip(cases, compare_stacks(pairs), strict=True)
        if comparison.findings
    }

    assert refused == {}


def test_value_weakened_inside_a_property_needs_a_label_in_one_direction(bare: Stack, compare_stacks: Compare) -> None:
    """The schema does not say which of two values is weaker, so try both directions."""

    def stack(kind: str, name: str, value: object) -> Stack:
        return with_property(bare, kind, name, value)

    def both_ways(kind: str, name: str, part: Weakening) -> tuple[tuple[Stack, Stack], tuple[Stack, Stack]]:
        old, new = stack(kind, name, part.old), stack(kind, name, part.new)
        return (old, new), (new, old)

    pairs = [pair for case in PARTS for pair in both_ways(*case)]
    comparisons = compare_stacks(pairs)

    passed = [
        (kind, name, part.where)
        for index, (kind, name, part) in enumerate(PARTS)
        if not comparisons[2 * index].findings and not comparisons[2 * index + 1].findings
    ]

    assert passed == []
