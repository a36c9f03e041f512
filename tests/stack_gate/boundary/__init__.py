"""Who judges, what approvals cover, and the workflows."""
