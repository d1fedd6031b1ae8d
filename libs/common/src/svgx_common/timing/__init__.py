"""Rates and times of work: token buckets and alarms."""
