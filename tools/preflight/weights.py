"""Where the weights come from: the Hub or a mirror, the commit in it, and the secret with the Hub's token."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from botocore.exceptions import ClientError

from infra.config.settings import default_of
from preflight.checks import Target
from preflight.report import Check, error_code, explain, failed, passed, unknown

USER_AGENT = "musicgen-on-aws-preflight/1"
LISTING = "listing.json"  # in a mirror in S3: the Hub's answer for the commit, as in docs/contracts.md

_TIMEOUT_S = 15
_MAX_LISTING = 5_000_000  # bytes
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_EXPORTED = {"state_dict.bin", "compression_state_dict.bin"}  # by audiocraft: staged for a custom model only


def check_weights(target: Target) -> list[Check]:
    """Check that the commit can be read where staging will read it."""
    return [_check_mirror(target) if target.config.s3_mirror else _check_hub(target)]


def check_secret(target: Target) -> list[Check]:
    """Check that the secret with the token exists. Its value is never read."""
    name, arn = "token secret", target.config.token_secret_arn
    if not arn:
        return []
    try:
        secret = target.client("secretsmanager").describe_secret(SecretId=arn)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        remedy = f"aws secretsmanager create-secret --region {target.config.region} --name … --secret-string hf_…"
        return [failed(name, f"{arn} does not exist", f"{remedy}\nand put its whole ARN into token_secret_arn")]
    if "DeletedDate" in secret:
        remedy = f"aws secretsmanager restore-secret --region {target.config.region} --secret-id {arn}"
        return [failed(name, f"{arn} is scheduled for deletion", remedy)]
    return [passed(name, f"{arn} exists; its value was not read")]


def _check_hub(target: Target) -> Check:
    config = target.config
    url = f"{config.hub_endpoint}/api/models/{config.model_id}/revision/{config.commit}"
    wanted = f"{config.model_id} at {config.commit} on {config.hub_endpoint}"
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            listing = response.read(_MAX_LISTING)
    except urllib.error.HTTPError as error:
        with error:
            return _explain_status(target, error.code, wanted)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return _explain_unreachable(target, f"{config.hub_endpoint} does not answer this machine: {reason}")
    return _judge_listing(target, listing, wanted)


def _explain_status(target: Target, status: int, wanted: str) -> Check:
    name, config = "weights", target.config
    if status in (401, 403):
        if config.token_secret_arn:
            why = f"{wanted} answers {status} without a token, and the configured one is not read here"
            return unknown(name, why, "make sure that the token's account has accepted the model's terms")
        remedy = "check model_id; for a gated or private model store a token and set token_secret_arn"
        return failed(name, f"{wanted} is gated, private or does not exist: the answer is {status}", remedy)
    if status == 404:
        remedy = f"take a commit from {config.hub_endpoint}/{config.model_id}/commits/main and set revision"
        return failed(name, f"{wanted} does not exist: the answer is 404", remedy)
    if status == 429 or status >= 500:
        return unknown(name, f"{wanted}: the answer is {status}", "run it again in a few minutes")
    return failed(name, f"{wanted}: the answer is {status}", "check hub_endpoint: it must speak the Hub's API")


def _explain_unreachable(target: Target, why: str) -> Check:
    """Return UNKNOWN for the public Hub, which the staging Lambda calls from AWS; FAIL for an address of the user's."""
    if target.config.hub_endpoint == default_of("hub_endpoint"):
        return unknown("weights", f"{why}; the staging Lambda calls it from AWS, not from here")
    return failed("weights", why, "check hub_endpoint; the staging Lambda reaches public addresses only")


def _check_mirror(target: Target) -> Check:
    name, config = "weights", target.config
    bucket, _, prefix = str(config.s3_mirror).partition("/")
    key = "/".join(part for part in (prefix, config.model_id, config.commit, LISTING) if part)
    wanted, address = f"{config.model_id} at {config.commit} in {config.hub_endpoint}", f"s3://{bucket}/{key}"
    copy = f"make mirror MODEL={config.model_id} REVISION={config.commit} TO={config.hub_endpoint}"
    try:
        listing = target.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read(_MAX_LISTING)
    except ClientError as error:
        code = error_code(error)
        if code == "NoSuchBucket":
            remedy = f"aws s3 mb s3://{bucket} --region {config.region}\nand {copy}"
            return failed(name, f"bucket {bucket} does not exist", remedy)
        if code == "NoSuchKey":
            return failed(name, f"{wanted} is not complete: {address} does not exist", copy)
        if code == "PermanentRedirect":
            return failed(name, f"bucket {bucket} must be in {config.region}, got another region", copy)
        row = explain(name, error)
        hint = f"; without s3:ListBucket, S3 answers the same when {address} does not exist"
        return Check(name, row.status, row.detail + (hint if code == "AccessDenied" else ""), row.remedy)
    return _judge_listing(target, listing, wanted)


def _judge_listing(target: Target, listing: bytes, wanted: str) -> Check:
    """Return whether the Hub's answer is of the commit, with weights that staging reads."""
    name, config = "weights", target.config
    try:
        answer: dict[str, Any] = json.loads(listing)
        commit, files = str(answer["sha"]), {str(item["rfilename"]) for item in answer["siblings"]}
    except (ValueError, KeyError, TypeError):
        return failed(name, f"{wanted}: the response is not a commit listing", "check hub_endpoint")
    if commit != config.commit:
        return failed(
            name, f"{wanted}: the answer is for commit {commit}", f"set revision={commit}, or check the mirror"
        )
    held = [file for file in _WEIGHTS if file in files]
    if config.model_like and not held and files >= _EXPORTED:
        held = sorted(_EXPORTED)
    elif not held or "config.json" not in files:
        remedy = "choose a commit that holds them, and set revision"
        return failed(name, f"{wanted} must hold config.json and one of {', '.join(_WEIGHTS)}", remedy)
    if answer.get("gated") and not config.token_secret_arn and not config.s3_mirror:
        remedy = "accept its terms on the Hub, store a token in Secrets Manager, and set token_secret_arn"
        return failed(name, f"{wanted} is gated, and no token is configured", remedy)
    return passed(name, f"{wanted} holds {held[0]}")
