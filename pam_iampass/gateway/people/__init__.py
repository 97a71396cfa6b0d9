"""The people of the fleet: their rows, the directory, and what IAMPASS is still to be told of them."""
