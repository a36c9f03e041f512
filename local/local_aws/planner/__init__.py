"""The capacity planner: how long requests take and what they cost, under the policies of a synthesised template.

`make plan` runs it; the walkthrough draws its timeline with `timeline_chart`.
"""
