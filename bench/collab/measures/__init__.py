"""Measurements that run a load several times, or that do something else too, such as killing all processes."""
