"""What each setting accepts, and the exact message for what it does not: one line a value."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.config import Config, ConfigError, from_context
from infra.config.models import SERVED_MODELS
from infra.config.settings import declared_settings

ENVIRONMENTS = json.loads((Path(__file__).parents[3] / "cdk.json").read_text(encoding="utf-8"))["context"][
    "environments"
]
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-token-AbCdEf"
START = "cron(45 8 ? * MON-FRI *)"
# A setting, a value, and the message or None.
VALUES: list[tuple[str, Any, str | None]] = [
    ("env", "dev", None),
    ("env", "qa", "env must be one of the environments in cdk.json, dev, prod, got 'qa'"),
    ("env", 7, "env must be one of the environments in cdk.json, dev, prod, got 7"),
    ("env", ["dev"], "env must be one of the environments in cdk.json, dev, prod, got ['dev']"),
    ("env", "", "env must be one of the environments in cdk.json, dev, prod, got ''"),
    ("environment", "prod", "environment is not a setting (did you mean env?); docs/configuration.md lists them all"),
    ("stage", "prod", "stage is not a setting (did you mean env?); docs/configuration.md lists them all"),
    (
        "kms_key_arn",
        "arn:aws:kms:us-east-1:123456789012:key/1234abcd",
        "kms_key_arn is not a setting (did you mean encryption?); docs/configuration.md lists them all",
    ),
    (
        "max_capcity",
        "2",
        "max_capcity is not a setting (did you mean max_capacity?); docs/configuration.md lists them all",
    ),
    (
        "Max-Instances",
        2,
        "Max-Instances is not a setting (did you mean max_capacity?); docs/configuration.md lists them all",
    ),
    (
        "model",
        "facebook/musicgen-small",
        "model is not a setting (did you mean model_id?); docs/configuration.md lists them all",
    ),
    ("hf_abcdefgh12345678", "x", "*** is not a setting; docs/configuration.md lists them all"),
    ("region", "eu-west-1", None),
    ("region", "EU-WEST-1", "region must be written in lower case, eu-west-1, got EU-WEST-1"),
    (
        "region",
        "eu-wst-1",
        "region must be one that has the Hugging Face inference container: af-south-1, ap-east-1, ap-northeast-1, ap-northeast-2, ap-northeast-3, ap-south-1, ap-south-2, ap-southeast-1, ap-southeast-2, ap-southeast-3, ap-southeast-4, ca-central-1, ca-west-1, cn-north-1, cn-northwest-1, eu-central-1, eu-central-2, eu-north-1, eu-south-1, eu-south-2, eu-west-1, eu-west-2, eu-west-3, il-central-1, me-central-1, me-south-1, sa-east-1, us-east-1, us-east-2, us-gov-east-1, us-gov-west-1, us-iso-east-1, us-isob-east-1, us-west-1, us-west-2, got eu-wst-1 (did you mean eu-west-1, us-west-1, eu-west-3?)",
    ),
    ("region", "us-gov-west-1", None),
    (
        "region",
        "",
        "region must be one of af-south-1, ap-east-1, ap-northeast-1, ap-northeast-2, ap-northeast-3, ap-south-1, ap-south-2, ap-southeast-1, ap-southeast-2, ap-southeast-3, ap-southeast-4, ca-central-1, ca-west-1, cn-north-1, cn-northwest-1, eu-central-1, eu-central-2, eu-north-1, eu-south-1, eu-south-2, eu-west-1, eu-west-2, eu-west-3, il-central-1, me-central-1, me-south-1, sa-east-1, us-east-1, us-east-2, us-gov-east-1, us-gov-west-1, us-iso-east-1, us-isob-east-1, us-west-1, us-west-2, got ''",
    ),
    ("region", 1, "region must be a string, got 1"),
    ("account", "123456789012", None),
    ("account", "", None),
    ("account", "12", "account must be 12 digits, got '12'"),
    ("account", 123456789012, "account must be a string, got 123456789012"),
    ("account", "１２３４５６７８９０１２", "account must be 12 digits, got '１２３４５６７８９０１２'"),
    ("model_id", "facebook/musicgen-small", None),
    (
        "model_id",
        "facebook/musicgen-lage",
        "model_id must be one of facebook/musicgen-small, facebook/musicgen-medium, facebook/musicgen-large, facebook/musicgen-stereo-small, facebook/musicgen-stereo-medium, facebook/musicgen-stereo-large, facebook/musicgen-melody, facebook/musicgen-melody-large, facebook/musicgen-stereo-melody, facebook/musicgen-stereo-melody-large, got facebook/musicgen-lage (did you mean facebook/musicgen-large, facebook/musicgen-stereo-large, facebook/musicgen-melody-large?)",
    ),
    (
        "model_id",
        "",
        "model_id must be one of facebook/musicgen-small, facebook/musicgen-medium, facebook/musicgen-large, facebook/musicgen-stereo-small, facebook/musicgen-stereo-medium, facebook/musicgen-stereo-large, facebook/musicgen-melody, facebook/musicgen-melody-large, facebook/musicgen-stereo-melody, facebook/musicgen-stereo-melody-large, got ''",
    ),
    ("model_id", None, "model_id must be a string, got None"),
    ("model_like", "", None),
    (
        "model_like",
        "facebook/musicgen-small",
        "model_like must be empty for facebook/musicgen-large, whose size is known, got 'facebook/musicgen-small'",
    ),
    ("model_like", None, "model_like must be a string, got None"),
    ("revision", "0123456789abcdef0123456789abcdef01234567", None),
    (
        "revision",
        "0123456789ABCDEF0123456789ABCDEF01234567",
        "revision must be a full commit, 40 hexadecimal digits in lower case, got '0123456789ABCDEF0123456789ABCDEF01234567'",
    ),
    (
        "revision",
        "main",
        "revision must be a full commit, 40 hexadecimal digits, got 'main': branches and tags move, and what is staged must not; open https://huggingface.co/facebook/musicgen-large/commits/main, or read `sha` at https://huggingface.co/api/models/facebook/musicgen-large/revision/main, and choose a commit that holds weights",
    ),
    (
        "revision",
        "4c8334b02c6ec4e8664a91979669a501ec497792",
        "revision must be a commit of facebook/musicgen-large, got 4c8334b02c6ec4e8664a91979669a501ec497792, which is one of facebook/musicgen-small",
    ),
    ("revision", "", None),
    (
        "revision",
        "hf_abcdefgh12345678",
        "revision must be a full commit, 40 hexadecimal digits, got '***': branches and tags move, and what is staged must not; open https://huggingface.co/facebook/musicgen-large/commits/main, or read `sha` at https://huggingface.co/api/models/facebook/musicgen-large/revision/main, and choose a commit that holds weights",
    ),
    ("decoder_dtype", "float32", None),
    ("decoder_dtype", "bfloat16", "decoder_dtype must be float16 or float32, got 'bfloat16'"),
    ("weight_quantisation", "int8", None),
    ("weight_quantisation", "int4", "weight_quantisation must be none or int8, got 'int4'"),
    ("packaging", "uncompressed", None),
    ("packaging", "zip", "packaging must be tarball or uncompressed, got 'zip'"),
    ("hub_endpoint", "https://hub.example.com/path", None),
    ("hub_endpoint", "s3://mirror-bucket/prefix", None),
    ("hub_endpoint", "http://127.0.0.1:8080", None),
    (
        "hub_endpoint",
        "http://example.com",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 'http://example.com': only a loopback address may be http",
    ),
    (
        "hub_endpoint",
        "https://user:secret@example.com",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 'https://***@example.com': a URL must not hold a user or password: use token_secret_arn",
    ),
    (
        "hub_endpoint",
        "https://example.com/",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 'https://example.com/': no query, fragment or empty path segment",
    ),
    (
        "hub_endpoint",
        "https://example.com?x=1",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 'https://example.com?x=1': no query, fragment or empty path segment",
    ),
    (
        "hub_endpoint",
        "s3://mirror/prefix/",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 's3://mirror/prefix/': the prefix must be words with single slashes between them",
    ),
    (
        "hub_endpoint",
        "s3://Mirror",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 's3://Mirror': a name has 3 to 63 lower-case letters, digits, dots and hyphens, the first and last no dot or hyphen",
    ),
    (
        "hub_endpoint",
        "ftp://example.com",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got 'ftp://example.com': no query, fragment or empty path segment",
    ),
    (
        "hub_endpoint",
        "",
        "hub_endpoint must be an https URL without a final slash, or s3://<bucket>/<prefix> without one, got '': no query, fragment or empty path segment",
    ),
    ("token_secret_arn", "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-token-AbCdEf", None),
    ("token_secret_arn", "", None),
    (
        "token_secret_arn",
        "hf_abcdefghijklmnopqrstuvwxyz012345",
        "token_secret_arn must be the whole ARN of a Secrets Manager secret, with the six characters at its end, got a value of 35 characters, not shown here because it may be a token",
    ),
    (
        "token_secret_arn",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-token",
        "token_secret_arn must be the whole ARN of a Secrets Manager secret, with the six characters at its end, got a value of 62 characters, not shown here because it may be a token",
    ),
    (
        "token_secret_arn",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hub-token-AbCdEf",
        "token_secret_arn must be of a secret in the stack's region us-east-1, got 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:hub-token-AbCdEf'",
    ),
    ("token_secret_arn", ["hf_abcdefghijklmnopqrstuvwxyz012345"], "token_secret_arn must be a string, got ['***']"),
    ("instance_type", "ml.g6.xlarge", None),
    (
        "instance_type",
        "ml.g5.2xlage",
        "instance_type must be one of ml.g5.xlarge, ml.g5.2xlarge, ml.g6.xlarge, ml.g6.2xlarge, ml.g6e.xlarge, ml.g6e.2xlarge, ml.c7i.4xlarge, ml.c7i.8xlarge, ml.m7i.4xlarge, ml.m7i.8xlarge, ml.c6i.4xlarge, ml.c6i.8xlarge, got ml.g5.2xlage (did you mean ml.g5.2xlarge, ml.g5.xlarge, ml.g6.2xlarge?)",
    ),
    (
        "instance_type",
        "ml.c7g.4xlarge",
        "instance_type must be one of ml.g5.xlarge, ml.g5.2xlarge, ml.g6.xlarge, ml.g6.2xlarge, ml.g6e.xlarge, ml.g6e.2xlarge, ml.c7i.4xlarge, ml.c7i.8xlarge, ml.m7i.4xlarge, ml.m7i.8xlarge, ml.c6i.4xlarge, ml.c6i.8xlarge, got ml.c7g.4xlarge: it has an ARM processor, and the container images are for x86-64",
    ),
    (
        "instance_type",
        "g5.2xlarge",
        "instance_type must be one of ml.g5.xlarge, ml.g5.2xlarge, ml.g6.xlarge, ml.g6.2xlarge, ml.g6e.xlarge, ml.g6e.2xlarge, ml.c7i.4xlarge, ml.c7i.8xlarge, ml.m7i.4xlarge, ml.m7i.8xlarge, ml.c6i.4xlarge, ml.c6i.8xlarge, got g5.2xlarge (did you mean ml.g5.2xlarge, ml.g5.xlarge, ml.g6.2xlarge?)",
    ),
    ("fallback_instance_types", "ml.g6.2xlarge,ml.g6.xlarge", None),
    (
        "fallback_instance_types",
        "ml.g6.2xlarge,ml.g5.4xlarge",
        "fallback_instance_types must be one of ml.g5.xlarge, ml.g5.2xlarge, ml.g6.xlarge, ml.g6.2xlarge, ml.g6e.xlarge, ml.g6e.2xlarge, ml.c7i.4xlarge, ml.c7i.8xlarge, ml.m7i.4xlarge, ml.m7i.8xlarge, ml.c6i.4xlarge, ml.c6i.8xlarge, got ml.g5.4xlarge: add its GPU, with memory and bandwidth, to infra/config/instances.json and its price to infra/config/prices.json",
    ),
    (
        "fallback_instance_types",
        "ml.g6.2xlarge,ml.g6.2xlarge",
        "fallback_instance_types must be at most 4 instance types, SageMaker's limit in addition to the first, got ['ml.g6.2xlarge', 'ml.g6.2xlarge']: 'ml.g6.2xlarge' must be given once",
    ),
    (
        "fallback_instance_types",
        "ml.g5.2xlarge",
        "fallback_instance_types must differ from instance_type, got ml.g5.2xlarge in both",
    ),
    (
        "fallback_instance_types",
        "ml.g5.xlarge,ml.g5.4xlarge,ml.g5.8xlarge,ml.g6.xlarge,ml.g6.2xlarge",
        "fallback_instance_types must be at most 4 instance types, SageMaker's limit in addition to the first, got 5",
    ),
    ("fallback_instance_types", "", None),
    ("provision_timeout_seconds", "300", None),
    ("provision_timeout_seconds", 299, "provision_timeout_seconds must be 300 to 3600, got 299"),
    ("max_capacity", "100", None),
    ("max_capacity", "0", "max_capacity must be 1 to 100, got 0"),
    ("max_capacity", "two", "max_capacity must be a whole number, got 'two'"),
    ("max_capacity", True, "max_capacity must be a whole number, got True"),
    ("max_capacity", 1.5, "max_capacity must be a whole number, got 1.5"),
    ("max_capacity", "1e3", "max_capacity must be a whole number, got '1e3'"),
    ("max_capacity", " 2", "max_capacity must be a whole number, got ' 2'"),
    ("max_capacity", "９", "max_capacity must be a whole number, got '９'"),
    ("max_capacity", "auto", "max_capacity must be a whole number, got 'auto'"),
    ("max_concurrent_requests", "auto", None),
    ("max_concurrent_requests", "4", None),
    ("max_concurrent_requests", "65", "max_concurrent_requests must be auto, or 1 to 64, got 65"),
    ("max_concurrent_requests", "all", "max_concurrent_requests must be a whole number or auto, got 'all'"),
    ("clip_seconds", 5, None),
    ("clip_seconds", 31, "clip_seconds must be 1 to 30, got 31"),
    ("target_backlog_per_instance", "auto", None),
    ("target_backlog_per_instance", "0", "target_backlog_per_instance must be auto, or 1 to 10000, got 0"),
    ("scale_in_cooldown_seconds", 0, None),
    ("scale_in_cooldown_seconds", 3601, "scale_in_cooldown_seconds must be 0 to 3600, got 3601"),
    ("scale_out_cooldown_seconds", "-1", "scale_out_cooldown_seconds must be 0 to 3600, got -1"),
    ("scale_out_cooldown_seconds", "60", None),
    ("scaling", "off", None),
    ("scaling", "no", "scaling must be on or off, got 'no'"),
    ("scaling", False, "scaling must be a string, got False"),
    ("retain_variant_properties", "yes", None),
    ("retain_variant_properties", "true", "retain_variant_properties must be no or yes, got 'true'"),
    (
        "warm_up_schedule",
        "cron(45 8 ? * MON-FRI *)",
        "warm_up_schedule and warm_up_end_schedule must both be given or both be empty, got 'cron(45 8 ? * MON-FRI *)' and ''",
    ),
    (
        "warm_up_schedule",
        "9:00",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got '9:00': it must start with cron( and end with )",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 * * ? *)",
        "warm_up_schedule and warm_up_end_schedule must both be given or both be empty, got 'cron(0 9 * * ? *)' and ''",
    ),
    (
        "warm_up_schedule",
        "cron(0 25 ? * MON *)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0 25 ? * MON *)': hours must be 0 to 23, got 25",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 * * * *)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0 9 * * * *)': either the day of the month or the day of the week must be ?, and the other not",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 ? * ? *)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0 9 ? * ? *)': either the day of the month or the day of the week must be ?, and the other not",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 ? * MON)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0 9 ? * MON)': it has 5 fields",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 ? * MON-FRI 2026-)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0 9 ? * MON-FRI 2026-)': year must be 1970 to 2199, got 2026-",
    ),
    (
        "warm_up_schedule",
        "cron(0/0 9 ? * MON *)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0/0 9 ? * MON *)': minutes must be 0 to 59, got 0/0",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 31W * ? *)",
        "warm_up_schedule and warm_up_end_schedule must both be given or both be empty, got 'cron(0 9 31W * ? *)' and ''",
    ),
    (
        "warm_up_schedule",
        "cron(0 9 ? FOO MON *)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'cron(0 9 ? FOO MON *)': month must be 1 to 12 or JAN to DEC, got FOO",
    ),
    (
        "warm_up_schedule",
        "rate(1 day)",
        "warm_up_schedule must be `cron(…)` with six fields, such as cron(45 8 ? * MON-FRI *), got 'rate(1 day)': it must start with cron( and end with )",
    ),
    ("warm_up_timezone", "Europe/Berlin", None),
    (
        "warm_up_timezone",
        "Europe/Belin",
        "warm_up_timezone must be the name of a time zone, such as Europe/Berlin, got 'Europe/Belin': did you mean Europe/Berlin, Europe/Helsinki, Europe/Dublin?",
    ),
    (
        "warm_up_timezone",
        "+01:00",
        "warm_up_timezone must be the name of a time zone, such as Europe/Berlin, got '+01:00'",
    ),
    (
        "warm_up_timezone",
        "europe/berlin",
        "warm_up_timezone must be the name of a time zone, such as Europe/Berlin, got 'europe/berlin': did you mean Europe/Berlin, Europe/Dublin, Europe/Helsinki?",
    ),
    ("warm_up_timezone", "", "warm_up_timezone must be the name of a time zone, such as Europe/Berlin, got ''"),
    ("encryption", "customer-managed", None),
    ("encryption", "none", "encryption must be aws-managed or customer-managed, got 'none'"),
    (
        "encryption",
        "arn:aws:kms:us-east-1:123456789012:key/1234abcd",
        "encryption must be aws-managed or customer-managed, got 'arn:aws:kms:us-east-1:123456789012:key/1234abcd'",
    ),
    ("bootstrap_kms_key_arn", "arn:aws:kms:us-east-1:123456789012:key/1234abcd", None),
    (
        "bootstrap_kms_key_arn",
        "alias/cdk",
        "bootstrap_kms_key_arn must be the ARN of a KMS key, arn:aws:kms:<region>:<account>:key/<id>, got 'alias/cdk'",
    ),
    (
        "bootstrap_kms_key_arn",
        "arn:aws:kms:eu-west-1:123456789012:key/1234abcd",
        "bootstrap_kms_key_arn must be of a key in the stack's region us-east-1, got 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd'",
    ),
    (
        "vpc_subnet_ids",
        "subnet-01234567,subnet-89abcdef",
        "vpc_security_group_ids must be 1 to 5 ids, and vpc_subnet_ids must be given with them, got []",
    ),
    (
        "vpc_subnet_ids",
        "subnet-01234567",
        "vpc_subnet_ids must be 2 to 16 ids, and vpc_security_group_ids must be given with them, got ['subnet-01234567']",
    ),
    ("vpc_subnet_ids", "vpc-1", "vpc_subnet_ids must be ids of 2 to 16 subnets, got ['vpc-1']: not 'vpc-1'"),
    (
        "vpc_subnet_ids",
        "subnet-01234567,subnet-01234567",
        "vpc_subnet_ids must be ids of 2 to 16 subnets, got ['subnet-01234567', 'subnet-01234567']: 'subnet-01234567' must be given once",
    ),
    (
        "vpc_security_group_ids",
        "sg-01234567",
        "vpc_subnet_ids must be 2 to 16 ids, and vpc_security_group_ids must be given with them, got []",
    ),
    ("permissions_boundary", "Boundary", None),
    ("permissions_boundary", "team/Boundary", None),
    (
        "permissions_boundary",
        "/team/Boundary",
        "permissions_boundary must be the ARN of a managed policy, or its name with its path, such as team/Boundary, got '/team/Boundary': a path has no slash at its start",
    ),
    ("permissions_boundary", "arn:aws:iam::123456789012:policy/team/Boundary", None),
    ("permissions_boundary", "arn:aws:iam::aws:policy/PowerUserAccess", None),
    (
        "permissions_boundary",
        "arn:aws:iam::1:policy/x",
        "permissions_boundary must be the ARN of a managed policy, or its name with its path, such as team/Boundary, got 'arn:aws:iam::1:policy/x'",
    ),
    (
        "permissions_boundary",
        "arn:aws:iam::123456789012:role/x",
        "permissions_boundary must be the ARN of a managed policy, or its name with its path, such as team/Boundary, got 'arn:aws:iam::123456789012:role/x'",
    ),
    (
        "permissions_boundary",
        "a//b",
        "permissions_boundary must be the ARN of a managed policy, or its name with its path, such as team/Boundary, got 'a//b'",
    ),
    ("tags", "a=b", None),
    ("tags", {"team": "music", "cost centre": "42"}, None),
    ("tags", '{"team": "music"}', None),
    ("tags", '{"team": 7}', "tags must have strings as values and no = in keys, got 'team'"),
    ("tags", '{"team"', "tags must be valid JSON where it starts with {, got '{\"team\"'"),
    (
        "tags",
        "aws:owner=me",
        "tags must be `key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:, got ['aws:owner=me']: not 'aws:owner=me'",
    ),
    (
        "tags",
        "owner",
        "tags must be `key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:, got ['owner']: not 'owner'",
    ),
    (
        "tags",
        "a=b,A=c",
        "tags must be `key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:, got ['a=b', 'A=c']: 'a=b' and 'A=c' must be given once",
    ),
    (
        "tags",
        "a=b;c",
        "tags must be `key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:, got ['a=b;c']: not 'a=b;c'",
    ),
    (
        "tags",
        ["a=b<c"],
        "tags must be `key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:, got ['a=b<c']: not 'a=b<c'",
    ),
    (
        "tags",
        [
            "t0=x",
            "t1=x",
            "t2=x",
            "t3=x",
            "t4=x",
            "t5=x",
            "t6=x",
            "t7=x",
            "t8=x",
            "t9=x",
            "t10=x",
            "t11=x",
            "t12=x",
            "t13=x",
            "t14=x",
            "t15=x",
            "t16=x",
            "t17=x",
            "t18=x",
            "t19=x",
            "t20=x",
            "t21=x",
            "t22=x",
            "t23=x",
            "t24=x",
            "t25=x",
            "t26=x",
            "t27=x",
            "t28=x",
            "t29=x",
            "t30=x",
            "t31=x",
            "t32=x",
            "t33=x",
            "t34=x",
            "t35=x",
            "t36=x",
            "t37=x",
            "t38=x",
            "t39=x",
            "t40=x",
            "t41=x",
            "t42=x",
            "t43=x",
            "t44=x",
            "t45=x",
        ],
        "tags must be `key=value` of up to 128 and 256 letters, digits, spaces and _ . : / + - @, not aws:, got ['t0=x', 't1=x', 't2=x', 't3=x', 't4=x', 't5=x', 't6=x', 't7=x', 't8=x', 't9=x', 't10=x', 't11=x', 't12=x', 't13=x', 't14=x', 't15=x', 't16=x', 't17=x', 't18=x', 't19=x', 't20=x', 't21=x', 't22=x', 't23=x', 't24=x', 't25=x', 't26=x', 't27=x', 't28=x', 't29=x', 't30=x', 't31=x', 't32=x', 't33=x', 't3…: 46 are more than 45",
    ),
    ("tags", 7, "tags must be a list of strings, or one string with commas, got 7"),
    ("input_retention_days", 3650, None),
    ("input_retention_days", 0, "input_retention_days must be 1 to 3650, got 0"),
    ("output_retention_days", "forever", "output_retention_days must be a whole number, got 'forever'"),
    ("output_retention_days", 1, None),
    ("log_retention_days", 400, None),
    ("log_retention_days", 3653, None),
    (
        "log_retention_days",
        31,
        "log_retention_days must be 1 or 3 or 5 or 7 or 14 or 30 or 60 or 90 or 120 or 150 or 180 or 365 or 400 or 545 or 731 or 1096 or 1827 or 2192 or 2557 or 2922 or 3288 or 3653, got 31",
    ),
    ("removal_policy", "retain", None),
    ("removal_policy", "keep", "removal_policy must be destroy or retain, got 'keep'"),
    ("alarm_instance_hours", "12", None),
    ("alarm_instance_hours", -1, "alarm_instance_hours must be 0 to 2400, got -1"),
    ("termination_protection", "on", None),
    ("termination_protection", "yes", "termination_protection must be off or on, got 'yes'"),
    ("owner", "team audio / 42", None),
    ("owner", "a<b", "owner must be up to 256 letters, digits, spaces and _ . : / = + - @, got 'a<b'"),
    ("alarm_emails", "a@example.com, b@example.com", None),
    ("alarm_emails", "", None),
    (
        "alarm_emails",
        "nobody",
        "alarm_emails must be e-mail addresses, such as team@example.com, got ['nobody']: not 'nobody'",
    ),
    (
        "alarm_emails",
        "a@example.com,A@example.com",
        "alarm_emails must be e-mail addresses, such as team@example.com, got ['a@example.com', 'A@example.com']: 'a@example.com' and 'A@example.com' must be given once",
    ),
    ("alarm_emails", 3, "alarm_emails must be a list of strings, or one string with commas, got 3"),
    ("alarm_emails", [1], "alarm_emails must be a string, got 1"),
    (
        "alarm_emails",
        "a@example.com b@example.com",
        "alarm_emails must be e-mail addresses, such as team@example.com, got ['a@example.com b@example.com']: not 'a@example.com b@example.com'",
    ),
    ("error_emails", "a@example.com", None),
    (
        "error_emails",
        "@example.com",
        "error_emails must be e-mail addresses, such as team@example.com, got ['@example.com']: not '@example.com'",
    ),
    ("success_emails", ["a@example.com", "b@example.com"], None),
    ("success_emails", 3, "success_emails must be a list of strings, or one string with commas, got 3"),
    (
        "notification_emails",
        "a@example.com",
        "notification_emails is not a setting (did you mean alarm_emails, error_emails, success_emails?); docs/configuration.md lists them all",
    ),
    (
        "notification_topics",
        "error,alarm",
        "notification_topics is not a setting (did you mean alarm_emails, error_emails, success_emails?); docs/configuration.md lists them all",
    ),
    ("external_buckets", "music-out", None),
    (
        "external_buckets",
        "Not_A_Bucket",
        "external_buckets must be names of S3 buckets, got ['Not_A_Bucket']: not 'Not_A_Bucket': a name has 3 to 63 lower-case letters, digits, dots and hyphens, the first and last no dot or hyphen",
    ),
    (
        "external_buckets",
        "ab",
        "external_buckets must be names of S3 buckets, got ['ab']: not 'ab': a name has 3 to 63 lower-case letters, digits, dots and hyphens, the first and last no dot or hyphen",
    ),
    (
        "external_buckets",
        "a..b",
        "external_buckets must be names of S3 buckets, got ['a..b']: not 'a..b': two dots must not be adjacent",
    ),
    (
        "external_buckets",
        "10.0.0.1",
        "external_buckets must be names of S3 buckets, got ['10.0.0.1']: not '10.0.0.1': a name must not look like an IP address",
    ),
    (
        "external_buckets",
        "xn--bucket",
        "external_buckets must be names of S3 buckets, got ['xn--bucket']: not 'xn--bucket': S3 reserves xn--",
    ),
    (
        "external_buckets",
        "mine-s3alias",
        "external_buckets must be names of S3 buckets, got ['mine-s3alias']: not 'mine-s3alias': S3 reserves -s3alias",
    ),
    (
        "external_buckets",
        "s3://music-out",
        "external_buckets must be names of S3 buckets, got ['s3://music-out']: not 's3://music-out': a name has 3 to 63 lower-case letters, digits, dots and hyphens, the first and last no dot or hyphen",
    ),
    ("alarm_queue_age_seconds", 60, None),
    ("alarm_queue_age_seconds", 59, "alarm_queue_age_seconds must be 60 to 21600, got 59"),
    ("alarm_failed_requests", 0, "alarm_failed_requests must be 1 to 10000, got 0"),
    ("alarm_failed_requests", 5, None),
    ("alarm_wake_minutes", 4, "alarm_wake_minutes must be 5 to 120, got 4"),
    ("alarm_wake_minutes", 5, None),
    ("alarm_idle_minutes", 121, "alarm_idle_minutes must be 20 to 120, got 121"),
    ("alarm_idle_minutes", 120, None),
    ("endpoint_name", "music", None),
    (
        "endpoint_name",
        "Music",
        "endpoint_name must be up to 63 lower-case letters, digits and inner hyphens, got 'Music'",
    ),
    (
        "endpoint_name",
        "-music",
        "endpoint_name must be up to 63 lower-case letters, digits and inner hyphens, got '-music'",
    ),
    (
        "endpoint_name",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "endpoint_name must be up to 63 lower-case letters, digits and inner hyphens, got 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
    ),
]

# Settings that depend on one another: what is given, and the message or None.
TOGETHER: list[tuple[dict[str, Any], str | None]] = [
    ({"warm_up_schedule": START, "warm_up_end_schedule": "cron(0 18 ? * MON-FRI *)"}, None),
    (
        {"warm_up_schedule": START, "warm_up_end_schedule": START},
        f"warm_up_schedule and warm_up_end_schedule must not meet, got {START!r} and {START!r}",
    ),
    (
        {"warm_up_schedule": "cron(0 9 ? * MON,TUE *)", "warm_up_end_schedule": "cron(0 9 ? * TUE *)"},
        "warm_up_schedule and warm_up_end_schedule must not meet, got 'cron(0 9 ? * MON,TUE *)' and 'cron(0 9 ? * TUE *)'",
    ),
    ({"vpc_subnet_ids": "subnet-01234567,subnet-89abcdef", "vpc_security_group_ids": "sg-01234567"}, None),
    (
        {"vpc_subnet_ids": "subnet-01234567", "vpc_security_group_ids": "sg-01234567"},
        "vpc_subnet_ids must be 2 to 16 ids, and vpc_security_group_ids must be given with them, got ['subnet-01234567']",
    ),
    (
        {"token_secret_arn": SECRET, "hub_endpoint": "s3://mirror"},
        f"token_secret_arn must be empty where hub_endpoint is in S3, got {SECRET!r}",
    ),
    (
        {"permissions_boundary": "arn:aws:iam::123456789012:policy/x", "account": "210987654321"},
        "permissions_boundary must be of the account 210987654321 or AWS's, got 'arn:aws:iam::123456789012:policy/x'",
    ),
    ({"permissions_boundary": "arn:aws:iam::aws:policy/x", "account": "210987654321"}, None),
    ({"model_id": "facebook/musicgen-small", "revision": "4c8334b02c6ec4e8664a91979669a501ec497792"}, None),
    ({"model_id": "me/my-musicgen", "model_like": "facebook/musicgen-small", "revision": "a" * 40}, None),
    (
        {"model_id": "me/my-musicgen", "revision": "a" * 40},
        f"model_id must be one of {', '.join(SERVED_MODELS)}, got me/my-musicgen; for a model of your own set model_like "
        "to the one of these that is as large",
    ),
    (
        {"model_id": "me/my-musicgen", "model_like": "musicgen-small", "revision": "a" * 40},
        f"model_like must be one of {', '.join(SERVED_MODELS)}, got musicgen-small (did you mean "
        "facebook/musicgen-small, facebook/musicgen-stereo-small?)",
    ),
    (
        {"model_id": "s3://bucket/model", "model_like": "facebook/musicgen-small", "revision": "a" * 40},
        f"model_id must be one of {', '.join(SERVED_MODELS)}, got s3://bucket/model",
    ),
    (
        {"model_id": "me/my-musicgen", "model_like": "facebook/musicgen-small"},
        "revision must be given for me/my-musicgen, which has no confirmed commit in infra/config/models.json: open "
        "https://huggingface.co/me/my-musicgen/commits/main, or read `sha` at https://huggingface.co/api/models/"
        "me/my-musicgen/revision/main, and choose a commit that holds weights",
    ),
]


def message(context: Mapping[str, Any], **arguments: Any) -> str | None:
    """Return why the context is refused, None if it is not. Anything but ConfigError is a traceback for the user."""
    try:
        assert isinstance(from_context({"environments": ENVIRONMENTS, **context}, **arguments), Config)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("name", "value", "expected"), VALUES)
def test_value_is_accepted_or_refused_with_its_message(name: str, value: Any, expected: str | None) -> None:
    assert message({name: value}) == expected


@pytest.mark.parametrize(("given", "expected"), TOGETHER)
def test_settings_that_depend_on_one_another(given: dict[str, Any], expected: str | None) -> None:
    assert message(given) == expected


def test_every_setting_has_a_value_that_is_accepted_and_one_that_is_refused() -> None:
    accepted = {name for name, _, refused in VALUES if refused is None}
    accepted |= {name for context, refused in TOGETHER if refused is None for name in context}
    refused = {name for name, _, refused in VALUES if refused is not None}
    refused |= {name for context, refused in TOGETHER if refused is not None for name in context}
    assert set(declared_settings()) - accepted == set()
    assert set(declared_settings()) - refused == set()


@pytest.mark.parametrize("environments", [[], "dev", None, {"dev": "x"}, {"dev": []}, {"dev": {"max_capacity": {}}}])
def test_environments_of_a_wrong_type_are_refused(environments: Any) -> None:
    assert (message({"environments": environments}) or "").startswith(("environments", "max_capacity"))


def test_the_profiles_region_is_named_as_such() -> None:
    told = message({}, default_region="eu-wst-1") or ""
    assert told.endswith("it came from your AWS profile or environment: name another with -c region=…")
    assert message({"region": "eu-west-1"}, default_region="eu-wst-1") is None


@pytest.mark.parametrize("name", [*declared_settings(), "token", "x"])
@pytest.mark.parametrize(
    "secret", ["hf_abcdefghijklmnopqrstuvwxyz", "AKIAIOSFODNN7EXAMPLE", "https://me:pass-word@host"]
)
def test_no_message_repeats_a_token_a_key_or_a_password(name: str, secret: str) -> None:
    for value in (secret, [secret], {secret: secret}, {"key": [secret]}):
        told = message({name: value}) or ""
        assert secret not in told and "pass-word" not in told


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from([*declared_settings(), "environments"]) | st.text(max_size=12), value=json_values)
def test_no_value_gives_a_traceback(name: str, value: Any) -> None:
    message({name: value})
    message({"environments": {"dev": {name: value}}})
