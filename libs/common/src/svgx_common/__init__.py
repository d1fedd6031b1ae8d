"""What two or more SVGX services need: the contract, the bus, the runtime."""
