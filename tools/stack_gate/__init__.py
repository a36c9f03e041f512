"""Report what a change does to the stack, its data, permissions and cost, before it is merged. See docs/gate.md.

From the bottom up: template and findings; collect (both revisions), diff (what changed), iam (what policies allow),
rules (what needs a label: add rules there), report; gate runs them. Each layer imports only those before it.
"""


class GateError(Exception):
    """The gate could not run, which is no verdict. The message says what failed and what is expected."""
