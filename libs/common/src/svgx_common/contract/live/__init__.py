"""The rules of live editing that gateway and holder share."""
