"""Commands that build the parts of a deployment: tools, locks, charts, manifests, images and releases."""
