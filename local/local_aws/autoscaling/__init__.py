"""CloudWatch alarms and Application Auto Scaling, as AWS documents them.

`rules` holds the rules and imports neither of the others; `live` runs them live in the embedded AWS, `simulator` in
virtual time for the planner. `template_checks` tests a template with both `rules` and `simulator`.
"""
