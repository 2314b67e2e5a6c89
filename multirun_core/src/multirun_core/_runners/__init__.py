"""Runners: what carries runs out, and what all of them share."""
