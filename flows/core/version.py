"""The version of the library."""

VERSION = "0.5.0"
