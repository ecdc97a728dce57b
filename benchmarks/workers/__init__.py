"""A module for each library: `CASES` by task or task:variant, `DISTRIBUTIONS` that it runs on."""
