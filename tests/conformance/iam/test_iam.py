"""How IAM decides: explicit and implicit denials, boundaries, resource policies, passing roles, quotas."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code, policy
from tests.conformance.functions import archive
from tests.conformance.identities import Identities, permitted

LOGIC = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html"
BOUNDARIES = "https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html"
PASS_ROLE = "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html"
QUOTAS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"
ELEMENTS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_"
DELETE_ROLE = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRole.html"
VERSIONS = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreatePolicyVersion.html"


@pytest.fixture(scope="module")
def identities(workspace: Workspace) -> Identities:
    """One bucket for this file."""
    return Identities(workspace)


@documented(LOGIC)
def test_without_an_allow_a_request_is_denied(identities: Identities) -> None:
    """By default, all requests are implicitly denied."""
    assert not identities.reads(identities.client("s3", identities.role()))


@documented(LOGIC)
def test_a_deny_overrides_an_allow(identities: Identities) -> None:
    """An explicit deny in any of the policies overrides the allow."""
    deny = {**allow("s3:GetObject", resource=f"{identities.arn}/in/*"), "Effect": "Deny"}
    s3 = identities.client("s3", identities.role(*identities.everything, deny))
    assert identities.reads(s3, "out/a")
    assert not identities.reads(s3, "in/a")


@documented(BOUNDARIES)
def test_a_boundary_limits_and_grants_nothing(identities: Identities, workspace: Workspace) -> None:
    """The effective permissions are the intersection of the identity-based policies and the permissions boundary."""
    iam, name = workspace.client("iam"), workspace.name("boundary")
    boundary = [allow("s3:GetObject", "s3:ListBucket", resource="*")]
    arn = iam.create_policy(PolicyName=name, PolicyDocument=policy(boundary), Tags=workspace.tags)["Policy"]["Arn"]
    workspace.later(name, lambda: iam.delete_policy(PolicyArn=arn))
    rights = allow("s3:GetObject", "s3:PutObject", resource=f"{identities.arn}/*")
    s3 = identities.client("s3", identities.role(rights, PermissionsBoundary=arn))
    assert identities.reads(s3)
    assert not identities.lists(s3)  # in the boundary only
    assert not permitted(lambda: s3.put_object(Bucket=identities.bucket, Key="in/b", Body=b"x"))  # in the policy only


@documented(LOGIC)
def test_a_resource_policy_alone_may_allow(identities: Identities, workspace: Workspace) -> None:
    """Within the same account, if an action is allowed by an identity-based policy, a resource-based policy, or both,
    then AWS allows the action."""
    role = identities.role()
    statement = {**allow("s3:GetObject", resource=f"{identities.arn}/in/*"), "Principal": {"AWS": role}}
    s3 = workspace.client("s3")
    s3.put_bucket_policy(Bucket=identities.bucket, Policy=policy([statement]))
    client = identities.client("s3", role)
    assert identities.reads(client, "in/a")
    assert not identities.reads(client, "out/a")
    s3.delete_bucket_policy(Bucket=identities.bucket)


@documented(LOGIC)
def test_a_resource_policy_may_deny(identities: Identities, workspace: Workspace) -> None:
    """An explicit deny in either of these policies (identity-based or resource-based) overrides the allow."""
    role = identities.role(*identities.everything)
    statement: dict[str, Any] = {**allow("s3:GetObject", resource=f"{identities.arn}/*"), "Effect": "Deny"}
    statement["Principal"] = "*"
    s3 = workspace.client("s3")
    statement["Condition"] = {"ArnEquals": {"aws:PrincipalArn": role}}
    s3.put_bucket_policy(Bucket=identities.bucket, Policy=policy([statement]))
    client = identities.client("s3", role)
    assert not identities.reads(client)
    assert identities.lists(client)
    s3.delete_bucket_policy(Bucket=identities.bucket)


@documented(f"{ELEMENTS}notprincipal.html")
def test_not_principal_denies_everyone_else(identities: Identities, workspace: Workspace) -> None:
    """With NotPrincipal and "Effect": "Deny", the actions are explicitly denied to all principals except for the ones
    specified. You must also specify the account ARN of the not-denied principal, and for a session that of its role."""
    spared, other = (identities.role(*identities.everything) for _ in range(2))
    account = workspace.target.account_id
    session = f"arn:aws:sts::{account}:assumed-role/{spared.rpartition('/')[2]}/session"
    names = [session, spared, f"arn:aws:iam::{account}:root"]
    statement = {
        "Effect": "Deny",
        "Action": "s3:GetObject",
        "Resource": f"{identities.arn}/*",
        "NotPrincipal": {"AWS": names},
    }
    s3 = workspace.client("s3")
    s3.put_bucket_policy(Bucket=identities.bucket, Policy=policy([statement]))
    assert identities.reads(identities.client("s3", spared))
    assert not identities.reads(identities.client("s3", other))
    s3.delete_bucket_policy(Bucket=identities.bucket)


@documented(f"{ELEMENTS}notaction.html")
def test_not_action_is_everything_else(identities: Identities) -> None:
    """NotAction explicitly matches everything except the specified list of actions."""
    allowed = {"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": [identities.arn, f"{identities.arn}/*"]}
    s3 = identities.within(allowed)
    assert identities.lists(s3)
    assert not identities.reads(s3)


@documented(f"{ELEMENTS}notresource.html")
def test_not_resource_is_everything_else(identities: Identities) -> None:
    """NotResource explicitly matches every resource except those specified."""
    s3 = identities.within({"Effect": "Allow", "Action": "s3:GetObject", "NotResource": f"{identities.arn}/in/*"})
    assert identities.reads(s3, "out/a")
    assert not identities.reads(s3, "in/a")


@documented(f"{ELEMENTS}action.html")
def test_actions_have_wildcards_and_no_case(identities: Identities) -> None:
    """The prefix and the action name are case insensitive. You can use multi-character match wildcards (*) and
    single-character match wildcards (?) to give access to all the actions that match."""
    assert identities.reads(identities.within(allow("S3:get*", resource=f"{identities.arn}/*")))
    assert identities.reads(identities.within(allow("s3:?etObject", resource=f"{identities.arn}/*")))
    assert not identities.reads(identities.within(allow("s3:Put*", resource=f"{identities.arn}/*")))


@documented(f"{ELEMENTS}resource.html")
def test_resources_have_wildcards_and_case(identities: Identities) -> None:
    """You can use wildcard characters within ARN segments to represent any combination of characters with an asterisk
    (*) and any single character with a question mark (?)."""
    assert identities.reads(identities.within(allow("s3:GetObject", resource=f"{identities.arn}/i?/*")))
    assert not identities.reads(identities.within(allow("s3:GetObject", resource=f"{identities.arn}/IN/*")))


@documented("https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html")
def test_an_absent_key_is_hidden_from_who_may_not_list(identities: Identities) -> None:
    """If the object that you request doesn't exist: if you have the s3:ListBucket permission on the bucket, Amazon S3
    returns 404 Not Found. If you don't have it, 403 Access Denied."""
    reader = allow("s3:GetObject", resource=f"{identities.arn}/*")

    def status(*statements: dict[str, object]) -> str:
        return error_code(lambda: identities.within(*statements).get_object(Bucket=identities.bucket, Key="in/none"))[0]

    assert status(reader) == "AccessDenied"
    assert status(reader, allow("s3:ListBucket", resource=identities.arn)) == "NoSuchKey"


