"""The rules of alarms and scaling policies, as AWS documents them, on an injected clock: no AWS calls, no threads.

Imported by `autoscaling.live`, `autoscaling.simulator`, `autoscaling.template_checks` and the planner.
"""
