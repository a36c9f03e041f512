"""The capacity planner: what the deployed policies make of hours of traffic, in seconds to a result and in dollars."""
