"""State: the engine that runs transactions, the tables, their migrations."""
