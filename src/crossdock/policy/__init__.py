"""What the business may set: channels, sourcing, plans, retry, breakers, connections; parsed, checked and versioned."""
