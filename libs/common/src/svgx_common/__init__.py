"""The code that two or more SVGX services share: the contract, the message bus and the runtime."""
