"""AssumeRole and GetCallerIdentity."""

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code, policy
from tests.conformance.identities import Identities, permitted

ASSUME = "https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"
IDENTITY = "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"


@pytest.fixture(scope="module")
def identities(workspace: Workspace) -> Identities:
    """One bucket for this file."""
    return Identities(workspace)


@documented(ASSUME)
def test_a_role_must_trust_who_assumes_it(workspace: Workspace, identities: Identities) -> None:
    """You create a role trust policy that specifies who can assume the role."""
    role = workspace.role("lambda", identities.everything)
    assert error_code(lambda: identities.assume(role))[0] == "AccessDenied"


@documented(
    ASSUME, unknown="AWS does not say how AssumeRole answers for a role that does not exist; here, as if denied"
)
def test_a_role_that_does_not_exist_cannot_be_assumed(workspace: Workspace, identities: Identities) -> None:
    """RoleArn: the Amazon Resource Name (ARN) of the role to assume."""
    role = f"arn:aws:iam::{workspace.target.account_id}:role/{workspace.name()}"
    assert error_code(lambda: identities.assume(role))[0] == "AccessDenied"


@documented(ASSUME)
def test_a_session_policy_limits_and_grants_nothing(identities: Identities) -> None:
    """The session's permissions are the intersection of the role's identity-based policy and the session policies."""
    role = identities.role(allow("s3:GetObject", resource=f"{identities.arn}/*"))
    rights = [allow("s3:GetObject", resource=f"{identities.arn}/in/*"), allow("s3:ListBucket", resource=identities.arn)]
    s3 = identities.client("s3", role, Policy=policy(rights))
    assert identities.reads(s3, "in/a")
    assert not identities.reads(s3, "out/a")
    assert not identities.lists(s3)


@documented(ASSUME)
def test_session_policies_have_a_limit(identities: Identities) -> None:
    """The plaintext that you use for both inline and managed session policies can't exceed 2,048 characters."""
    role, long = identities.role(), policy([allow("s3:GetObject", resource=f"{identities.arn}/{'x' * 2048}")])
    assert error_code(lambda: identities.assume(role, Policy=long))[0] in ("ValidationError", "PackedPolicyTooLarge")


@documented(ASSUME)
def test_a_malformed_session_policy_is_refused(identities: Identities) -> None:
    """MalformedPolicyDocument: the request was rejected because the policy document was malformed."""
    role = identities.role()
    assert error_code(lambda: identities.assume(role, Policy="{not JSON"))[0] == "MalformedPolicyDocument"


@documented(ASSUME)
def test_a_session_is_as_long_as_the_role_allows(identities: Identities) -> None:
    """DurationSeconds: if you specify a value higher than the maximum session duration set for the role, the operation
    fails."""
    role = identities.role()  # the default maximum is one hour
    assert error_code(lambda: identities.assume(role, DurationSeconds=3601))[0] == "ValidationError"


@documented(ASSUME)
def test_a_session_may_last_twelve_hours(identities: Identities) -> None:
    """You can specify a value of up to 43200 seconds, depending on the maximum session duration of your role."""
    role = identities.role(MaxSessionDuration=43200)
    assert identities.assume(role, DurationSeconds=43200)["Credentials"]


@documented(ASSUME)
def test_a_session_lasts_fifteen_minutes_at_least(identities: Identities) -> None:
    """DurationSeconds: the value specified can range from 900 seconds (15 minutes) up to the maximum session duration
    set for the role."""
    role, arguments = identities.role(), {"DurationSeconds": 900}
    assert identities.assume(role, **arguments)["Credentials"]
    assert error_code(lambda: _unchecked(identities, role, 899))[0] == "ValidationError"


@documented(ASSUME)
def test_chained_sessions_last_one_hour_at_most(identities: Identities) -> None:
    """If you assume a role using role chaining and provide a DurationSeconds parameter value greater than one hour, the
    operation fails."""
    second = identities.role(MaxSessionDuration=43200)
    sts = identities.client("sts", identities.role(allow("sts:AssumeRole", resource=second)))
    arguments = {"RoleArn": second, "RoleSessionName": "chained"}
    assert sts.assume_role(**arguments, DurationSeconds=3600)["Credentials"]
    assert error_code(lambda: sts.assume_role(**arguments, DurationSeconds=3601))[0] == "ValidationError"


