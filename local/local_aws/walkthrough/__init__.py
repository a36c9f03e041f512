"""What `make local` runs: deploy, use and remove the whole stack on one machine, and show each step."""
