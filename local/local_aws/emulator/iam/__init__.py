"""IAM as the embedded AWS evaluates it: policies, conditions, principals and what a request asks for."""
