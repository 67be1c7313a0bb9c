"""The version of the library."""

VERSION = "0.4.0"
