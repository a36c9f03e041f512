"""Present a run of the gate: its verdict, JSON, SARIF and Markdown, and the comment on its pull request.

Imported by gate and __main__. Workflows run `python -m stack_gate.report.comment` with the standard library alone.
"""
