"""What the gateway costs: a handler asked through it, over the same handler asked directly."""
