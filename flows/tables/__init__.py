"""The tables: everything that knows columns and rows with gaps. Nothing beside this folder does."""
