"""The CDK app's stack: configuration, data about models, machines and images, and the constructs."""
