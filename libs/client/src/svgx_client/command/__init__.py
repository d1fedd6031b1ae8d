"""The command line `svgx`: one command for each operation of the contract."""
