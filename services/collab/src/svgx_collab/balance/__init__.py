"""Load balancing between replicas: their loads, and the moves of busy canvases."""
