"""Asks a deployed stack for music and checks what comes."""
