"""The study of alarms: level and power of p-values, traces of rows, and time."""
