"""Every permission that a template gives or refuses, wherever it is written, as statements."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stack_gate.consumers import foreign_roles, runners
from stack_gate.intrinsics import Resolver
from stack_gate.statements import Holder, Statement, Unreadable, in_force, parse_document, parse_statement
from stack_gate.template import Json, Stack, as_list, canonical, is_object

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
IDENTITIES = ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group")
IDENTITY_POLICIES = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy")
# type: (property with the document, property with the resources it is attached to, scope). Scopes of their own: a key's
# and a role's policy must say yes themselves, whatever the identity's policy says.
RESOURCE_POLICIES = {
    "AWS::S3::BucketPolicy": ("PolicyDocument", "Bucket", ""),
    "AWS::SNS::TopicPolicy": ("PolicyDocument", "Topics", ""),
    "AWS::SNS::TopicInlinePolicy": ("PolicyDocument", "TopicArn", ""),
    "AWS::SQS::QueuePolicy": ("PolicyDocument", "Queues", ""),
    "AWS::SecretsManager::ResourcePolicy": ("ResourcePolicy", "SecretId", ""),
    "AWS::Logs::ResourcePolicy": ("PolicyDocument", "", ""),
    "AWS::ECR::Repository": ("RepositoryPolicyText", "", ""),
    "AWS::KMS::Key": ("KeyPolicy", "", "key"),
}


@dataclass
class Grants:
    """All that a template says about permissions.

    `statements` by the logical id that holds them; `managed` pairs an identity with a policy outside the template;
    `unreadable` is what cannot be compared except as text.
    """

    statements: list[tuple[str, Statement]] = field(default_factory=list[tuple[str, Statement]])
    managed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    unreadable: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])


def collect(stack: Stack, *, by_name: bool = False) -> Grants:
    """Read every policy of a stack; `by_name` as in intrinsics.Resolver."""
    resolver = Resolver(stack, by_name=by_name)
    reader = _Reader(stack=stack, resolver=resolver, runners=runners(stack))
    grants = Grants()
    for logical_id, document, holder in _documents(reader):
        try:
            found = parse_document(document, holder, resolver)
            grants.statements += [(logical_id, statement) for statement in found if in_force(statement, holder)]
        except Unreadable:
            grants.unreadable.add((logical_id, canonical(document)))
    _collect_permissions(reader, grants)
    _collect_managed(reader, grants)
    grants.unreadable |= foreign_roles(stack)
    return grants


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """A stack with what is worked out of it once: `runners` are the resources that run under each role."""

    stack: Stack
    resolver: Resolver
    runners: dict[str, list[str]]


def _documents(reader: _Reader) -> Iterator[tuple[str, Json, Holder]]:
    for logical_id, properties in reader.stack.of_type(*IDENTITIES):
        holder = Holder(principals=_who(reader, [logical_id]))
        for policy in as_list(properties.get("Policies")):
            yield logical_id, _document_of(policy), holder
    for logical_id, properties in reader.stack.of_type("AWS::IAM::Role"):
        trust = Holder(resources=(reader.resolver.arn(logical_id),), scope="trust", attached=logical_id)
        yield logical_id, properties.get("AssumeRolePolicyDocument"), trust
    for logical_id, properties in reader.stack.of_type(*IDENTITY_POLICIES):
        yield logical_id, properties.get("PolicyDocument"), _policy_holder(reader, logical_id)
    yield from _resource_documents(reader)


def _document_of(policy: Json) -> Json:
    return policy.get("PolicyDocument", policy) if is_object(policy) else policy


def _resource_documents(reader: _Reader) -> Iterator[tuple[str, Json, Holder]]:
    """Each document once for every resource that it is attached to: it is in force there and nowhere else."""
    for type_name, (document, attachment, scope) in RESOURCE_POLICIES.items():
        for logical_id, properties in reader.stack.of_type(type_name):
            targets = as_list(properties.get(attachment)) if attachment else [{"Ref": logical_id}]
            for target in targets if document in properties else []:
                yield logical_id, properties[document], _attached_to(target, scope, reader)


def _attached_to(target: Json, scope: str, reader: _Reader) -> Holder:
    for name in _referred(target, reader):
        return Holder(resources=_reach(reader, name), scope=scope, attached=name)
    return Holder(scope=scope, attached=reader.resolver.text(target))


def _reach(reader: _Reader, logical_id: str) -> tuple[str, ...]:
    """What `*` means in the policy of a resource: itself, and of a bucket its objects too."""
    arn = reader.resolver.arn(logical_id)
    return (arn, f"{arn}/*") if reader.stack.type_of(logical_id) == "AWS::S3::Bucket" else (arn,)


def _policy_holder(reader: _Reader, logical_id: str) -> Holder:
    """Whoever a policy is attached to: here, by its own properties, or later, by hand, for a managed one."""
    properties = reader.stack.properties(logical_id)
    attached = [properties.get(key) for key in ("Roles", "Users", "Groups", "RoleName")]
    ids = [name for value in attached for item in as_list(value) for name in _identity(item, reader)]
    ids += [name for name in _attaching(reader, logical_id) if name not in ids]
    principals = _who(reader, ids)
    if reader.stack.type_of(logical_id) == "AWS::IAM::ManagedPolicy":
        principals = (f"holder of:{reader.resolver.arn(logical_id)}", *principals)
    return Holder(principals=principals or (f"holder of:{logical_id}",))


def _identity(item: Json, reader: _Reader) -> list[str]:
    return _referred(item, reader) or [str(item)]


def _attaching(reader: _Reader, policy: str) -> list[str]:
    return [
        logical_id
        for logical_id, properties in reader.stack.of_type(*IDENTITIES)
        if any(policy in _referred(item, reader) for item in as_list(properties.get("ManagedPolicyArns")))
    ]


def _referred(value: Json, reader: _Reader) -> list[str]:
    """The resource of the stack that a plain Ref or Fn::GetAtt names, if it does."""
    if not is_object(value) or len(value) != 1:
        return []
    function, argument = next(iter(value.items()))
    name = str(as_list(argument)[0]).split(".")[0]
    return [name] if function in ("Ref", "Fn::GetAtt") and name in reader.stack.resources else []


def _who(reader: _Reader, ids: Iterable[str]) -> tuple[str, ...]:
    """The identities themselves, and what runs under them."""
    names = list(ids)
    identities = [
        f"aws:{reader.resolver.arn(name)}" if name in reader.stack.resources else f"aws:named:{name}" for name in names
    ]
    return (*identities, *(f"runs:{consumer}" for name in names for consumer in reader.runners.get(name, [])))


def _collect_permissions(reader: _Reader, grants: Grants) -> None:
    for logical_id, properties in reader.stack.of_type("AWS::Lambda::Permission"):
        ids = _referred(properties.get("FunctionName"), reader)
        function = reader.resolver.arn(ids[0]) if ids else reader.resolver.text(properties.get("FunctionName"))
        holder = Holder(resources=(function,), scope="", attached=ids[0] if ids else "")
        try:
            statement = parse_statement(_as_statement(properties), holder, reader.resolver)
        except Unreadable:
            grants.unreadable.add((logical_id, canonical(properties)))
        else:
            grants.statements.append((logical_id, statement))


def _as_statement(properties: dict[str, Json]) -> dict[str, Json]:
    """A function's permission as the statement that Lambda makes of it."""
    keys = {
        "ArnLike": {"aws:SourceArn": properties.get("SourceArn")},
        "StringEquals": {
            "aws:SourceAccount": properties.get("SourceAccount"),
            "aws:PrincipalOrgID": properties.get("PrincipalOrgID"),
            "lambda:EventSourceToken": properties.get("EventSourceToken"),
            "lambda:FunctionUrlAuthType": properties.get("FunctionUrlAuthType"),
        },
        "Bool": {"lambda:InvokedViaFunctionUrl": properties.get("InvokedViaFunctionUrl")},
    }
    given = {name: {key: value for key, value in pairs.items() if value is not None} for name, pairs in keys.items()}
    principal = properties.get("Principal")
    service = isinstance(principal, str) and ".amazonaws.com" in principal
    return {
        "Effect": "Allow",
        "Action": properties.get("Action"),
        "Principal": "*" if principal == "*" else {"Service" if service else "AWS": principal},
        "Condition": {name: pairs for name, pairs in given.items() if pairs},
    }


def _collect_managed(reader: _Reader, grants: Grants) -> None:
    for logical_id, properties in reader.stack.of_type(*IDENTITIES):
        for item in as_list(properties.get("ManagedPolicyArns")):
            if not any(reader.stack.type_of(name) == "AWS::IAM::ManagedPolicy" for name in _referred(item, reader)):
                grants.managed.add((logical_id, reader.resolver.text(item)))