def _creates_function(identities: Identities, workspace: Workspace, *statements: dict[str, Any]) -> str:
    """Create a function under a role with these statements; return `created` or the error's code."""
    passed = workspace.role("lambda", [])
    rights = [allow("lambda:*", resource="*")]
    rights += [{**item, "Resource": passed} for item in statements]
    client, name = identities.client("lambda", identities.role(*rights)), workspace.name("f")
    arguments = {"Runtime": "python3.12", "Handler": "index.handler", "Code": {"ZipFile": archive("handler = None")}}
    try:
        client.create_function(FunctionName=name, Role=passed, **arguments)
    except client.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    workspace.later(name, lambda: workspace.client("lambda").delete_function(FunctionName=name))
    return "created"


@documented(PASS_ROLE)
def test_passing_a_role_needs_pass_role(identities: Identities, workspace: Workspace) -> None:
    """To pass a role to an AWS service, a user must have permissions to pass the role to the service."""
    assert _creates_function(identities, workspace) == "AccessDeniedException"
    assert _creates_function(identities, workspace, allow("iam:PassRole", resource="")) == "created"


@documented(PASS_ROLE)
def test_pass_role_may_name_the_service(identities: Identities, workspace: Workspace) -> None:
    """iam:PassedToService can be used to specify the service principal of the service to which a role can be passed."""
    for service, outcome in (("lambda", "created"), ("sagemaker", "AccessDeniedException")):
        condition = {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}}
        statement = {**allow("iam:PassRole", resource=""), "Condition": condition}
        assert _creates_function(identities, workspace, statement) == outcome


