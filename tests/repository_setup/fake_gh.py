"""A GitHub CLI with one repository in a file: `gh api` as tools/repository_setup calls it."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

MISSING = 1, "", "gh: Not Found (HTTP 404)\n"


def gh(*words: str, content: str = "") -> tuple[int, str, str]:
    """Answer one call of the CLI: its exit status, output and errors."""
    file = Path(os.environ["FAKE_GH_STATE"])
    state = json.loads(file.read_text())
    assert words[0] == "api"
    method = words[words.index("--method") + 1] if "--method" in words else "GET"
    (path,) = [word for word in words[1:] if word.startswith(("repos/", "users/", "orgs/"))]
    state["calls"].append(f"{method} {path}")
    answer: Any = {}
    if refused := path in state.get("refused", []):
        pass
    elif method == "GET":
        path, _, query = path.partition("?")
        answer = state["objects"].get(unquote(path))
        if query:
            size, page = (int(number) for number in re.findall(r"=(\d+)", query))
            answer = answer[(page - 1) * size : page * size]
    else:
        change(state["objects"], method, unquote(path), json.loads(content))
    file.write_text(json.dumps(state))
    if refused:
        return 1, "", "gh: Must have admin rights to Repository. (HTTP 403)\n"
    return MISSING if answer is None else (0, json.dumps(answer), "")


def main() -> None:
    """Be the CLI; what it reads from its standard input it reads only if told to."""
    status, out, error = gh(*sys.argv[1:], content=sys.stdin.read() if sys.argv[-2:] == ["--input", "-"] else "")
    print(out)
    print(error, end="", file=sys.stderr)
    sys.exit(status)


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


if __name__ == "__main__":
    main()
