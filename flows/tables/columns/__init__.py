"""Tables: columns and their kinds, data frames, files, and the preparation of rows."""
