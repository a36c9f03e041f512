"""CloudWatch alarms and Application Auto Scaling, as AWS documents them.

`model` holds the rules and imports neither of the others; `emulator` runs them live in the embedded AWS, `simulator` in
virtual time for the planner. `template_checks` tests a template with both `model` and `simulator`.
"""
