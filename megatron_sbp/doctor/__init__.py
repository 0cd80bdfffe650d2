"""`sbp doctor`: finds in seconds, before hours of work, what a machine, an allocation, or a recipe's files lack."""
