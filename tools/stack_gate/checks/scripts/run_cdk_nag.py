"""Run cdk-nag on every template of the current folder: see children.py for the files.

The templates are included in an app of this script's own, so that the rules read what deploys, not what an app says.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from aws_cdk import App, DefaultStackSynthesizer, Stack, Validations
from aws_cdk.cloudformation_include import CfnInclude
from cdk_nag import AwsSolutionsChecks


def failures(paths: list[Path]) -> dict[str, list[dict[str, str]]]:
    """Return the violations of each template by its number, with the logical id of the resource."""
    found: dict[str, list[dict[str, str]]] = {path.name.partition(".")[0]: [] for path in paths}
    with tempfile.TemporaryDirectory() as folder:
        app = App(outdir=folder, builtin_cloud_formation_validation=False)  # seconds, and cfn-lint does it
        for path in paths:
            plain = DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
            stack = Stack(app, f"T{path.name.partition('.')[0]}", synthesizer=plain)
            CfnInclude(stack, "Included", template_file=path.name)
        Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        report = Path(folder) / "validation-report.json"
        try:
            app.synth()
        except Exception:  # jsii's error for violations; without a report it is another
            if not report.exists():
                raise
        text = report.read_text(encoding="utf-8") if report.exists() else '{"pluginReports": []}'
        plugins: list[Any] = json.loads(text)["pluginReports"]
        for plugin in plugins:
            violations: list[dict[str, Any]] = plugin["violations"] if plugin["pluginName"] == "AwsSolutions" else []
            for violation in violations:
                constructs: list[dict[str, Any]] = violation["violatingConstructs"]
                for construct in constructs:
                    number, _, place = str(construct["constructPath"]).partition("/")
                    row = {"rule": str(violation["ruleName"]), "resource": place.removeprefix("Included/")}
                    found[number.removeprefix("T")].append({**row, "text": str(violation["description"])[:300]})
    return found


def main() -> None:
    for number, listed in failures(sorted(Path().glob("*.template.json"))).items():
        (Path(sys.argv[1]) / f"{number}.json").write_text(json.dumps(listed), encoding="utf-8")


main()
