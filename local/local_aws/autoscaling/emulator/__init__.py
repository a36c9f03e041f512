"""The controller in the embedded AWS: deployed alarms and policies scale the instances that really run."""
