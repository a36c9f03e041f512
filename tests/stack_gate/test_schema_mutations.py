"""Every property that CloudFormation's schemas know of a type that holds or guards something, gone, weakened or added.

What may pass is listed here, apart from the gate's own tables: all else must need a label.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import pytest

from stack_gate.comparison import Comparison
from stack_gate.template import Stack
from tests.stack_gate.mutants.schemas import Weakening, properties_of, sample, weakenings
from tests.stack_gate.mutants.stacks import Draft

Judge = Callable[[Sequence[tuple[Stack, Stack]]], list[Comparison]]

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
# May come, go and change.
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
        "ProductionVariants",  # these two part by part, in the mutants
        "AsyncInferenceConfig",
    },
    "AWS::ApplicationAutoScaling::ScalableTarget": {"ResourceId"},
    "AWS::IAM::Role": {"Tags", "Description", "RoleName"},
}
# Parts of what is guarded that may come, go and change.
HARMLESS_PARTS = {
    "BucketEncryption": (".BucketKeyEnabled",),  # fewer calls to KMS, the same key
    "LifecycleConfiguration": (".Id", ".Status"),  # a name; and without a status CloudFormation refuses the rule
}
# May go, and must not come.
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
    """Properties of a type whose change must not pass in at least one direction."""
    out = HARMLESS[type_name] | DOCUMENTS | {"Tags"}
    return [name for name in properties_of(type_name) if name not in out]


def value_of(type_name: str, name: str) -> object:
    """A value for a property, by its schema."""
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
    """The stack with one more resource of the type, which has the property, or not where the value is None."""
    draft = Draft(base)
    draft.add("Generated", type_name, **({} if value is None else {name: value}))
    return draft.stack()


@pytest.fixture(scope="module")
def bare() -> Stack:
    """A stack with nothing in it."""
    return Stack(name="Bare", template={"Resources": {}}, region="us-east-1")


def test_properties_of_the_schemas_are_covered() -> None:
    assert len(REMOVALS) > 60
    assert len(PARTS) > 130


def test_property_that_goes_needs_a_label(bare: Stack, judged: Judge) -> None:
    pairs = [
        (with_property(bare, kind, name, value_of(kind, name)), with_property(bare, kind, name, None))
        for kind, name in REMOVALS
    ]

    passed = [case for case, verdict in zip(REMOVALS, judged(pairs), strict=True) if not verdict.findings]

    assert passed == []


def test_property_that_exposes_needs_a_label_when_it_comes(bare: Stack, judged: Judge) -> None:
    cases = [(kind, name) for kind, names in EXPOSING.items() for name in sorted(names)]
    weakened = {"SqsManagedSseEnabled": False, "Enabled": False}
    pairs = [
        (
            with_property(bare, kind, name, None),
            with_property(bare, kind, name, weakened.get(name, value_of(kind, name))),
        )
        for kind, name in cases
    ]

    passed = [case for case, verdict in zip(cases, judged(pairs), strict=True) if not verdict.findings]

    assert passed == []


def test_property_that_is_harmless_needs_none(bare: Stack, judged: Judge) -> None:
    cases = [(kind, name) for kind, names in HARMLESS.items() for name in sorted(names - {"ProductionVariants"})]
    cases = [(kind, name) for kind, name in cases if name not in ("AsyncInferenceConfig", "ResourceId")]
    pairs = [
        (with_property(bare, kind, name, None), with_property(bare, kind, name, value_of(kind, name)))
        for kind, name in cases
    ]

    refused = {case: verdict.findings for case, verdict in zip(cases, judged(pairs), strict=True) if verdict.findings}

    assert refused == {}


def test_property_that_is_weakened_inside_needs_a_label_there_or_back(bare: Stack, judged: Judge) -> None:
    """Which of two values is the weaker the schema does not say: one of the two directions is."""

    def stack(kind: str, name: str, value: object) -> Stack:
        return with_property(bare, kind, name, value)

    def both_ways(kind: str, name: str, part: Weakening) -> tuple[tuple[Stack, Stack], tuple[Stack, Stack]]:
        old, new = stack(kind, name, part.old), stack(kind, name, part.new)
        return (old, new), (new, old)

    pairs = [pair for case in PARTS for pair in both_ways(*case)]
    verdicts = judged(pairs)

    passed = [
        (kind, name, part.where)
        for index, (kind, name, part) in enumerate(PARTS)
        if not verdicts[2 * index].findings and not verdicts[2 * index + 1].findings
    ]

    assert passed == []
