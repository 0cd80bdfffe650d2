"""`sbp doctor`: what a machine, an allocation, and a recipe's files lack, found in seconds before hours of work."""
