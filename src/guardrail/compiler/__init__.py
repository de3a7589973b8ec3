"""From the options of a guard to its plan: the policies in the one fixed order, each with the state that it uses."""
