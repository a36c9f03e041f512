"""Real clients, each in an environment of its own, against one running embedded AWS."""
