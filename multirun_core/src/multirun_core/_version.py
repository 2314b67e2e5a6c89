"""The version of this distribution, which its build reads here."""

VERSION = "0.1.0"
