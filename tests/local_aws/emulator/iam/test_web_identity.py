"""AssumeRoleWithWebIdentity: a token of a known issuer gives a session of the roles that trust what it says."""
# pyright: reportTypedDictNotRequiredAccess=false
# (errors always carry what is read here)

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws
from tests.local_aws.helpers.token_issuer import GITHUB, TokenIssuer, assume, client_with

HOST = GITHUB.removeprefix("https://")
SUBJECT = "repo:owner/project:environment:dev"
WRONG = "repo:owner/project:ref:refs/heads/main"


@pytest.fixture(scope="module")
def issuer(aws: LocalAws) -> TokenIssuer:
    made = TokenIssuer()
    made.trusted_by(aws)
    return made


def resources(condition: dict[str, Any] | None = None, **role: Any) -> dict[str, Any]:
    """Return a provider, and a role that trusts tokens of it which satisfy the condition."""
    exact = {"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com", f"{HOST}:sub": SUBJECT}}
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": {"Ref": "Provider"}},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition or exact,
    }
    listing = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
    policy = {"PolicyName": "list", "PolicyDocument": {"Version": "2012-10-17", "Statement": [listing]}}
    properties = {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        "Policies": [policy],
        **role,
    }
    provider = {"Url": GITHUB, "ClientIdList": ["sts.amazonaws.com"]}
    return {
        "Provider": {"Type": "AWS::IAM::OIDCProvider", "Properties": provider},
        "Role": {"Type": "AWS::IAM::Role", "Properties": properties},
    }


def role_of(stack: Any, *args: Any, **role: Any) -> str:
    """Deploy the resources; return the role's ARN."""
    assert stack.deploy(resources(*args, **role)) == "CREATE_COMPLETE"
    return f"arn:aws:iam::123456789012:role/{stack.physical_id('Role')}"


def refusal(call: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response["Error"]
    return answer["Code"], answer["Message"]


def test_token_gives_a_session_with_the_roles_permissions(aws: LocalAws, stack: Any, issuer: TokenIssuer) -> None:
    role = role_of(stack)
    credentials = assume(aws, role, issuer.token(SUBJECT))
    assert client_with(aws, "s3", credentials).list_buckets()["Buckets"] is not None
    assert refusal(lambda: client_with(aws, "sns", credentials).list_topics())[0] in (
        "AccessDenied",
        "AccessDeniedException",
    )
    identity = client_with(aws, "sts", credentials).get_caller_identity()["Arn"]
    assert identity == f"arn:aws:sts::123456789012:assumed-role/{role.rpartition('/')[2]}/job"


@pytest.mark.parametrize(
    "subject", [WRONG, "repo:owner/project:environment:prod", "repo:other/project:environment:dev", ""]
)
def test_other_subjects_are_refused(aws: LocalAws, stack: Any, issuer: TokenIssuer, subject: str) -> None:
    role = role_of(stack)
    code, message = refusal(lambda: assume(aws, role, issuer.token(subject)))
    assert (code, message) == ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")


def test_tokens_that_prove_nothing_are_refused(aws: LocalAws, stack: Any, issuer: TokenIssuer) -> None:
    role = role_of(stack)
    tokens = {
        "signed by another key": (TokenIssuer().token(SUBJECT), "InvalidIdentityToken"),
        "of an issuer that is not known": (TokenIssuer("https://example.com").token(SUBJECT), "InvalidIdentityToken"),
        "for somebody else": (issuer.token(SUBJECT, audience="https://github.com/owner"), "InvalidIdentityToken"),
        "expired": (issuer.token(SUBJECT, expires_in=-1), "ExpiredTokenException"),
        "not a token": ("nonsense", "InvalidIdentityToken"),
        "of an issuer that lies about its name": (
            issuer.token(SUBJECT, iss="https://example.com"),
            "InvalidIdentityToken",
        ),
    }
    found = {name: refusal(lambda token=token: assume(aws, role, token))[0] for name, (token, _) in tokens.items()}
    assert found == {name: code for name, (_, code) in tokens.items()}


def test_provider_must_exist(aws: LocalAws, stack: Any, issuer: TokenIssuer) -> None:
    role = role_of(stack)
    stack.delete()
    code, message = refusal(lambda: assume(aws, role, issuer.token(SUBJECT)))
    assert (code, message) == ("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {GITHUB}")


def test_trust_in_the_provider_is_no_trust_in_the_account(aws: LocalAws, stack: Any, issuer: TokenIssuer) -> None:
    role = role_of(stack)
    assert refusal(lambda: aws.client("sts").assume_role(RoleArn=role, RoleSessionName="job"))[0] == "AccessDenied"


def test_keys_that_the_token_does_not_have_are_denied(aws: LocalAws, stack: Any, issuer: TokenIssuer) -> None:
    role = role_of(stack, {"StringEquals": {f"{HOST}:{uuid.uuid4().hex}": "x"}})
    assert refusal(lambda: assume(aws, role, issuer.token(SUBJECT)))[0] == "AccessDenied"


def test_session_lasts_as_long_as_the_role_allows(aws: LocalAws, stack: Any, issuer: TokenIssuer) -> None:
    role = role_of(stack, MaxSessionDuration=10_800)
    assert assume(aws, role, issuer.token(SUBJECT), DurationSeconds=10_800)
    too_long = refusal(lambda: assume(aws, role, issuer.token(SUBJECT), DurationSeconds=10_801))
    assert too_long[0] == "ValidationError"


def test_provider_is_updated_and_deleted(aws: LocalAws, stack: Any) -> None:
    role_of(stack)
    iam, arn = aws.client("iam"), f"arn:aws:iam::123456789012:oidc-provider/{HOST}"
    changed = resources()
    changed["Provider"]["Properties"] |= {"Tags": [{"Key": "a", "Value": "b"}], "ThumbprintList": ["0" * 40]}
    assert stack.deploy(changed) == "UPDATE_COMPLETE"
    described = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (described["Tags"], described["ThumbprintList"]) == ([{"Key": "a", "Value": "b"}], ["0" * 40])
    changed["Provider"]["Properties"] |= {"ClientIdList": ["other"]}
    assert stack.deploy(changed) == "UPDATE_ROLLBACK_COMPLETE"
    assert "does not change the ClientIdList" in stack.reason("UPDATE_FAILED")
    stack.delete()
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
