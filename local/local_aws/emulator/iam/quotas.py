"""IAM's quotas and naming rules that moto does not enforce (IAM user guide, "IAM and AWS STS quotas")."""

from typing import Any

from moto.iam.exceptions import EntityAlreadyExists, LimitExceededException
from moto.iam.models import IAMBackend

_MAX_INLINE = 10_240  # characters of all inline policies of a role, without white space
_MAX_MANAGED = 6_144


def install(backend: type[IAMBackend] = IAMBackend) -> None:
    """Check sizes and names before moto stores a role or a policy."""
    methods: Any = backend
    put_inline, create_role = methods.put_role_policy, methods.create_role
    create_policy, create_version = methods.create_policy, methods.create_policy_version

    def put_role_policy(self: Any, role_name: str, policy_name: str, policy_json: str) -> None:
        others = {**self.get_role(role_name).policies, policy_name: policy_json}
        if sum(map(_size, others.values())) > _MAX_INLINE:
            raise LimitExceededException(f"Maximum policy size of {_MAX_INLINE} bytes exceeded for role {role_name}")
        put_inline(self, role_name, policy_name, policy_json)

    def checked_create_role(self: Any, role_name: str, *args: Any, **kwargs: Any) -> Any:
        if any(role.name.lower() == role_name.lower() for role in self.get_roles()):
            raise EntityAlreadyExists(f"Role with name {role_name} already exists.")
        return create_role(self, role_name, *args, **kwargs)

    def checked_create_policy(
        self: Any, description: str, path: str, policy_document: str, *args: Any, **kw: Any
    ) -> Any:
        _check_managed(policy_document)
        return create_policy(self, description, path, policy_document, *args, **kw)

    def checked_create_version(self: Any, policy_arn: str, policy_document: str, *args: Any, **kwargs: Any) -> Any:
        _check_managed(policy_document)
        return create_version(self, policy_arn, policy_document, *args, **kwargs)

    methods.put_role_policy, methods.create_role = put_role_policy, checked_create_role
    methods.create_policy, methods.create_policy_version = checked_create_policy, checked_create_version


def _check_managed(document: str) -> None:
    if _size(document) > _MAX_MANAGED:
        raise LimitExceededException(f"Cannot exceed quota for PolicySize: {_MAX_MANAGED}")


def _size(document: str) -> int:
    return len("".join(document.split()))
