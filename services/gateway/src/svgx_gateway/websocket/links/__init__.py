"""The links of this gateway to the replicas of collab."""
