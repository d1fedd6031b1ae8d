"""Commands that build what is deployed: tools, charts, manifests."""
