"""Run checkov, of the interpreter that runs this, on every template of the current folder: see children.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OPTIONS = ("--framework", "cloudformation", "--quiet", "--compact", "--skip-download", "--soft-fail", "-o", "json")


def failures(path: Path, config: list[str]) -> list[dict[str, str]]:
    """Return the failed checks with the logical id of the resource that each is about."""
    program = Path(sys.executable).with_name("checkov")
    command = [sys.executable, str(program), "--file", path.name, *config, *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report: Any = json.loads(done.stdout)  # without a resource to check it has no results
    checks: list[dict[str, Any]] = report.get("results", {}).get("failed_checks", [])
    return [
        {
            "rule": check["check_id"],
            "resource": str(check["resource"]).rpartition(".")[2],
            "text": str(check["check_name"])[:300],
        }
        for check in checks
    ]


def main() -> None:
    config = [option for path in Path().glob(".checkov.y*ml") for option in ("--config-file", path.name)]
    for path in sorted(Path().glob("*.template.json")):
        answer = json.dumps(failures(path, config))
        (Path(sys.argv[1]) / f"{path.name.partition('.')[0]}.json").write_text(answer, encoding="utf-8")


main()
