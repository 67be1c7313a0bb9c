"""What a fit is asked for, and how the density of a table is learned from its rows."""
