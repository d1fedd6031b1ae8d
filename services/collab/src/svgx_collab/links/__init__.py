"""The links of this replica to the gateways, and the broadcasts on them."""
