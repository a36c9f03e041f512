"""Scale the endpoints of the embedded AWS with the alarms and policies deployed there.

Started by the embedded AWS; `make local` and the tests read its history file.
"""
