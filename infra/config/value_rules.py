"""The rules of settings that name something of AWS or the Hub: buckets, keys, secrets, policies, tags, addresses."""

import re

from infra.config.setting_rules import Rule, matches, several

_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_MAX_TAGS = 45  # AWS allows 50 on a resource; CDK and CloudFormation add some

HUB = Rule(
    "an https URL without a final slash, or s3://<bucket>/<prefix> without one",
    lambda value: not _not_a_hub(value),
    lambda value: _not_a_hub(value),
)
SECRET = matches(
    r"(arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[\w/+=.@-]{1,512}-[A-Za-z0-9]{6})?",
    "the whole ARN of a Secrets Manager secret, with the six characters at its end",
)
KEY = matches(
    r"(arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64})?",
    "the ARN of a KMS key, arn:aws:kms:<region>:<account>:key/<id>",
)
BOUNDARY = Rule(
    "the ARN of a managed policy, or its name with its path, such as team/Boundary",
    lambda value: (
        bool(
            re.fullmatch(r"((arn:[a-z-]+:iam::([0-9]{12}|aws):policy/)?[\w+=,.@-]{1,128}(/[\w+=,.@-]{1,128})*)?", value)
        )
        and len(value) <= 600
    ),
    lambda value: "a path has no slash at its start" if value.startswith("/") else "",
)
# SageMaker accepts capital letters but puts lower case into ARNs, and policies that name the endpoint then miss it.
ENDPOINT = matches(r"([a-z0-9](-*[a-z0-9]){0,62})?", "up to 63 lower-case letters, digits and inner hyphens")
ADDRESSES = several(
    matches(r"[^@\s,]{1,64}@[^@\s,]{1,190}", "e-mail addresses, such as team@example.com"), same=str.lower
)
SUBNETS = several(matches(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})", "ids of 2 to 16 subnets"))
SECURITY_GROUPS = several(matches(r"sg-([0-9a-f]{8}|[0-9a-f]{17})", "ids of 1 to 5 security groups"))
BUCKETS = several(Rule("names of S3 buckets", lambda name: not _not_a_bucket(name), lambda name: _not_a_bucket(name)))


def tags() -> Rule:
    """Accept up to `_MAX_TAGS` strings `key=value` whose keys differ; IAM does not tell upper from lower case."""
    # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
    each = matches(
        r"(?![aA][wW][sS]:)[\w .:/+@-]{1,128}=[\w .:/=+@-]{0,256}",
        "`key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:",
    )
    rule = several(each, same=lambda tag: tag.partition("=")[0].lower())

    def why_not(values: tuple[str, ...]) -> str:
        return f"{len(values)} are more than {_MAX_TAGS}" if len(values) > _MAX_TAGS else rule.why_not(values)

    return Rule(each.allowed, lambda values: not why_not(values), why_not)


def _not_a_bucket(name: str) -> str:
    """Return why S3 has no general purpose bucket of this name; an empty string if it may.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if not re.fullmatch(_BUCKET, name):
        return "a name has 3 to 63 lower-case letters, digits, dots and hyphens, the first and last no dot or hyphen"
    if ".." in name:
        return "two dots must not be adjacent"
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name):
        return "a name must not look like an IP address"
    prefixes, suffixes = ("xn--", "sthree-", "amzn-s3-demo-"), ("-s3alias", "--ols-s3", ".mrap", "--x-s3", "--table-s3")
    reserved = [part for part in prefixes if name.startswith(part)] + [part for part in suffixes if name.endswith(part)]
    return f"S3 reserves {reserved[0]}" if reserved else ""


def _not_a_hub(url: str) -> str:
    """Return why staging cannot read from `url`; an empty string if its form is right."""
    scheme, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        return "a URL must not hold a user or password: use token_secret_arn"
    if scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        right = "/" not in rest or re.fullmatch(r"[\w.-]+(/[\w.-]+)*", prefix)
        return _not_a_bucket(bucket) or ("" if right else "the prefix must be words with single slashes between them")
    if re.fullmatch(r"https://[^\s/?#]+(/[^\s/?#]+)*|http://127\.0\.0\.1(:[0-9]{1,5})?", url):
        return ""
    return "only a loopback address may be http" if scheme == "http" else "no query, fragment or empty path segment"
