"""The removal of rows that are not needed any more."""