@documented(QUOTAS)
def test_inline_policies_of_a_role_have_a_quota(identities: Identities, workspace: Workspace) -> None:
    """The aggregate size of a role's inline policies cannot exceed 10,240 characters; white space is not counted."""
    name = identities.role().rpartition("/")[2]
    document = policy([allow("s3:GetObject", resource=f"{identities.arn}/{'x' * 900}/{i}") for i in range(12)])
    call = workspace.client("iam").put_role_policy
    code, _ = error_code(lambda: call(RoleName=name, PolicyName="large", PolicyDocument=document))
    assert code == "LimitExceeded"


@documented(QUOTAS)
def test_managed_policies_have_a_quota(identities: Identities, workspace: Workspace) -> None:
    """The size of each managed policy cannot exceed 6,144 characters; white space is not counted."""
    document = policy([allow("s3:GetObject", resource=f"{identities.arn}/{'x' * 900}/{i}") for i in range(8)])
    create = workspace.client("iam").create_policy
    code, _ = error_code(lambda: create(PolicyName=workspace.name(), PolicyDocument=document))
    assert code == "LimitExceeded"


@documented(VERSIONS)
def test_a_managed_policy_has_five_versions(workspace: Workspace) -> None:
    """A managed policy can have up to five versions. If the policy has five versions, you must delete an existing
    version before you create a new version."""
    iam, name, text = workspace.client("iam"), workspace.name("versions"), policy([allow("s3:GetObject", resource="*")])
    arn = iam.create_policy(PolicyName=name, PolicyDocument=text, Tags=workspace.tags)["Policy"]["Arn"]

    def remove() -> None:
        for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        iam.delete_policy(PolicyArn=arn)

    workspace.later(name, remove)
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=text)
    assert error_code(lambda: iam.create_policy_version(PolicyArn=arn, PolicyDocument=text))[0] == "LimitExceeded"


@documented(DELETE_ROLE)
def test_a_role_with_policies_cannot_be_deleted(identities: Identities, workspace: Workspace) -> None:
    """When you delete a role programmatically, you must delete the items attached to the role manually, or the deletion
    fails. Before attempting to delete a role, remove its inline policies."""
    name = identities.role(*identities.everything).rpartition("/")[2]
    assert error_code(lambda: workspace.client("iam").delete_role(RoleName=name))[0] == "DeleteConflict"


@documented("https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html")
def test_role_names_ignore_case(workspace: Workspace, identities: Identities) -> None:
    """Names are not distinguished by case: you cannot create both MyResource and myresource."""
    arn = identities.role()
    trust = policy([{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}])
    iam, name = workspace.client("iam"), arn.rpartition("/")[2].upper()

    def create() -> None:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        workspace.later(name, lambda: iam.delete_role(RoleName=name))

    assert error_code(create)[0] == "EntityAlreadyExists"


@documented("https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html")
def test_a_malformed_policy_is_refused(workspace: Workspace, identities: Identities) -> None:
    """MalformedPolicyDocument: the request was rejected because the policy document was malformed."""
    name, put = identities.role().rpartition("/")[2], workspace.client("iam").put_role_policy
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Permit", "Action": "*", "Resource": "*"}]}
    )
    code, _ = error_code(lambda: put(RoleName=name, PolicyName="bad", PolicyDocument=document))
    assert code == "MalformedPolicyDocument"