@documented(ASSUME)
def test_a_trusted_account_still_needs_permission(identities: Identities) -> None:
    """To allow a user to assume a role in the same account, attach a policy to the user that allows the user to call
    AssumeRole (as long as the role's trust policy trusts the account)."""
    second = identities.role()
    sts = identities.client("sts", identities.role())
    assert not permitted(lambda: sts.assume_role(RoleArn=second, RoleSessionName="chained"))


@documented(ASSUME)
def test_a_role_named_in_the_trust_policy_needs_no_permission(workspace: Workspace, identities: Identities) -> None:
    """When a resource-based policy grants access to a principal in the same account, no additional identity-based
    policy is required."""
    first = identities.role()
    trust = {"Effect": "Allow", "Principal": {"AWS": first}, "Action": "sts:AssumeRole"}
    second = workspace.role_trusting(trust, [])
    sts = identities.client("sts", first)
    assert permitted(lambda: sts.assume_role(RoleArn=second, RoleSessionName="chained"))


@documented(ASSUME)
def test_an_external_id_may_be_required(identities: Identities) -> None:
    """The administrator of the trusting account might send an external ID to the administrator of the trusted account.
    That way, only someone with the ID can assume the role, rather than everyone in the account."""
    role = identities.role(condition={"StringEquals": {"sts:ExternalId": "12345"}})
    assert identities.assume(role, ExternalId="12345")["Credentials"]
    assert error_code(lambda: identities.assume(role))[0] == "AccessDenied"
    assert error_code(lambda: identities.assume(role, ExternalId="other"))[0] == "AccessDenied"


@documented(ASSUME)
def test_an_assumed_roles_arn_names_role_and_session(identities: Identities) -> None:
    """AssumedRoleId: a unique identifier that contains the role ID and the role session name. The role session name is
    also used in the ARN of the assumed role principal."""
    role = identities.role()
    user = identities.assume(role, RoleSessionName="named")["AssumedRoleUser"]
    account, name = role.split(":")[4], role.rpartition("/")[2]
    assert user["Arn"] == f"arn:aws:sts::{account}:assumed-role/{name}/named"
    assert user["AssumedRoleId"].startswith("AROA") and user["AssumedRoleId"].endswith(":named")


@documented(IDENTITY)
def test_caller_identity_is_the_session(workspace: Workspace, identities: Identities) -> None:
    """Account: the account ID number of the account that owns or contains the calling entity. Arn: the ARN associated
    with it. UserId: its unique identifier."""
    answer = identities.client("sts", identities.role(), RoleSessionName="named").get_caller_identity()
    assert answer["Account"] == workspace.target.account_id
    assert answer["Arn"].startswith("arn:aws:sts::") and answer["Arn"].endswith("/named")
    assert answer["UserId"].endswith(":named")


@documented(IDENTITY)
def test_caller_identity_needs_no_permission(identities: Identities) -> None:
    """No permissions are required. If an administrator attaches a policy to your identity that explicitly denies access
    to the sts:GetCallerIdentity action, you can still perform this operation."""
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    assert identities.client("sts", identities.role(deny)).get_caller_identity()["Arn"]


@documented("https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_use-resources.html")
def test_an_invalid_token_is_refused(workspace: Workspace, identities: Identities) -> None:
    """When you make a call using temporary security credentials, the call must include a session token. AWS uses the
    session token to validate the temporary security credentials."""
    keys = identities.assume(identities.role())["Credentials"]
    sts = workspace.client(
        "sts",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token="x",
    )
    assert error_code(sts.get_caller_identity)[0] in ("InvalidClientTokenId", "ExpiredToken")


def _unchecked(identities: Identities, role: str, seconds: int) -> object:
    """Assume a role with a duration that boto3 would refuse itself."""
    from botocore.config import Config  # here: only this call needs it

    sts = identities.workspace.client("sts", config=Config(parameter_validation=False))
    return sts.assume_role(RoleArn=role, RoleSessionName="session", DurationSeconds=seconds)
