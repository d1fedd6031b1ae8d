"""The OpenAPI document, derived from the contract, and the page that shows it."""
