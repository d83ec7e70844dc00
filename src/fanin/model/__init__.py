"""A torch model as it stands, read once for everybody: parameters, owners, operations, calling."""
