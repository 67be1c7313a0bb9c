"""The version of the library."""

VERSION = "0.3.0"
