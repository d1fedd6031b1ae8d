"""Measurements that are more than one load."""
