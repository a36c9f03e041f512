"""Run the conformance suite: `python -m conformance [--account [--slow] [--gpu]] [--area NAME]`.

Without --account, run it against the embedded AWS and against plain moto. Exit 1 if the embedded AWS or the account
does not behave as declared, 2 if nothing could be run.
"""

import argparse
import os
import subprocess
import sys
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from conformance import page
from conformance.behaviour import FOLDERS, TARGET_VARIABLE, Behaviour, behaviours, root
from conformance.plugin import KINDS_VARIABLE, RESULTS_VARIABLE, affordable
from conformance.workspace import TAG

# ml.m5.large, real-time hosting, us-east-1: https://aws.amazon.com/sagemaker/pricing/ (dollars an hour)
_INSTANCE_PRICE = 0.115
_ENDPOINT_MINUTES = 20  # an endpoint that tests share: start, requests, deletion


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--account", action="store_true", help="run in the account of the current credentials")
    parser.add_argument("--slow", action="store_true", help="with --account: also rows that wait for minutes")
    parser.add_argument("--gpu", action="store_true", help="with --account: also rows that start a GPU instance")
    parser.add_argument("--area", default="", help="only this area, such as s3")
    options = parser.parse_args(arguments)
    kinds = [kind for kind in ("slow", "gpu") if getattr(options, kind)]
    if options.account:
        return in_account(options.area, kinds)
    code = run("embedded", options.area, [])
    run("moto", options.area, [])  # its failures are its score
    page.write()
    print(page.scores(behaviours(), page.stored("moto")).strip())
    return code


def run(target: str, area: str, kinds: list[str]) -> int:
    """Run the rows against a target; store the outcomes of moto and of an account; return pytest's exit status."""
    folders = FOLDERS if target == "embedded" else FOLDERS[:1]
    chosen = [path for path in folders if not area] or sorted(root().glob(f"{FOLDERS[0]}/**/test_{area}.py"))
    if not chosen:
        raise SystemExit(f"there is no area {area!r}: docs/behaviours.md has them as headings")
    page.RESULTS.mkdir(exist_ok=True)
    environment = {**os.environ, TARGET_VARIABLE: target, KINDS_VARIABLE: " ".join(kinds)}
    real = target != "account" or "AWS_ENDPOINT_URL" not in os.environ  # an emulator's answers are not AWS's
    if target != "embedded" and real and not area:  # a part must not replace the outcomes of the whole
        environment[RESULTS_VARIABLE] = str(page.RESULTS / f"{target}.json")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conformance.plugin", "-p", "no:randomly", "--no-header"]
    if target != "account":
        command += ["-n", "2", "--dist", "loadfile"]
    if target == "moto":
        command += ["--tb=no", "-W", "default"]
    if target == "account":
        command += ["--force-enable-socket", "--timeout=7200"]
    print(f"==> {target}", flush=True)
    return subprocess.run([*command, *chosen], cwd=root(), env=environment, check=False).returncode


def in_account(area: str, kinds: list[str]) -> int:
    """Print what the run costs, ask for the account's number, run, and list what is left."""
    try:
        session: Any = boto3.session.Session()
        number = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        print(f"the account could not be asked: {error}", file=sys.stderr)
        return 2
    rows = [row for row in behaviours() if row.portable and affordable(row, kinds) and area in ("", row.area)]
    print(f"account {number}, region {session.region_name}: {len(rows)} rows")
    print(f"everything is named mgc-…, tagged {TAG}, and removed at the end")
    print(estimate(rows))
    try:
        answer = input("type the account's number to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != number:
        print("nothing was done", file=sys.stderr)
        return 2
    code = run("account", area, kinds)
    page.write()
    left = leftovers(session)
    for arn in left:
        print(f"left: {arn}", file=sys.stderr)
    return code or int(bool(left))


def estimate(rows: list[Behaviour]) -> str:
    """Return what the rows cost in an account, in one line. Requests, messages and storage cost less than a cent."""
    texts = [(root() / file).read_text(encoding="utf-8") for file in {row.path.split("::")[0] for row in rows}]
    # One endpoint of the whole run, and one of each file that starts its own.
    own = sum("= AsyncEndpoint(" in text for text in texts)
    endpoints = any("endpoint: AsyncEndpoint" in text for text in texts) + own
    minutes = endpoints * _ENDPOINT_MINUTES + sum(row.minutes for row in rows)
    gpus = sum(row.gpu for row in rows)
    dollars = minutes / 60 * _INSTANCE_PRICE
    more = f", and {gpus} rows start GPU instances at their own price" if gpus else ""
    return f"about {minutes} minutes of ml.m5.large: ${dollars:.2f} at us-east-1's price{more}"


def leftovers(session: Any) -> list[str]:
    """Return the ARNs of what any run has left in the account."""
    tagged = session.client("resourcegroupstaggingapi").get_paginator("get_resources")
    found = [item for page in tagged.paginate(TagFilters=[{"Key": TAG}]) for item in page["ResourceTagMappingList"]]
    roles = session.client("iam").get_paginator("list_roles").paginate()  # IAM is not in the tagging API
    names = [role["Arn"] for page in roles for role in page["Roles"] if role["RoleName"].startswith("mgc-")]
    return sorted({str(item.get("ResourceARN")) for item in found} | set(names))


if __name__ == "__main__":
    sys.exit(main())
