"""Whether buckets, topics and queues refuse requests without TLS."""

from collections.abc import Iterator

from stack_gate.conditions import Clause, implies
from stack_gate.findings import Finding
from stack_gate.globs import covered
from stack_gate.grants import collect
from stack_gate.intrinsics import Resolver
from stack_gate.rules import stack_finding
from stack_gate.statements import EVERYBODY, Statement
from stack_gate.template import Stack

# What must be refused without TLS, by type.
GUARDED = {"AWS::S3::Bucket": "s3:*", "AWS::SNS::Topic": "sns:publish", "AWS::SQS::Queue": "sqs:*"}
WITHOUT_TLS = frozenset(
    {Clause(set_operator="", operator="Bool", if_exists=False, key="aws:securetransport", values=("false",))}
)


def judge_transport(base: Stack, head: Stack) -> list[Finding]:
    """Findings for what refused plain HTTP and no longer does, and for new buckets that never do."""
    return list(_lost(base, head))


def _lost(base: Stack, head: Stack) -> Iterator[Finding]:
    before, after = _guarded(base), _guarded(head)
    for type_name in GUARDED:
        for logical_id, _ in head.of_type(type_name):
            new_bucket = type_name == "AWS::S3::Bucket" and logical_id not in base.resources
            if logical_id not in after and (new_bucket or logical_id in before):
                what = "no statement refuses requests without TLS"
                yield stack_finding("transport", resource=head.display(logical_id), what=what)


def _guarded(stack: Stack) -> set[str]:
    """Logical ids of resources that refuse everybody, for everything, without TLS."""
    resolver = Resolver(stack)
    denials = [statement for _, statement in collect(stack).statements if statement.effect == "Deny"]
    found: set[str] = set()
    for type_name, action in GUARDED.items():
        for logical_id, _ in stack.of_type(type_name):
            arn = resolver.arn(logical_id)
            reach = (arn, f"{arn}/*") if type_name == "AWS::S3::Bucket" else (arn,)
            own = [denial for denial in denials if denial.attached == logical_id]
            if all(_refused(pattern, action, own) for pattern in reach):
                found.add(logical_id)
    return found


def _refused(resource: str, action: str, denials: list[Statement]) -> bool:
    return any(
        EVERYBODY in denial.principals.patterns
        and not any(part.negated for part in denial.dimensions)
        and covered(action, denial.actions.patterns)
        and covered(resource, denial.resources.patterns)
        and implies(WITHOUT_TLS, denial.condition) is True
        for denial in denials
    )
