"""Counterexamples: a request that the change newly allows, described so that a reviewer can check it."""

from functools import cache

from stack_gate.iam.conditions import Condition
from stack_gate.iam.patterns import PatternSet, covered
from stack_gate.iam.policies import EVERYONE, Statement
from stack_gate.template import TOKEN, Stack

# Actions to name, the most telling first; any other action is described by its pattern.
EXAMPLE_ACTIONS = """
    s3:DeleteObject s3:GetObject s3:PutObject s3:ListBucket s3:PutBucketPolicy s3:GetBucketPolicy s3:DeleteObjectVersion
    s3:PutObjectAcl s3:GetObjectAttributes s3:AbortMultipartUpload s3:ListMultipartUploadParts s3:DeleteBucket
    s3:ListAllMyBuckets s3:GetBucketLocation
    iam:CreateUser iam:PassRole iam:AttachRolePolicy iam:GetRole
    sts:AssumeRole sts:AssumeRoleWithWebIdentity sts:TagSession
    kms:Decrypt kms:ScheduleKeyDeletion kms:GenerateDataKey kms:Encrypt kms:DescribeKey kms:CreateGrant
    sns:Publish sns:Subscribe sns:SetTopicAttributes sns:DeleteTopic sns:GetTopicAttributes
    sqs:SendMessage sqs:ReceiveMessage sqs:DeleteQueue sqs:PurgeQueue
    lambda:InvokeFunction lambda:UpdateFunctionCode lambda:InvokeFunctionUrl lambda:AddPermission
    logs:PutLogEvents logs:CreateLogStream logs:CreateLogGroup logs:DeleteLogGroup logs:DescribeLogStreams
    logs:GetLogEvents cloudwatch:PutMetricData cloudwatch:DeleteAlarms cloudwatch:DescribeAlarms
    ecr:BatchGetImage ecr:PutImage ecr:GetAuthorizationToken ecr:BatchCheckLayerAvailability
    ecr:GetDownloadUrlForLayer ecr:DeleteRepository
    sagemaker:InvokeEndpointAsync sagemaker:InvokeEndpoint sagemaker:DeleteEndpoint sagemaker:UpdateEndpoint
    sagemaker:CreateModel secretsmanager:GetSecretValue dynamodb:GetItem dynamodb:DeleteTable
    application-autoscaling:DeregisterScalableTarget ec2:RunInstances cloudformation:DeleteStack
""".split()  # noqa: SIM905  (a list literal takes a line for each)


def describe_request(part: Statement, stack: Stack, allowed: list[Statement]) -> str:
    """Return `<who>: <action> on <resource> when <condition>`, preferring an action that `allowed` does not give."""
    condition = describe_condition(part.condition, stack)
    when = f" when {condition}" if condition else ""
    resource = stack.display_tokens(part.resources.patterns[0]) if part.resources.patterns else "nothing"
    if part.resources.negated:
        resource = f"anything but {resource}"
    elif resource == "*":
        resource = "anything, in this stack or not"
    else:
        resource = resource.replace("*", "anything")
    return f"{_describe_principals(part.principals, stack)}: {_example_action(part, allowed)} on {resource}{when}"


def describe_condition(condition: Condition, stack: Stack) -> str:
    """Return a condition's clauses, "" if there are none."""
    return stack.display_tokens(" and ".join(sorted(clause.describe() for clause in condition)))


def describe_managed_policy(arn: str, identity: str) -> str:
    """Return a request that AdministratorAccess allows, "" for any other policy."""
    return f"{identity}: iam:CreateUser on anything" if arn.endswith("policy/AdministratorAccess") else ""


def describe_actions(actions: PatternSet) -> str:
    """Return a set of actions in AWS's spelling; statements have them in lower case, as IAM ignores case."""
    return PatternSet(tuple(_spelling().get(name, name) for name in actions.patterns), actions.negated).describe()


def example_rank(actions: PatternSet) -> int:
    """Return the index of the first example that the actions include; a lower one tells a reviewer more."""
    pattern = actions.patterns[0] if actions.patterns else ""
    ranks = (rank for rank, name in enumerate(EXAMPLE_ACTIONS) if covered(name.lower(), (pattern,)))
    return next(ranks, len(EXAMPLE_ACTIONS))


def _describe_principals(principals: PatternSet, stack: Stack) -> str:
    pattern = principals.patterns[0] if principals.patterns else ""
    kind, _, name = pattern.partition(":")
    # A role or policy of the stack goes by its construct path, anything else by its text.
    known = [token for token in TOKEN.findall(name) if token in stack.resources]
    shown = stack.display(known[0]) if known else stack.display_tokens(name)
    if pattern == EVERYONE:
        who = "anyone, authenticated or not"
    elif kind == "holder of":
        who = f"anyone with {shown}"
    elif kind == "runs":
        who = stack.display(name)
    else:
        who = shown if kind == "aws" else f"{kind} {stack.display_tokens(name)}"
    return f"anyone but {who}" if principals.negated else who


def _example_action(part: Statement, allowed: list[Statement]) -> str:
    actions = part.actions
    if actions.negated:
        return f"any action but {' or '.join(actions.patterns)}"
    pattern = actions.patterns[0] if actions.patterns else "nothing"
    if "*" not in pattern and "?" not in pattern:
        return _spelling().get(pattern, pattern)
    candidates = [name for name in EXAMPLE_ACTIONS if covered(name.lower(), (pattern,))]
    given = [
        other.actions.patterns
        for other in allowed
        if other.scope == part.scope
        and not other.actions.negated
        and other.principals.includes(part.principals)
        and other.resources.includes(part.resources)
    ]
    new = [name for name in candidates if not any(covered(name.lower(), patterns) for patterns in given)]
    return next(iter([*new, *candidates]), f"every action that matches {pattern}")


@cache
def _spelling() -> dict[str, str]:
    return {name.lower(): name for name in EXAMPLE_ACTIONS}
