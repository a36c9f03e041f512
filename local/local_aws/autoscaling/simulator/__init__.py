"""Scale a simulated endpoint in virtual time with the same controller.

Imported by the planner and `autoscaling.template_checks`.
"""
