"""What a change does to the stack, to its data, to who may do what, and to the bill, before it is merged."""
