"""A GitHub CLI with one repository in a file: `gh api` as tools/repository_setup calls it."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

STATE = Path(os.environ["FAKE_GH_STATE"])


def missing() -> None:
    print("gh: Not Found (HTTP 404)", file=sys.stderr)
    sys.exit(1)


def main() -> None:
    words, state = sys.argv[1:], json.loads(STATE.read_text())
    assert words[0] == "api"
    method = words[words.index("--method") + 1] if "--method" in words else "GET"
    (path,) = [word for word in words[1:] if word.startswith(("repos/", "users/", "orgs/"))]
    state["calls"].append(f"{method} {path}")
    if path in state.get("refused", []):
        print("gh: Must have admin rights to Repository. (HTTP 403)", file=sys.stderr)
        STATE.write_text(json.dumps(state))
        sys.exit(1)
    path, _, query = path.partition("?")
    if method == "GET":
        answer: Any = state["objects"].get(unquote(path))
        if query:
            size, page = (int(number) for number in re.findall(r"=(\d+)", query))
            answer = answer[(page - 1) * size : page * size]
        STATE.write_text(json.dumps(state))
        if answer is None:
            missing()
        print(json.dumps(answer))
        return
    change(state["objects"], method, unquote(path), json.loads(sys.stdin.read()))
    STATE.write_text(json.dumps(state))


def change(objects: dict[str, Any], method: str, path: str, body: dict[str, Any]) -> None:
    """Create or change an object as GitHub shows it later."""
    root = "/".join(path.split("/")[:3])
    if path.endswith("/deployment-branch-policies"):
        objects.setdefault(path, {"branch_policies": []})["branch_policies"].append(body)
    elif path.endswith("/variables"):
        objects[f"{path}/{body['name']}"] = body
    elif path.endswith("/rulesets"):
        number = 1 + len(objects[path])
        objects[path].append({"id": number, "name": body["name"], "source_type": "Repository"})
        objects[f"{path}/{number}"] = body
    elif path == f"{root}/labels":
        objects[path].append(body)
    elif path.startswith(f"{root}/labels/") and method == "PATCH":
        (found,) = [item for item in objects[f"{root}/labels"] if item["name"] == path.rpartition("/")[2]]
        found.update(body)
    elif "/environments/" in path and method == "PUT":
        reviewers = [{"type": item["type"], "reviewer": {"id": item["id"]}} for item in body.get("reviewers", [])]
        rules: list[dict[str, Any]] = [{"type": "required_reviewers", "reviewers": reviewers}] if reviewers else []
        rules += [{"type": "wait_timer", "wait_timer": body["wait_timer"]}] if body["wait_timer"] else []
        objects[path] = {"deployment_branch_policy": body["deployment_branch_policy"], "protection_rules": rules}
    else:
        objects[path] = {**objects[path], **body}


main()
