"""Token buckets, alarms, and waits with a time limit."""
