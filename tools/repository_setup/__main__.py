"""Prepare a GitHub repository for the workflows: `python -m repository_setup --repository owner/name`.

Prints what is missing or different and changes nothing; with --apply it makes these changes. May be repeated. Exit
status 0: nothing is missing, or all was done; 1: something is missing; 2: it could not be read or changed.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.config import ConfigError, from_context
from repository_setup.github import GitHub, SetupError
from repository_setup.plan import Change, Wanted, changes, with_owners

PROJECT = Path(__file__).resolve().parents[2]
CI_STACK = "MusicGenCi"
MAX_REVIEWERS = 6  # of an environment, GitHub's limit
_OWNER = re.compile(r"@[A-Za-z0-9][A-Za-z0-9-]{0,38}(/[A-Za-z0-9._-]{1,100})?")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see the module's docstring."""
    options = parser().parse_args(arguments)
    try:
        github = GitHub(options.repository)
        wanted = _wanted(github, options)
        found = list(changes(github, wanted))
        owners = _owners_file(options)
        _report(github, found, owners is not None, apply=options.apply)
        if options.apply:
            for change in found:
                github.send(change.method, change.path, change.body)
                print(f"done: {change.what}")
            if owners is not None:
                _codeowners(options).write_text(owners, encoding="utf-8")
                print("done: owners in .github/CODEOWNERS; commit the file")
    except (SetupError, ConfigError) as error:
        print(f"repository setup: {error}", file=sys.stderr)
        return 2
    return 0 if options.apply or not (found or owners is not None) else 1


def _wanted(github: GitHub, options: argparse.Namespace) -> Wanted:
    repository = github.find("")
    if repository is None:
        raise SetupError(f"there is no repository {options.repository}, or this login may not see it")
    context: dict[str, Any] = json.loads((options.project / "cdk.json").read_text(encoding="utf-8"))["context"]
    names = sorted(context["environments"])
    regions = {name: from_context({**context, "env": name}).region for name in names}
    return Wanted(
        environments=names,
        reviewers=[_reviewer(github, owner) for owner in _checked_owners(options.reviewers, limit=MAX_REVIEWERS)],
        branch=str(repository["default_branch"]),
        regions=regions,
        roles=_roles(options.roles),
        drift=bool(options.roles),
    )


def _checked_owners(given: str, *, limit: int) -> list[str]:
    owners = given.replace(",", " ").split()
    for owner in owners:
        if not _OWNER.fullmatch(owner):
            raise SetupError(f"people and teams must be @name or @organization/team, got {owner!r:.200}")
    if len(owners) > limit:
        raise SetupError(f"there may be at most {limit} people and teams, got {len(owners)}")
    return owners


def _reviewer(github: GitHub, owner: str) -> dict[str, Any]:
    """Return a person or team as GitHub's API names it."""
    name, _, team = owner.removeprefix("@").partition("/")
    found = github.get(f"orgs/{name}/teams/{team}" if team else f"users/{name}")
    if found is None:
        raise SetupError(f"GitHub knows no {owner}, or this login may not see it")
    return {"type": "Team" if team else "User", "id": int(found["id"])}


def _roles(file: Path | None) -> dict[str, str]:
    """Return the roles' ARNs from the file that `cdk deploy --outputs-file` wrote."""
    if file is None:
        return {}
    try:
        outputs: Any = json.loads(file.read_text(encoding="utf-8"))[CI_STACK]
        roles = {str(name): str(value) for name, value in dict(outputs).items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{file} must be the outputs file of the stack {CI_STACK}: {error}") from error
    for name, value in roles.items():
        if not _ROLE_ARN.fullmatch(value):
            raise SetupError(f"{name} in {file} must be the ARN of a role, got {value!r:.200}")
    return roles


def _codeowners(options: argparse.Namespace) -> Path:
    return options.project / ".github" / "CODEOWNERS"


def _owners_file(options: argparse.Namespace) -> str | None:
    """Return the new content of CODEOWNERS; None if it stays as it is."""
    owners = _checked_owners(options.owners, limit=20)
    before = _codeowners(options).read_text(encoding="utf-8")
    after = with_owners(before, owners) if owners else before
    return after if after != before else None


def _report(github: GitHub, found: Sequence[Change], owners: bool, *, apply: bool) -> None:
    subject = github.find("/actions/oidc/customization/sub") or {}
    prefix = str(subject.get("sub_claim_prefix") or f"repo:{github.root.removeprefix('repos/')}")
    if subject.get("use_default") is False:
        print("warning: the repository customises its tokens' subject, which CI's roles would not trust")
    print(f"CI's roles must trust: -c ci:repository={prefix.removeprefix('repo:')}")
    if not found and not owners:
        print("nothing to do")
    if not apply:
        for line in [change.what for change in found] + (["name the owners in .github/CODEOWNERS"] if owners else []):
            print(f"would {line}")
        if found or owners:
            print("nothing was changed; --apply makes these changes")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(
        prog="python -m repository_setup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--repository", required=True, help="owner/name on GitHub")
    made.add_argument("--reviewers", default="", help="who approves deployments: @name, @organization/team, …")
    made.add_argument("--owners", default="", help="who takes the place of @maintainers in .github/CODEOWNERS")
    made.add_argument("--roles", type=Path, help="the file of `cdk deploy --outputs-file`; also turns DRIFT on")
    made.add_argument("--apply", action="store_true", help="make the changes, instead of listing them")
    made.add_argument("--project", type=Path, default=PROJECT, help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(main())
