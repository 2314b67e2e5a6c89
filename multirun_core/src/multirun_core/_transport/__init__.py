"""Processes here and over there: who is who, how commands get there, and what carries runs out."""
