"""Every policy statement of a stack, wherever the template has it: identities, trust, resources, Lambda permissions."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stack_gate.iam.conditions import Condition, parse_condition
from stack_gate.iam.patterns import PatternSet, disjoint
from stack_gate.template import (
    Json,
    Resolver,
    Stack,
    as_list,
    canonical,
    is_list,
    is_object,
    objects,
    referenced_id,
    texts,
)

EVERYONE = "aws:*"
IDENTITIES = ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group")
IDENTITY_POLICIES = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy")
# type: (property with the document, property with the resources it is attached to, scope). A key's policy has a scope of
# its own because it must allow access itself, whatever the identity's policy says; so has a role's trust policy.
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
# What a document, a statement and a principal may contain; only CloudFormation can evaluate more, such as a macro.
DOCUMENT_KEYS = {"Version", "Id", "Statement"}
STATEMENT_KEYS = {
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip
PRINCIPAL_KEYS = {"AWS", "Service", "Federated", "CanonicalUser"}
VARIABLES_VERSION, PLAIN_VERSION = "2012-10-17", "2008-10-17"  # the second, and the default, has no policy variables
MAX_DOCUMENT = 100_000  # characters; IAM accepts at most 20,480 and S3 the same
# Properties by which a function, model or service is given the role it runs under.
ROLE_KEYS = ("Role", "RoleArn", "RoleARN", "ExecutionRoleArn", "ServiceRole", "TaskRoleArn", "SubscriptionRoleArn")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A policy statement.

    Statements of different `scope` ("trust", "key" or "") cannot replace each other. `attached_to` is the resource
    of a resource policy, empty for an identity's policy.
    """

    effect: str
    principals: PatternSet
    actions: PatternSet
    resources: PatternSet
    condition: Condition
    scope: str = ""
    attached_to: str = ""

    @property
    def dimensions(self) -> tuple[PatternSet, PatternSet, PatternSet]:
        return self.principals, self.actions, self.resources


@dataclass
class Permissions:
    """Every permission of a stack.

    `statements` come with the logical id of the resource that contains them; `managed` pairs an identity with a managed
    policy from outside the template; `unreadable` pairs a resource with what can only be compared as text, `too_large`
    with a document that is longer than any that AWS accepts.
    """

    statements: list[tuple[str, Statement]] = field(default_factory=list[tuple[str, Statement]])
    managed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    unreadable: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    too_large: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def by_effect(self, effect: str) -> list[tuple[str, Statement]]:
        return [pair for pair in self.statements if pair[1].effect == effect]


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """Whose policy a document is: an identity's has `principals`, a resource's has the `resources` that `*` means."""

    principals: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = ""
    attached_to: str = ""


class _UnreadablePolicy(Exception):
    """The policy is not plain IAM JSON, so only CloudFormation can evaluate it."""


def read_permissions(stack: Stack, *, by_name: bool = False) -> Permissions:
    """Return every policy of a stack, read once; change nothing in it. `by_name` is as in Resolver."""
    key = "permissions", by_name
    if key not in stack.memo:
        stack.memo[key] = _Reader(stack, Resolver(stack, by_name=by_name)).read()
    return stack.memo[key]


