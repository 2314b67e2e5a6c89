"""Processes: who is who, here and (later) over there."""
