"""Measurements that need more than one run of a load, or more than a load."""