class _Reader:
    def __init__(self, stack: Stack, resolver: Resolver) -> None:
        self._stack = stack
        self._resolver = resolver
        self._role_users: dict[str, list[str]] = {}
        self._permissions = Permissions()

    def read(self) -> Permissions:
        permissions = self._permissions
        for logical_id, role in _roles_in_use(self._stack):
            self._role_users.setdefault(referenced_id(role), []).append(logical_id)
            if self._stack.type_of(referenced_id(role)) != "AWS::IAM::Role":
                permissions.unreadable.add((logical_id, f"role {canonical(role)}"))
        for logical_id, document, owner in self._documents():
            if len(canonical(document)) > MAX_DOCUMENT:
                permissions.too_large.add((logical_id, canonical(document)))
                continue
            try:
                statements = [self._parse(raw, owner) for raw in _raw_statements(document)]
            except _UnreadablePolicy:
                permissions.unreadable.add((logical_id, canonical(document)))
            else:
                permissions.statements += [(logical_id, item) for item in statements if _in_force(item, owner)]
        for logical_id, properties in self._stack.of_type(*IDENTITIES):
            for item in as_list(properties.get("ManagedPolicyArns")):
                if self._stack.type_of(referenced_id(item)) != "AWS::IAM::ManagedPolicy":
                    permissions.managed.add((logical_id, self._resolver.text(item)))
        return permissions

    def _documents(self) -> Iterator[tuple[str, Json, _Owner]]:
        for logical_id, properties in self._stack.of_type(*IDENTITIES):
            owner = _Owner(principals=self._principals_of([logical_id]))
            for policy in as_list(properties.get("Policies")):
                is_plain = is_object(policy) and set(policy) == {"PolicyName", "PolicyDocument"}
                yield logical_id, policy["PolicyDocument"] if is_plain else policy, owner
        for logical_id, properties in self._stack.of_type("AWS::IAM::Role"):
            trust = _Owner(resources=(self._resolver.arn(logical_id),), scope="trust", attached_to=logical_id)
            yield logical_id, properties.get("AssumeRolePolicyDocument"), trust
        for logical_id, properties in self._stack.of_type(*IDENTITY_POLICIES):
            yield logical_id, properties.get("PolicyDocument"), self._policy_owner(logical_id)
        for type_name, (document, attachment, scope) in RESOURCE_POLICIES.items():
            for logical_id, properties in self._stack.of_type(type_name):
                targets = as_list(properties.get(attachment)) if attachment else [{"Ref": logical_id}]
                for target in targets if document in properties else []:
                    yield logical_id, properties[document], self._resource_owner(target, scope)
        for logical_id, properties in self._stack.of_type("AWS::Lambda::Permission"):
            function = properties.get("FunctionName")
            name = referenced_id(function) if referenced_id(function) in self._stack.resources else ""
            arn = self._resolver.arn(name) if name else self._resolver.text(function)
            document = {"Statement": _lambda_statement(properties)}
            yield logical_id, document, _Owner(resources=(arn,), attached_to=name)
        yield from self._other_documents()

    def _other_documents(self) -> Iterator[tuple[str, Json, _Owner]]:
        """Yield whatever looks like a policy in a property that no table names: each names principals itself."""
        for logical_id, resource in self._stack.resources.items():
            known = _known_documents(resource["Type"])
            properties = {name: value for name, value in resource.get("Properties", {}).items() if name not in known}
            owner = _Owner(scope=f"policy of {resource['Type']}", attached_to=logical_id)
            for _, found in objects(properties):
                if "Statement" in found:
                    yield logical_id, found, owner
            for path, text in texts(properties):
                if '"Statement"' in text and path[-1] != "ZipFile":
                    yield logical_id, _parse_json(text), owner

    def _resource_owner(self, target: Json, scope: str) -> _Owner:
        name = referenced_id(target)
        if name not in self._stack.resources:
            return _Owner(scope=scope, attached_to=self._resolver.text(target))
        arn = self._resolver.arn(name)
        is_bucket = self._stack.type_of(name) == "AWS::S3::Bucket"
        return _Owner(resources=(arn, f"{arn}/*") if is_bucket else (arn,), scope=scope, attached_to=name)

    def _policy_owner(self, logical_id: str) -> _Owner:
        """Return the identities that a policy names or that name it; anyone may be given a managed policy later."""
        properties = self._stack.properties(logical_id)
        attached = [item for key in ("Roles", "Users", "Groups", "RoleName") for item in as_list(properties.get(key))]
        names = [referenced_id(item) for item in attached]
        ids = [name if name in self._stack.resources else str(item) for name, item in zip(names, attached, strict=True)]
        for identity, identity_properties in self._stack.of_type(*IDENTITIES):
            policies = map(referenced_id, as_list(identity_properties.get("ManagedPolicyArns")))
            if logical_id in policies and identity not in ids:
                ids.append(identity)
        principals = self._principals_of(ids)
        if self._stack.type_of(logical_id) == "AWS::IAM::ManagedPolicy":
            principals = (f"holder of:{self._resolver.arn(logical_id)}", *principals)
        return _Owner(principals=principals or (f"holder of:{logical_id}",))

    def _principals_of(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the identities themselves, and the resources that run under them."""
        resources = self._stack.resources
        identities = [f"aws:{self._resolver.arn(name)}" if name in resources else f"aws:named:{name}" for name in ids]
        return (*identities, *(f"runs:{user}" for name in ids for user in self._role_users.get(name, [])))

    def _parse(self, raw: dict[str, Any], owner: _Owner) -> Statement:
        condition = parse_condition(raw.get("Condition", {}), self._resolver)
        actions = self._patterns(raw, "Action")
        resources = self._patterns(raw, "Resource")
        if owner.resources and (resources is None or resources == PatternSet(("*",))):
            resources = PatternSet(owner.resources)
        if condition is None or actions is None or resources is None:
            raise _UnreadablePolicy
        if owner.principals and ("Principal" in raw or "NotPrincipal" in raw):
            raise _UnreadablePolicy  # IAM rejects a principal in an identity's policy
        return Statement(
            effect=raw["Effect"],
            principals=PatternSet(owner.principals) if owner.principals else self._principals(raw),
            actions=PatternSet(tuple(action.lower() for action in actions.patterns), actions.negated),
            resources=resources,
            condition=condition,
            scope=owner.scope,
            attached_to=owner.attached_to,
        )

    def _patterns(self, raw: dict[str, Any], name: str) -> PatternSet | None:
        """Return an element of a statement, None if it is absent. A value that cannot be resolved becomes a token."""
        for key, negated in ((name, False), (f"Not{name}", True)):
            if key in raw:
                found = (self._resolver.text(value) for value in as_list(raw[key]))
                # `${*}` and `${?}` are the plain characters.
                literal = {text.replace("${*}", "⟦star⟧").replace("${?}", "⟦question mark⟧") for text in found}
                return PatternSet(tuple(sorted(literal)), negated)
        return None

    def _principals(self, raw: dict[str, Any]) -> PatternSet:
        for key, negated in (("Principal", False), ("NotPrincipal", True)):
            if key in raw:
                return PatternSet(tuple(sorted(self._principal_texts(raw[key]))), negated)
        raise _UnreadablePolicy

    def _principal_texts(self, value: Json) -> set[str]:
        if value == "*":
            return {EVERYONE}
        if not is_object(value) or not value or not set(value) <= PRINCIPAL_KEYS:
            raise _UnreadablePolicy
        texts: set[str] = set()
        for kind, names in value.items():
            for name in map(self._resolver.text, as_list(names)):
                is_account = kind == "AWS" and (name.isdigit() or name == "⟦AWS::AccountId⟧")
                texts.add(f"aws:arn:aws:iam::{name}:root" if is_account else f"{kind.lower()}:{name}")
        return texts


def _roles_in_use(stack: Stack) -> Iterator[tuple[str, Json]]:
    """Yield each resource that runs under a role, with the value that names the role."""
    for logical_id, resource in stack.resources.items():
        if not str(resource.get("Type", "")).startswith("AWS::IAM::"):
            for role in _find_roles(resource.get("Properties", {})):
                yield logical_id, role


def _find_roles(node: Json) -> Iterator[Json]:
    if is_list(node):
        for item in node:
            yield from _find_roles(item)
    if is_object(node):
        for key, value in node.items():
            if key in ROLE_KEYS:
                yield value
            else:
                yield from _find_roles(value)


def _known_documents(type_name: str) -> tuple[str, ...]:
    """Return the properties of a type whose documents are read as an identity's or a resource's."""
    if type_name in IDENTITIES:
        return ("Policies", "AssumeRolePolicyDocument")
    if type_name in RESOURCE_POLICIES:
        return (RESOURCE_POLICIES[type_name][0],)
    return ("PolicyDocument",) if type_name in IDENTITY_POLICIES else ()


def _parse_json(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _raw_statements(document: Json) -> list[dict[str, Json]]:
    """Return the statements of a document, in the words of the version with policy variables."""
    if not is_object(document) or "Statement" not in document or not set(document) <= DOCUMENT_KEYS:
        raise _UnreadablePolicy
    version = document.get("Version", PLAIN_VERSION)
    if version not in (VARIABLES_VERSION, PLAIN_VERSION):
        raise _UnreadablePolicy
    statements = as_list(document["Statement"])
    if not all(is_object(raw) and _is_statement(raw) for raw in statements):
        raise _UnreadablePolicy
    return statements if version == VARIABLES_VERSION else [_without_variables(raw) for raw in statements]


def _is_statement(raw: dict[str, Json]) -> bool:
    twice = any(name in raw and f"Not{name}" in raw for name in ("Principal", "Action", "Resource"))
    return raw.get("Effect") in ("Allow", "Deny") and set(raw) <= STATEMENT_KEYS and not twice


def _without_variables(value: Json) -> Json:
    """Mark `${` as the plain characters that it is without policy variables; `Fn::Sub` replaces its own first."""
    if is_object(value):
        return {
            key: _without_escapes(item) if key == "Fn::Sub" else _without_variables(item) for key, item in value.items()
        }
    if is_list(value):
        return [_without_variables(item) for item in value]
    return value.replace("${", "⟦plain⟧{") if isinstance(value, str) else value


def _without_escapes(argument: Json) -> Json:
    """The same for the argument of Fn::Sub, which writes `${` as `${!`."""
    text, *variables = as_list(argument) or [None]
    plain = text.replace("${!", "⟦plain⟧{") if isinstance(text, str) else text
    return [plain, *_without_variables(variables)] if variables else plain


def _in_force(statement: Statement, owner: _Owner) -> bool:
    """Return whether a statement is about the resource whose policy has it; what it says of others has no effect."""
    named = statement.resources
    if not owner.resources or named.negated:
        return True
    return not all(disjoint(pattern, arn) for pattern in named.patterns for arn in owner.resources)


def _lambda_statement(properties: dict[str, Json]) -> dict[str, Json]:
    """Return the policy statement that Lambda makes of an AWS::Lambda::Permission."""
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
