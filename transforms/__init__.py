"""Maps between the models of the zoo, and what they reveal about them."""
