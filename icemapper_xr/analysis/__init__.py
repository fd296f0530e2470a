"""What glaciologists publish: areas, their uncertainty, rates of change, comparisons of inventories."""
