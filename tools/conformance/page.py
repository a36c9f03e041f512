"""Write docs/behaviours.md: every documented behaviour, how the embedded AWS compares, and the scores."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from conformance.behaviour import Behaviour, behaviours, root
from local_aws.emulator import reference

PAGE = root() / "docs" / "behaviours.md"
README = root() / "local" / "README.md"  # of the embedded AWS, which shows the score
RESULTS = root() / "docs" / "conformance"


class Results(NamedTuple):
    """What the tests showed on one target: what it was, and each row's outcome by id."""

    run: str
    outcomes: dict[str, str]


_TITLES = {"s3": "S3", "iam": "IAM", "sns": "SNS", "sqs": "SQS", "cdk": "CDK", "cloudformation": "CloudFormation"}
_INTRODUCTION = """# Behaviours of AWS

What this stack relies on, as AWS documents it, and whether the embedded AWS behaves the same. Each row is a test;
[conformance.md](conformance.md) says how to run them against the embedded AWS, plain moto or a real account.
This page is generated: `make conformance`.

- **same**: the embedded AWS passes the row's test, in every run of the test suite.
- **differs**: it does not, for the reason given. The test is expected to fail, and reported when it passes.
- **unknown**: AWS documents no answer. The test shows what the embedded AWS does.
- **moto**: whether plain moto passes the same test. Rows with - need faults that no API can cause, or inspect the
  embedded AWS from the inside.
- **account**: whether the test has passed in a real account. {account}
"""


def render(rows: Sequence[Behaviour], moto: Results, account: Results) -> str:
    """Return the page for these rows; none ran on a target whose results are empty."""
    seen = f"{len(account.outcomes)} rows ran on {account.run}." if account.run else "None has been run there."
    parts = [_INTRODUCTION.format(account=seen), scores(rows, moto)]
    for area, group in groupby(rows, key=lambda row: row.area):
        parts.append(f"## {title(area)}\n\n| behaviour | AWS | here | moto | account |\n|---|---|---|---|---|")
        for row in group:
            here = row.status if row.status == "same" else f"**{row.status}**: {row.reason}"
            statement = row.statement.replace("](", "]&#40;")  # a pattern is no link
            cells = [f"[{row.name}](../{row.path.split('::')[0]})", f"{statement} [↗]({row.link})", here]
            cells += [outcome(row, moto.outcomes), outcome(row, account.outcomes)]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def scores(rows: Sequence[Behaviour], moto: Results) -> str:
    """Return the table of scores."""
    counts, portable = Counter(row.status for row in rows), [row for row in rows if row.portable]
    here = sum(row.status == "same" for row in portable)
    there = sum(moto.outcomes.get(row.id) == "passed" for row in portable if row.status != "unknown")
    documented = sum(row.status != "unknown" for row in portable)
    lines = [
        "\n| | rows |\n|---|---|",
        *(f"| {status} | {counts[status]} |" for status in ("same", "differs", "unknown")),
        f"| all | {len(rows)} |",
        f"\nOf the {documented} documented rows that use nothing but AWS's API, **the embedded AWS passes {here}, "
        f"plain {moto.run} {there}**.\n",
    ]
    return "\n".join(lines)


def title(area: str) -> str:
    """Return an area's heading."""
    return (
        " ".join(_TITLES.get(word, word) for word in area.split("_")).capitalize()
        if area not in _TITLES
        else _TITLES[area]
    )


def outcome(row: Behaviour, outcomes: Mapping[str, str]) -> str:
    """Return a cell: yes, no, or - for a row that was not run."""
    return {"passed": "yes", "failed": "no"}.get(outcomes.get(row.id, ""), "-")


def stored(target: str) -> Results:
    """Return the committed outcomes of a target, none if it was never run."""
    file = RESULTS / f"{target}.json"
    return Results(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else Results("", {})


def current() -> str:
    """Return the page as it should be now."""
    return render(behaviours(), stored("moto"), stored("account"))


def readme() -> str:
    """Return the embedded AWS's README with the score as it should be now."""
    sentence = scores(behaviours(), stored("moto")).strip().splitlines()[-1]
    return reference.fill(README.read_text(encoding="utf-8"), "score", sentence + "\n")


def write() -> None:
    """Write the page, and the score into the embedded AWS's README."""
    PAGE.write_text(current(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
